"""The only place that knows Ray: pools, retries, budgets, time-outs.

Ray Data is the executor; what counts as done is decided by the commit of a unit, never by Ray.
"""

import atexit
import contextlib
import logging
import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from pipeline.execution.device import DEVICE

_PAYLOAD = "payload"
# A worker that is killed by the machine is replaced; a row that kills its worker each time must not
# be retried for ever. Restarts below retries would hang (seen on Ray 2.60).
_RETRIES: dict[str, Any] = {"max_task_retries": 2, "max_restarts": 16}
_NO_PROGRESS_S = 1800
_SETTINGS = "CONTEXTANYONE_"  # begins the names of all our environment variables
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
        no_progress_s: seconds without any finished row after which the run gives up.
    """

    workers: int = 0
    gpus_per_worker: float = 0.25
    gpu_workers: int = 0
    no_progress_s: int = _NO_PROGRESS_S

    def __post_init__(self) -> None:
        share = self.gpus_per_worker
        if share < 0 or (share > 1 and share != int(share)):
            raise ValueError(
                f"cluster.gpus_per_worker must be 0 to 1 or a whole number, got {share:g}"
            )
        if self.workers < 0 or self.gpu_workers < 0:
            raise ValueError(
                f"cluster.workers and cluster.gpu_workers must be >= 0, got {self.workers} and "
                f"{self.gpu_workers}"
            )


@dataclass(frozen=True)
class Resources:
    """What a cluster has."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Pool:
    """What one operator asks of the cluster: processes and what each of them holds."""

    name: str
    size: int
    cpus: float = 1.0
    gpus: float = 0.0


def connect(cluster: ClusterConfig) -> None:
    """Join the running cluster (RAY_ADDRESS or a submitted job), else start one in this process."""
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
    """Start Ray on this machine, again when it was too slow."""
    import ray

    for _ in range(_STARTS):
        try:
            ray.init(
                address="local",
                num_cpus=cluster.workers or None,
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


def leave(code: int) -> NoReturn:
    """End this process in order, but without the destructors of Ray's native libraries.

    They crashed 2 of 31 interrupted runs (SIGSEGV, Ray 2.60), after all was saved and said.
    """
    atexit._run_exitfuncs()  # Ray's own orderly end is one of them
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody listens any more
            stream.flush()
    os._exit(code)


def resources() -> Resources:
    """Return what the connected cluster has."""
    import ray

    present = ray.cluster_resources()
    return Resources(present.get("CPU", 0.0), present.get("GPU", 0.0))


def num_workers(cluster: ClusterConfig) -> int:
    """Return how many processes may work at once."""
    available = int(resources().cpus)
    if available < 1:
        raise Budget("the cluster has no CPU: start a node with --num-cpus")
    return min(cluster.workers or available, available)


def num_gpus() -> int:
    """Return how many GPUs the cluster has."""
    return int(resources().gpus)


def check_budget(pools: Iterable[Pool]) -> None:
    """Refuse pools that together want more than the cluster has: they would wait for ever."""
    pools, have = list(pools), resources()
    kinds = (("CPU", lambda p: p.cpus, have.cpus), ("GPU", lambda p: p.gpus, have.gpus))
    for kind, wants, present in kinds:
        needed = sum(pool.size * wants(pool) for pool in pools)
        if needed > present + 1e-9:
            each = " + ".join(f"{pool.name}({pool.size} x {wants(pool):g})" for pool in pools)
            raise Budget(
                f"{each} want {needed:g} {kind}, the cluster has {present:g}; lower the pools or "
                "add nodes"
            )


def _worker(make: Callable[[], Callable[[Any], Any]], pool: Pool) -> type:
    """Return an actor class that calls, on every pickled row, the function that `make` makes.

    `make` is closed over: as a constructor argument it would live in the object store, and an actor
    could not be restarted once it is gone. It is called with the first row, so that an engine that
    cannot be built ends the run instead of being built again and again.
    """
    environment = _environment()

    class Worker:
        def __init__(self) -> None:
            for name, value in environment.items():
                os.environ.setdefault(name, value)  # what the node itself says goes first
            if not pool.gpus:
                os.environ.update({DEVICE: "cpu", "CUDA_VISIBLE_DEVICES": ""})
            self._function: Callable[[Any], Any] | None = None

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
            results = [self._call(pickle.loads(each)) for each in batch[_PAYLOAD]]
            return {_PAYLOAD: [pickle.dumps(result) for result in results]}

        def _call(self, row: Any) -> Any:
            try:
                self._function = self._function or make()
                return self._function(row)
            except Exception as error:  # travels as a value: Ray would bury it in its own frames
                return _Raised(error, traceback.format_exc())

    return Worker


def _environment() -> dict[str, str]:
    """Return the driver's settings for its workers, on whatever node; no key is among them."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_SETTINGS) and not name.endswith("_KEY") and name != DEVICE
    }


@dataclass(frozen=True)
class _Raised:
    """An exception in a worker: nothing about the row, so the run ends with it."""

    error: Exception
    trace: str

    def throw(self) -> None:
        if isinstance(self.error, OSError):  # a full disk, a lost mount: the message says it all
            raise self.error
        raise self.error from RuntimeError(f"in a worker:\n{self.trace}")


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
    rows: Iterable[Any],
    steps: Iterable[tuple[Pool, Callable[[], Callable[[Any], Any]]]],
    cluster: ClusterConfig,
) -> Iterator[Any]:
    """Stream rows through the steps, each in its own pool; yield results in any order.

    A step is a function that makes, once per worker, the function that is called on every row.
    """
    import ray

    payloads = [{_PAYLOAD: pickle.dumps(row)} for row in rows]
    if not payloads:
        return
    steps = [(replace(p, size=min(p.size, len(payloads))), make) for p, make in steps]
    check_budget(pool for pool, _ in steps)
    _configure(cluster)
    data = ray.data.from_items(payloads, override_num_blocks=len(payloads))
    for pool, make in steps:
        data = data.map_batches(
            _worker(make, pool),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=pool.size),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
            **_RETRIES,
        )
    for row in data.iter_rows():
        result = pickle.loads(row[_PAYLOAD])
        if isinstance(result, _Raised):
            result.throw()
        yield result
