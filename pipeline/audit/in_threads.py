"""Work on many things in a few threads, in order, without reading far ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def in_order(
    function: Callable[[_In], _Out], things: Iterable[_In], workers: int
) -> Iterator[_Out]:
    """Yield the results in the order of `things`; at most 2 x workers results wait to be taken."""
    waiting: deque[Future[_Out]] = deque()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            for thing in things:
                waiting.append(pool.submit(function, thing))
                if len(waiting) >= 2 * max(1, workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
