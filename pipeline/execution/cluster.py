"""The only place that knows Ray: pools, retries, budgets, time-outs.

Ray Data is the executor; what counts as done is decided by the commit of a unit, never by Ray. A
run in which only one process would work needs no Ray: it stays in this process.
"""

import atexit
import contextlib
import logging
import os
import pickle
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from pipeline.execution.device import DEVICE
from pipeline.execution.machine import has_gpu, usable_cpus
from pipeline.execution.worker import Finished, Make, Pool, Raised, run_in_this_process
from schemas.remote import add_repeated
from schemas.settings import check_settings, setting

_PAYLOAD = "payload"
# A worker that is killed by the machine is replaced; a row that kills its worker each time must not
# be retried for ever. Restarts below retries would hang (seen on Ray 2.60).
_RETRIES: dict[str, Any] = {"max_task_retries": 2, "max_restarts": 16}
_NO_PROGRESS_S = 1800
_SETTINGS = "CONTEXTANYONE_"  # begins the names of all our environment variables
_RAY_KNOWS = ("RAY_ADDRESS", "RAY_OVERRIDE_RESOURCES")  # where these are set
_STARTS = 4  # Ray gives its node 30 s, too little for a busy machine, and has no setting for it


class Budget(ValueError):
    """The cluster is too small for the plan."""


@dataclass(frozen=True)
class ClusterConfig:
    """How much of the cluster a run may take.

    Attributes:
        workers: processes that work, 0 for one per CPU of the cluster.
        gpus_per_worker: share of a GPU that a worker with engines that want one takes, where the
            cluster has GPUs; 0 keeps all engines on the CPUs.
        gpu_workers: workers that run engines on GPUs, 0 for as many as fit, at most half of all.
        no_progress_s: seconds without any finished row after which a run on Ray gives up.
    """

    workers: int = setting(0, low=0, high=100_000)
    gpus_per_worker: float = setting(0.25, low=0, high=64)
    gpu_workers: int = setting(0, low=0, high=100_000)
    no_progress_s: int = setting(_NO_PROGRESS_S, low=1, high=10**6, unit="s")

    def __post_init__(self) -> None:
        check_settings(self, "run.cluster")
        share = self.gpus_per_worker
        if share > 1 and share != int(share):
            raise ValueError(
                f"run.cluster.gpus_per_worker must be 0 to 1 or a whole number, got {share:g}"
            )


@dataclass(frozen=True)
class Resources:
    """What a cluster has."""

    cpus: float
    gpus: float


def _needs_ray() -> bool:
    """Return whether only Ray knows the resources: of a cluster, or of a machine with GPUs."""
    started = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    return started or has_gpu() or any(name in os.environ for name in _RAY_KNOWS)


def _connect(cluster: ClusterConfig) -> None:
    """Join the running cluster (RAY_ADDRESS or a submitted job), else start one of this machine."""
    import ray

    if ray.is_initialized():
        return
    # Ray warns about its own habits (tokens switched on, arguments of restartable actors).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Nobody is told of a run, and no actor is started to gather what would be told.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.WARNING, log_to_driver=False)
        return
    _start(cluster)


def _start(cluster: ClusterConfig) -> None:
    """Start Ray on this machine; try again when it was too slow."""
    import ray

    for _ in range(_STARTS):
        try:
            ray.init(
                address="local",
                num_cpus=cluster.workers or usable_cpus(),
                include_dashboard=False,
                logging_level=logging.WARNING,
                log_to_driver=False,
            )
            return
        except Exception as error:  # Ray raises the bare class
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    raise Budget(
        f"Ray did not start within 30 s, {_STARTS} times: the machine is too busy; try again when "
        "it is not, or set RAY_ADDRESS to a running cluster"
    )


def exit_process(code: int) -> NoReturn:
    """End this process in order, but without the destructors of Ray's native libraries.

    They crashed 2 of 31 interrupted runs (SIGSEGV, Ray 2.60), after all was saved and said.
    """
    atexit._run_exitfuncs()  # Ray's own orderly end is one of them
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody listens any more
            stream.flush()
    os._exit(code)


def resources(cluster: ClusterConfig) -> Resources:
    """Return the resources; Ray is started only where nothing else knows them."""
    if not _needs_ray():
        return Resources(cluster.workers or usable_cpus(), gpus=0.0)
    import ray

    _connect(cluster)
    present = ray.cluster_resources()
    return Resources(present.get("CPU", 0.0), present.get("GPU", 0.0))


def num_workers(cluster: ClusterConfig) -> int:
    """Return how many processes may work at once."""
    available = int(resources(cluster).cpus)
    if available < 1:
        raise Budget("the cluster has no CPU: start a node with --num-cpus")
    return min(cluster.workers or available, available)


def num_gpus(cluster: ClusterConfig) -> int:
    """Return how many GPUs the cluster has."""
    return int(resources(cluster).gpus)


def describe_workers(cluster: ClusterConfig) -> str:
    """Return how many processes a run will have and where, without starting any."""
    if os.environ.get("RAY_ADDRESS"):
        return f"{cluster.workers or 'one per CPU'} on the running cluster"
    workers = cluster.workers or usable_cpus()
    return (
        "1, in this process" if workers == 1 and not _needs_ray() else f"{workers} on this machine"
    )


def check_budget(pools: Sequence[Pool], cluster: ClusterConfig) -> None:
    """Refuse pools that together want more than the cluster has: they would wait for ever."""
    have = resources(cluster)
    kinds = (("CPU", lambda p: p.cpus, have.cpus), ("GPU", lambda p: p.gpus, have.gpus))
    for kind, wants, present in kinds:
        needed = sum(pool.size * wants(pool) for pool in pools)
        if needed > present + 1e-9:
            wanted = " + ".join(f"{pool.name}({pool.size} x {wants(pool):g})" for pool in pools)
            raise Budget(
                f"{wanted} want {needed:g} {kind}, the cluster has {present:g}; lower the pools or "
                "add nodes"
            )


def _actor(make: Make, pool: Pool) -> type:
    """Return an actor class that calls a Worker on every pickled row.

    What it calls is closed over: as a constructor argument it would live in the object store, and
    an actor could not be restarted once it is gone. It is unpickled only when our modules are sure
    to be those of this checkout, of which others may lie where Ray looks first.
    """
    from ray.cloudpickle.cloudpickle import dumps

    environment, path, carried = _environment(), _path(), dumps((make, pool))

    class Actor:
        def __init__(self) -> None:
            sys.path[:0] = path
            from pipeline.execution.worker import Worker, hidden_gpus

            make, pool = pickle.loads(carried)
            for name, value in environment.items():
                os.environ.setdefault(name, value)  # what the node itself says goes first
            os.environ.update(hidden_gpus(pool))
            self._work = Worker(make)

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
            results = [self._work(pickle.loads(payload)) for payload in batch[_PAYLOAD]]
            return {_PAYLOAD: [pickle.dumps(result) for result in results]}

    return Actor


def _path() -> list[str]:
    """Return the module path of workers; a cluster that was joined has its own."""
    return [] if os.environ.get("RAY_ADDRESS") else [place for place in sys.path if place]


def _environment() -> dict[str, str]:
    """Return the driver's settings for its workers, on whatever node; no key is among them."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_SETTINGS) and not name.endswith("_KEY") and name != DEVICE
    }


def _configure(cluster: ClusterConfig) -> None:
    import ray

    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = 0  # one errored block would take its neighbours along, silently
    context.enable_progress_bars = False  # ours count videos, not blocks
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = cluster.no_progress_s
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")


def run(
    rows: Iterable[Any], steps: Iterable[tuple[Pool, Make]], cluster: ClusterConfig
) -> Iterator[Any]:
    """Stream rows through the steps, each in its own pool; yield results in any order.

    A step is a function that makes, once per worker, the function that is called on every row.
    Where only one process would work at a time (one worker, or one row) it is this one, unless a
    cluster was joined or there are GPUs.
    """
    payloads = [pickle.dumps(row) for row in rows]
    if not payloads:
        return
    steps = [(replace(p, size=min(p.size, len(payloads))), make) for p, make in steps]
    alone = len(payloads) == 1 or sum(pool.size for pool, _ in steps) == 1
    if alone and not _needs_ray():
        results = run_in_this_process(payloads, steps)
    else:
        check_budget([pool for pool, _ in steps], cluster)
        results = _run_on_ray(payloads, steps, cluster)
    for finished in results:
        add_repeated(finished.repeated)
        if isinstance(finished.result, Raised):
            finished.result.throw()
        yield finished.result


def _run_on_ray(
    payloads: list[bytes], steps: Iterable[tuple[Pool, Make]], cluster: ClusterConfig
) -> Iterator[Finished]:
    import ray

    _connect(cluster)
    _configure(cluster)
    rows = [{_PAYLOAD: payload} for payload in payloads]
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    for pool, make in steps:
        data = data.map_batches(
            _actor(make, pool),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=pool.size),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
            **_RETRIES,
        )
    for row in data.iter_rows():
        yield pickle.loads(row[_PAYLOAD])
