"""Yield the batches of a process in order; worker processes prepare them ahead."""

import atexit
import dataclasses
import functools
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from trainer.data.batch import SkippedSample
from trainer.data.data_config import DataConfig
from trainer.data.order import GlobalBatch, Order, slice_of
from trainer.data.source import Batch, BatchBuilder, BatchRequest, SampleSet

STAND_INS = 8  # samples tried in place of one that cannot be read
_GRACE_S = 120  # how long a worker outlives a SIGTERM, so that its trainer can finish a step
_PRELOADED = ["trainer.data.worker"]


def make_loader(
    source: SampleSet,
    order: Order,
    data: DataConfig,
    *,
    rank: int,
    world_size: int,
    micro_batch: int,
    start_step: int,
    stop_step: int,
) -> Iterator[Batch]:
    """Yield this process' micro-batches of every step in [start_step, stop_step), in order.

    What they hold depends on the order and the step alone, not on workers or processes.
    Raises ValueError for data that cannot be used, RuntimeError when a worker dies or hangs.
    """
    places = slice_of(order.batch_size, rank, world_size)
    if micro_batch < 1 or len(places) % micro_batch:
        raise ValueError(
            f"the micro-batch must divide the {len(places)} samples of a process "
            f"(batch_size {order.batch_size}, {world_size} processes), got {micro_batch}"
        )
    requests = Requests(source, order, places, micro_batch, start_step, stop_step)
    builder = source.builder(order.seed, training=True)
    loader = DataLoader(
        _BatchResults(builder),
        batch_size=None,
        sampler=requests,
        num_workers=data.num_workers,
        collate_fn=_unchanged,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # or it would draw from the trainer's own
        **_worker_options(data),
    )
    results = iter(loader)
    # torch, and Python when it exits, would ask a worker to end and wait, even if it hangs.
    kill = functools.partial(_kill, getattr(results, "_workers", []))
    atexit.register(kill)
    return _received(results, kill, data)


def _worker_options(data: DataConfig) -> dict[str, Any]:
    if not data.num_workers:
        return {}
    return {
        "prefetch_factor": data.prefetch,
        "multiprocessing_context": _start_fork_server(),
        "worker_init_fn": _settle,
    }


def _start_fork_server() -> Any:
    """Return the context of workers that are forked from a clean process.

    A fork of the trainer itself would copy its GPU, network and thread state. Signals for the
    whole group must not end the server either: it inherits the mask.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", *_PRELOADED])
    multiprocessing.resource_tracker.ensure_running()  # it would unblock the signal once started
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return context


def _settle(_worker: int) -> None:
    """End with the trainer, but not before it.

    Ctrl-C is the trainer's to handle. A SIGTERM to the whole group is outlived for as long as the
    trainer may need the data of its last step. The fork server does not see the trainer end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_S) and None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_trainer, daemon=True).start()


def _end_with_trainer() -> None:
    trainer = multiprocessing.parent_process()
    if trainer is not None:
        trainer.join()
        os._exit(1)


class Requests(Sampler[BatchRequest]):
    """Which micro-batches the workers make, in order. Workers never hold the index."""

    def __init__(
        self,
        source: SampleSet,
        order: Order,
        places: range,
        micro_batch: int,
        start_step: int,
        stop_step: int,
    ) -> None:
        self._source, self._order, self._places = source, order, places
        self._micro_batch, self._start_step, self._stop_step = micro_batch, start_step, stop_step

    def __len__(self) -> int:
        steps = max(0, self._stop_step - self._start_step)
        return steps * len(self._places) // self._micro_batch

    def __iter__(self) -> Iterator[BatchRequest]:
        for step in range(self._start_step, self._stop_step):
            batch = self._order.batch(step)
            for top in range(0, len(self._places), self._micro_batch):
                yield self._request(batch, self._places[top : top + self._micro_batch])

    def _request(self, batch: GlobalBatch, places: range) -> BatchRequest:
        locations = []
        for place in places:
            indices = (batch.indices[place], *self._order.stand_ins(batch, place, STAND_INS))
            # A small bucket comes round to the same sample; it would fail again.
            locations.append(
                tuple(self._source.locations(index) for index in dict.fromkeys(indices))
            )
        return BatchRequest(batch.step, batch.bucket, tuple(places), tuple(locations))


@dataclass(frozen=True)
class WorkerResult:
    """A batch that a worker made, or why it made none."""

    batch: Batch | None
    problem: str = ""

    def pin_memory(self) -> "WorkerResult":
        if self.batch is None:
            return self
        values = {f.name: getattr(self.batch, f.name) for f in dataclasses.fields(self.batch)}
        pinned = {k: v.pin_memory() for k, v in values.items() if isinstance(v, torch.Tensor)}
        return WorkerResult(dataclasses.replace(self.batch, **pinned))


class _BatchResults(Dataset[WorkerResult]):
    """The dataset that torch's workers read: a request gives a batch."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder

    def __getitem__(self, request: BatchRequest) -> WorkerResult:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return WorkerResult(self._builder.make(request))
        except ValueError as error:  # sent as text: a traceback of two processes helps nobody
            return WorkerResult(None, f"step {request.step}: {error}")


def _unchanged(result: Any) -> Any:
    return result


def _received(
    results: Iterator[WorkerResult], kill: Callable[[], None], data: DataConfig
) -> Iterator[Batch]:
    timeout_s = data.timeout_s if data.num_workers else None
    try:
        while (result := _next(results, kill, timeout_s)) is not None:
            if result.batch is None:
                raise ValueError(result.problem)
            yield result.batch
    finally:
        kill()
        atexit.unregister(kill)


def _next(
    results: Iterator[WorkerResult], kill: Callable[[], None], timeout_s: float | None
) -> WorkerResult | None:
    """Return the next result, or None after the last. A worker that hangs is killed."""
    if timeout_s is None:
        return next(results, None)
    # torch's own timeout does not cover fetching a tensor from a worker that hangs meanwhile.
    late = threading.Timer(timeout_s, kill)
    late.daemon = True  # a Ctrl-C inside start() leaves it running; the exit must not wait for it
    started = time.monotonic()
    try:
        late.start()
        return next(results, None)
    except (RuntimeError, OSError, EOFError) as error:
        if time.monotonic() - started >= timeout_s:
            raise RuntimeError(
                f"no batch came for {timeout_s:g} s: a worker hangs, or reading is that slow; "
                "raise data.timeout_s, or data.num_workers"
            ) from error
        raise RuntimeError(
            f"a worker of the data died ({error}). It had too little memory, or too little "
            "/dev/shm for its batches: lower data.num_workers or data.prefetch"
        ) from error
    finally:
        late.cancel()


def _kill(workers: list[Any]) -> None:
    for worker in workers:
        worker.kill()


class SkipCounter:
    """Counts what could not be read, and stops a run that has to skip too much."""

    def __init__(self, data: DataConfig) -> None:
        self._limit = data.max_skipped
        self.times = 0
        self.reasons: dict[str, str] = {}  # sample_id -> why

    def count(self, skipped: tuple[SkippedSample, ...]) -> None:
        """Add those of a batch. Raises ValueError when more samples failed than allowed."""
        self.times += len(skipped)
        self.reasons |= {sample.sample_id: sample.reason for sample in skipped}
        if len(self.reasons) > self._limit:
            shown = "; ".join(f"{name}: {why}" for name, why in list(self.reasons.items())[:20])
            raise ValueError(
                f"{len(self.reasons)} samples cannot be read, data.max_skipped allows "
                f"{self._limit}: {shown}. Curate the dataset again, or raise data.max_skipped"
            )
