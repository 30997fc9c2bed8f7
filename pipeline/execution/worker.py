"""What a worker does with a row, in any process."""

import contextlib
import os
import pickle
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.execution.device import DEVICE
from pipeline.execution.machine import usable_cpus
from schemas.remote import take_repeated

_THREADS = "OMP_NUM_THREADS"
Function = Callable[[Any], Any]
Make = Callable[[], Function]


@dataclass(frozen=True)
class Pool:
    """The processes of one step, and what each of them holds."""

    name: str
    size: int
    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class Raised:
    """An exception in a worker: nothing about the row, so the run ends with it."""

    error: Exception
    trace: str

    def throw(self) -> None:
        """Raise it where the results are read, with the worker's trace where that helps."""
        if isinstance(self.error, OSError):  # a full disk, a lost mount: the message says it all
            raise self.error
        raise self.error from RuntimeError(f"in a worker:\n{self.trace}")


@dataclass(frozen=True)
class Finished:
    """The result of a row, and which calls to other machines were repeated for it."""

    result: Any | Raised
    repeated: Counter[str]


class Worker:
    """Calls, on every row, the function that `make` makes.

    It is made with the first row, so that an engine that cannot be built ends the run instead of
    being built again and again.
    """

    def __init__(self, make: Make) -> None:
        self._make = make
        self._function: Function | None = None

    def __call__(self, row: Any) -> "Finished":
        repeated: Counter[str] = Counter()
        if isinstance(row, Finished):  # by the step before
            repeated, row = row.repeated, row.result
        result = row if isinstance(row, Raised) else self._call(row)
        return Finished(result, repeated + take_repeated())

    def _call(self, row: Any) -> Any | Raised:
        try:
            self._function = self._function or self._make()
            return self._function(row)
        except Exception as error:  # travels as a value: Ray would bury it in its own frames
            return Raised(error, traceback.format_exc())


def hidden_gpus(pool: Pool) -> dict[str, str]:
    """Return the environment that keeps a worker off the GPUs, where its pool has none."""
    return {} if pool.gpus else {DEVICE: "cpu", "CUDA_VISIBLE_DEVICES": ""}


def run_in_this_process(
    payloads: Iterable[bytes], steps: Iterable[tuple[Pool, Make]]
) -> Iterator[Finished]:
    """Run pickled rows through all steps, one after another, in this process.

    The steps are on the CPU. No row is started before the one before it was taken.
    """
    workers = [(Worker(make), pool) for pool, make in steps]
    for payload in payloads:
        result = pickle.loads(payload)  # a copy: what a step does to it is not seen by the caller
        for worker, pool in workers:
            with _as_worker_of(pool):
                result = worker(result)
        yield result


@contextlib.contextmanager
def _as_worker_of(pool: Pool) -> Iterator[None]:
    """Give this process, and what it starts, the environment of a worker of the pool."""
    changed = hidden_gpus(pool)
    threads = max(1, int(pool.cpus))  # as Ray has it: results must not depend on the machine
    if _THREADS not in os.environ:
        changed |= {_THREADS: str(threads)}
    before = {name: os.environ.get(name) for name in changed}
    torch_before = _use_torch_threads(threads) if _THREADS in changed else None
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if _THREADS in changed:
            _use_torch_threads(torch_before or usable_cpus())


def _use_torch_threads(number: int) -> int | None:
    """Set the threads of torch, which reads the environment only once; return those of before."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    return before
