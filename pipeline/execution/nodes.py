"""Ask every node of a running cluster what it sees, before work is given to it."""

import os
import pickle
from collections.abc import Callable
from typing import TypeVar

from pipeline.execution.budget import ClusterConfig
from pipeline.execution.cluster import connect
from pipeline.execution.surroundings import carried

Seen = TypeVar("Seen")


def on_other_nodes(look: Callable[[], Seen], cluster: ClusterConfig) -> dict[str, Seen]:
    """Return, by address, what `look` returns on every node with CPUs but that of the driver.

    Empty without a cluster that was joined. A node that is lost meanwhile is left out.
    """
    if not os.environ.get("RAY_ADDRESS"):
        return {}
    import ray
    from ray.exceptions import NodeDiedError, TaskUnschedulableError, WorkerCrashedError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    connect(cluster)
    own = ray.get_runtime_context().get_node_id()
    task = ray.remote(num_cpus=0)(_in_surroundings(look))
    waiting = {
        node["NodeManagerAddress"]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != own and node["Resources"].get("CPU")
    }
    seen = {}
    for address, answer in waiting.items():
        try:
            seen[address] = pickle.loads(ray.get(answer))
        except (NodeDiedError, TaskUnschedulableError, WorkerCrashedError):
            continue
    return seen


def _in_surroundings(look: Callable[[], Seen]) -> Callable[[], bytes]:
    """Return a function that calls `look` with the modules and settings of a worker."""
    unpack = carried(look)

    def look_there() -> bytes:
        return pickle.dumps(unpack()())

    return look_there
