"""The only place that knows Ray: pools, retries, budgets, time-outs.

Ray Data is the executor; what counts as done is decided by the commit of a unit, never by Ray. A
run in which only one process would work needs no Ray: it stays in this process.
"""

import atexit
import contextlib
import logging
import math
import os
import pickle
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from pipeline.execution.device import DEVICE
from pipeline.execution.machine import has_gpu, usable_cpus
from pipeline.execution.worker import Finished, Make, Pool, Raised, run_in_this_process
from schemas.remote import add_repeated
from schemas.settings import check_settings, setting

_NUMBER, _PAYLOAD = "number", "payload"
# A worker that is killed by the machine is replaced, as often as nodes come and go; a row that
# kills its worker each time must not be retried for ever. Restarts below retries would hang (seen
# on Ray 2.60).
_RETRIES: dict[str, Any] = {"max_task_retries": 2, "max_restarts": -1}
_BARREN_PASSES = 3  # in succession, without a finished row, of which the last raises Ray's error
_INIT_DEATHS = 8  # of workers in succession: of nodes that are lost, not of a broken installation
_NO_PROGRESS_S = 1800
_NODES_S = 600
_LOOK_EVERY_S = 1.0
_SETTINGS = "CONTEXTANYONE_"  # begins the names of all our environment variables
_RAY_KNOWS = ("RAY_ADDRESS", "RAY_OVERRIDE_RESOURCES")  # where these are set
# Set to 0, Ray's own servers, of which most would listen on all interfaces, listen on loopback, as
# they do by default on a Mac. Read when Ray is imported.
_MANY_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_STARTS = 4  # Ray gives its node 30 s, too little for a busy machine, and has no setting for it


class Budget(ValueError):
    """The cluster is too small for the plan."""


@dataclass(frozen=True)
class ClusterConfig:
    """How much of the cluster a run may take.

    Attributes:
        workers: processes that work, 0 for one per CPU of the cluster, of nodes that join it later
            too.
        gpus_per_worker: share of a GPU that a worker with engines that want one takes, where the
            cluster has GPUs; 0 keeps all engines on the CPUs.
        gpu_workers: workers that run engines on GPUs, 0 for as many as fit, at most half of all.
        no_progress_s: seconds without any finished row after which a run on Ray gives up.
        nodes_s: seconds to wait, on a running cluster, for nodes that it may still have to start:
            for as many CPUs as `workers` and GPUs as `gpu_workers` say, at least one CPU. Then the
            run goes on with what is there.
    """

    workers: int = setting(0, low=0, high=100_000)
    gpus_per_worker: float = setting(0.25, low=0, high=64)
    gpu_workers: int = setting(0, low=0, high=100_000)
    no_progress_s: int = setting(_NO_PROGRESS_S, low=1, high=10**6, unit="s")
    nodes_s: int = setting(_NODES_S, low=0, high=10**6, unit="s")

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

    def holds(self, other: "Resources") -> bool:
        return self.cpus >= other.cpus - 1e-9 and self.gpus >= other.gpus - 1e-9


def _needs_ray() -> bool:
    """Return whether only Ray knows the resources: of a cluster, or of a machine with GPUs."""
    started = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    return started or has_gpu() or any(name in os.environ for name in _RAY_KNOWS)


def connect(cluster: ClusterConfig) -> None:
    """Join the running cluster (RAY_ADDRESS or a submitted job), else start one of this machine."""
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault(_MANY_MACHINES, "0")
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
        gpus = cluster.gpu_workers * cluster.gpus_per_worker
        _wait_for(Resources(max(1, cluster.workers), gpus), cluster)
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
            _keep_token_private()
            return
        except Exception as error:  # Ray raises the bare class
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    raise Budget(
        f"Ray did not start within 30 s, {_STARTS} times: the machine is too busy; try again when "
        "it is not, or set RAY_ADDRESS to a running cluster"
    )


def _present() -> Resources:
    import ray

    present = ray.cluster_resources()
    return Resources(present.get("CPU", 0.0), present.get("GPU", 0.0))


def _wait_for(wanted: Resources, cluster: ClusterConfig) -> None:
    """Wait until a running cluster has this, as long as the settings say; ask its autoscaler."""
    if _present().holds(wanted):
        return
    from ray.autoscaler.sdk import request_resources

    have, end = _present(), time.monotonic() + cluster.nodes_s
    print(
        f"waiting up to {cluster.nodes_s} s for {wanted.cpus:g} CPU and {wanted.gpus:g} GPU: the "
        f"cluster has {have.cpus:g} and {have.gpus:g} (run.cluster.nodes_s)",
        file=sys.stderr,
        flush=True,
    )
    whole_gpus = [{"GPU": 1}] * math.ceil(wanted.gpus)
    request_resources(num_cpus=math.ceil(wanted.cpus), bundles=whole_gpus)
    while time.monotonic() < end and not _present().holds(wanted):
        time.sleep(_LOOK_EVERY_S)
    request_resources(num_cpus=0)  # or the nodes would be kept when the run has ended


def _keep_token_private() -> None:
    """Let nobody else read the token that Ray's ports want: Ray leaves its mode to the umask."""
    place = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    with contextlib.suppress(OSError):
        Path(place).expanduser().chmod(0o600)


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
    connect(cluster)
    return _present()


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


def check_budget(pools: Sequence[Pool], have: Resources) -> None:
    """Refuse pools that together want more than the cluster has: they would wait for ever."""
    kinds = (("CPU", lambda p: p.cpus, have.cpus), ("GPU", lambda p: p.gpus, have.gpus))
    for kind, wants, present in kinds:
        needed = sum(pool.size * wants(pool) for pool in pools)
        if needed > present + 1e-9:
            wanted = " + ".join(f"{pool.name}({pool.size} x {wants(pool):g})" for pool in pools)
            raise Budget(
                f"{wanted} want {needed:g} {kind}, the cluster has {present:g}; lower the pools or "
                "add nodes"
            )


def shrunk(pools: Sequence[Pool], have: Resources) -> list[Pool]:
    """Return pools that fit into what is left of a cluster, one worker each at least."""
    pools = list(pools)
    while not have.holds(wanted := _wanted(pools)):
        short = [
            pool
            for pool in pools
            if pool.size > 1
            and (wanted.cpus > have.cpus or (pool.gpus and wanted.gpus > have.gpus))
        ]
        if not short:
            break
        largest = max(short, key=lambda pool: pool.size)
        pools[pools.index(largest)] = replace(largest, size=largest.size - 1)
    return pools


def _wanted(pools: Sequence[Pool]) -> Resources:
    return Resources(
        sum(pool.size * pool.cpus for pool in pools), sum(pool.size * pool.gpus for pool in pools)
    )


def _actor(make: Make, pool: Pool) -> type:
    """Return an actor class that calls a Worker on every pickled row.

    What it calls is closed over: as a constructor argument it would live in the object store, and
    an actor could not be restarted once it is gone. It is unpickled only when our modules are sure
    to be those of this checkout, of which others may lie where Ray looks first.
    """
    from ray.cloudpickle.cloudpickle import dumps

    environment, path, carried = settings_for_workers(), module_path(), dumps((make, pool))

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
            return {_NUMBER: batch[_NUMBER], _PAYLOAD: list(map(pickle.dumps, results))}

    return Actor


def module_path() -> list[str]:
    """Return the module path of workers; a cluster that was joined has its own."""
    return [] if os.environ.get("RAY_ADDRESS") else [place for place in sys.path if place]


def settings_for_workers() -> dict[str, str]:
    """Return the driver's settings for its workers, on whatever node; no key is among them."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_SETTINGS) and not name.endswith("_KEY") and name != DEVICE
    }


def _configure(cluster: ClusterConfig, strict: bool) -> None:
    import ray

    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = 0 if strict else -1  # a block is one row, and none is forgotten
    if hasattr(context, "max_consecutive_actor_init_deaths"):  # since Ray 2.60
        context.max_consecutive_actor_init_deaths = _INIT_DEATHS
    context.enable_progress_bars = False  # ours count videos, not blocks
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = cluster.no_progress_s
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what ends a run is raised
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
        check_budget([pool for pool, _ in steps], resources(cluster))
        results = _run_on_ray(payloads, steps, cluster)
    for finished in results:
        add_repeated(finished.repeated)
        if isinstance(finished.result, Raised):
            finished.result.throw()
        yield finished.result


def _run_on_ray(
    payloads: list[bytes], steps: Sequence[tuple[Pool, Make]], cluster: ClusterConfig
) -> Iterator[Finished]:
    """Yield the result of every row once.

    What a lost node takes along is done again in another pass, on what is there by then. A row
    whose worker dies in every pass ends the run, when all others are done.
    """
    left, barren = dict(enumerate(payloads)), 0
    connect(cluster)
    while left:
        before = len(left)
        for number, finished in _one_pass(left, steps, cluster, barren == _BARREN_PASSES - 1):
            del left[number]
            yield finished
        barren = barren + 1 if len(left) == before else 0
        if left:
            print(f"{len(left)} of {before} rows lost their worker: again", file=sys.stderr)
            steps = _on_what_is_left(steps, cluster)


def _on_what_is_left(
    steps: Sequence[tuple[Pool, Make]], cluster: ClusterConfig
) -> list[tuple[Pool, Make]]:
    pools = [pool for pool, _ in steps]
    _wait_for(_wanted([replace(pool, size=1) for pool in pools]), cluster)
    have = _present()
    fitting = shrunk(pools, have)
    check_budget(fitting, have)
    return [(pool, make) for pool, (_, make) in zip(fitting, steps, strict=True)]


def _one_pass(
    rows: Mapping[int, bytes],
    steps: Sequence[tuple[Pool, Make]],
    cluster: ClusterConfig,
    strict: bool,
) -> Iterator[tuple[int, Finished]]:
    """Yield what is finished, by the numbers of the rows; `strict` raises what lost a row.

    On a cluster that was joined a pool grows with it, unless its size was named.
    """
    import ray
    from ray.data.exceptions import ExecutionTimeoutError
    from ray.exceptions import ObjectLostError

    _configure(cluster, strict)
    items = [{_NUMBER: number, _PAYLOAD: payload} for number, payload in rows.items()]
    data = ray.data.from_items(items, override_num_blocks=len(items))
    for pool, make in steps:
        size = min(pool.size, len(items))
        named = cluster.gpu_workers if pool.gpus else cluster.workers
        most = len(items) if os.environ.get("RAY_ADDRESS") and not named else size
        data = data.map_batches(
            _actor(make, pool),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=size, max_size=most),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
            **_RETRIES,
        )
    try:
        for row in data.iter_rows():
            yield row[_NUMBER], pickle.loads(row[_PAYLOAD])
    except ObjectLostError:  # results that lay on a lost node
        if strict:
            raise
    except ExecutionTimeoutError:
        names = " and ".join(pool.name for pool, _ in steps)
        raise TimeoutError(
            f"nothing moved in {names} for {cluster.no_progress_s} s; where that is no fault, "
            "raise run.cluster.no_progress_s"
        ) from None
