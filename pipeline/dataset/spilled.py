"""Objects that lie on disk until they are looked at: what is planned of many tracks.

Rows of a table lie there as columns (`pipeline.dataset.column_rows`). These belong to no table:
each is pickled into a file without a name, which no other program can write, and 8 bytes stay in
memory.
"""

import mmap
import pickle
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

import numpy as np

Value = TypeVar("Value")


class Spilled(Sequence[Value], Generic[Value]):
    """Objects in the order in which they came; whoever asks for one gets a copy."""

    def __init__(self, objects: Iterable[Value]) -> None:
        """Take the objects one by one: none is held."""
        sizes = array("q", [0])
        with tempfile.TemporaryFile(prefix="contextanyone-") as file:
            for each in objects:
                sizes.append(file.write(pickle.dumps(each, pickle.HIGHEST_PROTOCOL)))
            file.flush()
            empty = len(sizes) == 1
            self._content = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._borders = np.cumsum(sizes)

    def __len__(self) -> int:
        return len(self._borders) - 1

    @overload
    def __getitem__(self, index: int) -> Value: ...
    @overload
    def __getitem__(self, index: slice) -> list[Value]: ...
    def __getitem__(self, index: int | slice) -> Value | list[Value]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        first, last = self._borders[place : place + 2].tolist()
        return pickle.loads(self._content[first:last])


def in_turn(objects: Iterable[Value], number: Callable[[Value], int]) -> Iterator[Value]:
    """Yield, by their numbers, objects that come in any order: on disk until all are there."""
    numbers = array("q")

    def noted() -> Iterator[Value]:
        for each in objects:
            numbers.append(number(each))
            yield each

    spilled = Spilled(noted())
    yield from (spilled[place] for place in np.argsort(numbers))
