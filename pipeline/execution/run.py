"""Run rows through pools of workers: in this process, or on Ray, whose retries are bounded here.

Ray Data is the executor; what counts as done is decided by the commit of a unit, never by Ray. A
run in which only one process would work needs no Ray: it stays in this process.
"""

import logging
import os
import pickle
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.execution import cluster
from pipeline.execution.budget import ClusterConfig, check_budget, shrunk, wanted_by
from pipeline.execution.surroundings import carried
from pipeline.execution.worker import Finished, Make, Pool, Raised, run_in_this_process
from schemas.remote import add_repeated

_NUMBER, _PAYLOAD = "number", "payload"
_PORTION_BYTES = 256 * 2**20  # of pickled rows that wait at a time; a pool is made anew for more
# A worker that is killed by the machine is replaced, as often as nodes come and go; a row that
# kills its worker each time must not be retried for ever. Restarts below retries would hang (seen
# on Ray 2.60).
_RETRIES: dict[str, Any] = {"max_task_retries": 2, "max_restarts": -1}
_BARREN_PASSES = 3  # in succession, without a finished row, of which the last raises Ray's error
_INIT_DEATHS = 8  # of workers in succession: of nodes that are lost, not of a broken installation


def run(
    rows: Iterable[Any], steps: Iterable[tuple[Pool, Make]], config: ClusterConfig
) -> Iterator[Any]:
    """Stream rows through the steps, each in its own pool; yield results in any order.

    A step is a function that makes, once per worker, the function that is called on every row.
    Where only one process would work at a time (one worker, or one row) it is this one, unless a
    cluster was joined or there are GPUs. Rows are taken a portion at a time, so that those of
    millions of samples never lie in memory together.
    """
    steps = list(steps)
    for payloads in _portions(rows):
        yield from _run_portion(payloads, steps, config)


def _portions(rows: Iterable[Any]) -> Iterator[list[bytes]]:
    portion, size = list[bytes](), 0
    for row in rows:
        payload = pickle.dumps(row)
        if portion and size + len(payload) > _PORTION_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(payload)
        size += len(payload)
    if portion:
        yield portion


def _run_portion(
    payloads: list[bytes], steps: Sequence[tuple[Pool, Make]], config: ClusterConfig
) -> Iterator[Any]:
    steps = [(replace(p, size=min(p.size, len(payloads))), make) for p, make in steps]
    alone = len(payloads) == 1 or sum(pool.size for pool, _ in steps) == 1
    if alone and not cluster.needs_ray():
        results = run_in_this_process(payloads, steps)
    else:
        check_budget([pool for pool, _ in steps], cluster.resources(config))
        results = _run_on_ray(payloads, steps, config)
    for finished in results:
        add_repeated(finished.repeated)
        if isinstance(finished.result, Raised):
            finished.result.throw()
        yield finished.result


def _run_on_ray(
    payloads: list[bytes], steps: Sequence[tuple[Pool, Make]], config: ClusterConfig
) -> Iterator[Finished]:
    """Yield the result of every row once.

    What a lost node takes along is done again in another pass, on what is there by then. A row
    whose worker dies in every pass ends the run, when all others are done.
    """
    left, barren = dict(enumerate(payloads)), 0
    cluster.connect(config)
    while left:
        before = len(left)
        for number, finished in _one_pass(left, steps, config, barren == _BARREN_PASSES - 1):
            del left[number]
            yield finished
        barren = barren + 1 if len(left) == before else 0
        if left:
            print(f"{len(left)} of {before} rows lost their worker: again", file=sys.stderr)
            steps = _on_what_is_left(steps, config)


def _on_what_is_left(
    steps: Sequence[tuple[Pool, Make]], config: ClusterConfig
) -> list[tuple[Pool, Make]]:
    """Return the steps with pools that fit what the cluster has now; wait where it is too small."""
    pools = [pool for pool, _ in steps]
    cluster.wait_for(wanted_by([replace(pool, size=1) for pool in pools]), config)
    have = cluster.present()
    fitting = shrunk(pools, have)
    check_budget(fitting, have)
    return [(pool, make) for pool, (_, make) in zip(fitting, steps, strict=True)]


def _one_pass(
    rows: Mapping[int, bytes],
    steps: Sequence[tuple[Pool, Make]],
    config: ClusterConfig,
    strict: bool,
) -> Iterator[tuple[int, Finished]]:
    """Yield what is finished, by the numbers of the rows; `strict` raises what lost a row.

    On a cluster that was joined a pool grows with it, unless its size was named.
    """
    import ray
    from ray.data.exceptions import ExecutionTimeoutError
    from ray.exceptions import ObjectLostError

    _configure(config, strict)
    items = [{_NUMBER: number, _PAYLOAD: payload} for number, payload in rows.items()]
    data = ray.data.from_items(items, override_num_blocks=len(items))
    for pool, make in steps:
        size = min(pool.size, len(items))
        named = config.gpu_workers if pool.gpus else config.workers
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
            f"nothing moved in {names} for {config.no_progress_s} s; where that is no fault, "
            "raise run.cluster.no_progress_s"
        ) from None


def _configure(config: ClusterConfig, strict: bool) -> None:
    import ray

    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = 0 if strict else -1  # a block is one row, and none is forgotten
    if hasattr(context, "max_consecutive_actor_init_deaths"):  # since Ray 2.60
        context.max_consecutive_actor_init_deaths = _INIT_DEATHS
    context.enable_progress_bars = False  # ours count videos, not blocks
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = config.no_progress_s
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what ends a run is raised
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")


def _actor(make: Make, pool: Pool) -> type:
    """Return an actor class that calls a Worker on every pickled row.

    What it calls is closed over: as a constructor argument it would live in the object store, and
    an actor could not be restarted once it is gone.
    """
    unpack = carried((make, pool))

    class Actor:
        def __init__(self) -> None:
            make, pool = unpack()
            from pipeline.execution.worker import Worker, hidden_gpus

            os.environ.update(hidden_gpus(pool))
            self._work = Worker(make)

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
            results = [self._work(pickle.loads(payload)) for payload in batch[_PAYLOAD]]
            return {_NUMBER: batch[_NUMBER], _PAYLOAD: list(map(pickle.dumps, results))}

    return Actor
