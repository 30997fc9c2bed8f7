"""Time limits that hold on a busy machine too: what waits for a processor is not slow."""

import contextlib
import resource
import time
from collections.abc import Iterator

HANG_S = 900  # nothing takes so long, however busy the machine: what does has lost its way


@contextlib.contextmanager
def works_less_than(seconds: float) -> Iterator[None]:
    """Fail when the block takes this process more time of a processor."""
    started = time.process_time()
    yield
    assert time.process_time() - started < seconds


@contextlib.contextmanager
def children_work_less_than(seconds: float) -> Iterator[None]:
    """Fail when the processes that the block starts and waits for take more of a processor."""
    started = _children_s()
    yield
    assert _children_s() - started < seconds


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
