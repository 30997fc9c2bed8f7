"""Choose, order, group and look up rows, whether they are a list or lie on disk as columns.

Ids are compared as UTF-8, whose order is that of the text.
"""

import bisect
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar, overload

import numpy as np

from pipeline.dataset.column_rows import ColumnRows
from schemas.columns import Row, RowType

Column = np.ndarray | Sequence[str]  # of ids as `encoded`, or of numbers; or of any text
Value = TypeVar("Value")
_ENCODED = 4096  # texts that wait together until they are numbers of a column
_REMEMBERED = 1024  # rows found by their key: neighbours ask for the same one
_TOGETHER = 64  # members that are made of rows read together


def values(rows: Sequence[Row], name: str) -> np.ndarray:
    """Return a column of ids or numbers, (N,); ids are bytes."""
    if isinstance(rows, ColumnRows):
        return rows.values(name)
    found = [getattr(row, name) for row in rows]
    return encoded(found) if not found or isinstance(found[0], str) else np.array(found)


def encoded(ids: Iterable[str]) -> np.ndarray:
    """Return ids as a column, (N,)."""
    texts = (id.encode() for id in ids)
    parts = [np.array([], "S")]
    while part := list(itertools.islice(texts, _ENCODED)):
        parts.append(np.array(part, "S"))
    return np.concatenate(parts)


def ids_of(rows: Sequence[Row], name: str) -> list[str]:
    """Return a column of ids as texts."""
    return [each.decode() for each in values(rows, name).tolist()]


def take(rows: Sequence[RowType], places: np.ndarray) -> list[RowType]:
    """Return the rows at these places as objects."""
    if isinstance(rows, ColumnRows):
        return rows.take(places)
    return [rows[place] for place in places.tolist()]


def where(rows: Sequence[RowType], places: np.ndarray) -> Sequence[RowType]:
    """Return the rows at these places, given as indices or as a mask."""
    places = np.flatnonzero(places) if places.dtype == bool else places
    if isinstance(rows, ColumnRows):
        return rows.where(places)
    return take(rows, places)


def without(rows: Sequence[RowType], *names: str) -> Sequence[RowType]:
    """Return the rows without columns that need not be read; those of a list are there anyway."""
    return rows.without(*names) if isinstance(rows, ColumnRows) else rows


def plus(rows: Sequence[RowType], others: Sequence[RowType]) -> Sequence[RowType]:
    """Return all rows, then the others, which are objects."""
    return rows.plus(others) if isinstance(rows, ColumnRows) else [*rows, *others]


def in_order(rows: Sequence[RowType], *names: str) -> Sequence[RowType]:
    """Return the rows sorted by these columns; equal ones stay as they are."""
    if isinstance(rows, ColumnRows):
        return rows.in_order(*names)
    return where(rows, np.lexsort([values(rows, name) for name in reversed(names)]))


def with_columns(rows: Sequence[RowType], changed: Mapping[str, Column]) -> Sequence[RowType]:
    """Return the rows with other values, (N,), in the columns that are named."""
    if isinstance(rows, ColumnRows):
        return rows.with_columns(changed)
    columns = [_decoded(column) for column in changed.values()]
    return [
        replace(row, **dict(zip(changed, fresh, strict=True)))
        for row, *fresh in zip(rows, *columns, strict=True)
    ]


def _decoded(column: Column) -> Sequence[Any]:
    if not isinstance(column, np.ndarray):
        return column
    return [each.decode() if isinstance(each, bytes) else each for each in column.tolist()]


def groups(keys: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every id of a column, in order, with the places where it lies, ascending."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    borders = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    for places in np.split(order, borders) if len(keys) else ():
        yield keys.item(places[0]).decode(), places


def grouped(rows: Sequence[RowType], name: str) -> Iterator[tuple[str, list[RowType]]]:
    """Yield every value of a column, in order, with its rows: objects of one group at a time."""
    for key, places in groups(values(rows, name)):
        yield key, take(rows, places)


class Made(Sequence[Value], Generic[Value]):
    """A sequence whose members are made of others when they are asked for, and not kept."""

    def __init__(self, sources: Sequence[Any] | np.ndarray, make: Callable[[Any], Any]) -> None:
        """Take what makes a member of its source."""
        self._sources, self._make = sources, make

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> Value: ...
    @overload
    def __getitem__(self, index: slice) -> "Made[Value]": ...
    def __getitem__(self, index: int | slice) -> "Value | Made[Value]":
        if isinstance(index, slice):
            return type(self)(self._sources[index], self._make)
        return self._member(self._sources[index])

    def _member(self, source: Any) -> Value:
        return self._make(source)


class MadeTogether(Made[Value]):
    """The same, for members of which some cost hardly more than one: their rows are read together.

    `make` takes some sources and returns as many members.
    """

    def __iter__(self) -> Iterator[Value]:
        for first in range(0, len(self), _TOGETHER):
            yield from self._make(self._sources[first : first + _TOGETHER])

    def _member(self, source: Any) -> Value:
        return self._make([source])[0]


class ByKey(Mapping[str, RowType], Generic[RowType]):
    """Rows by the value of a column, of which no two rows have the same."""

    def __init__(self, rows: Sequence[RowType], name: str) -> None:
        self.rows = rows
        self._places = Places(values(rows, name))
        self._row = functools.lru_cache(_REMEMBERED)(rows.__getitem__)

    def __getitem__(self, key: str) -> RowType:
        return self._row(self._places[key])

    def all_of(self, keys: Iterable[str]) -> list[RowType]:
        """Return the row of every key, read together."""
        return take(self.rows, self._places.of(encoded(keys)))

    def __contains__(self, key: Any) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def together(rows: Mapping[str, RowType], keys: Iterable[str]) -> dict[str, RowType]:
    """Return the rows of some keys; those that lie on disk are read together."""
    distinct = list(dict.fromkeys(keys))
    if isinstance(rows, ByKey):
        return dict(zip(distinct, rows.all_of(distinct), strict=True))
    return {key: rows[key] for key in distinct}


class Places(Mapping[str, int]):
    """Where in a column every id lies; of an id that is there twice, first. 32 bytes an id."""

    def __init__(self, ids: np.ndarray) -> None:
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]

    def __getitem__(self, id: str) -> int:
        found = self.all_of(id)
        if not len(found):
            raise KeyError(id)
        return int(found[0])

    def all_of(self, id: str) -> np.ndarray:
        """Return all places of an id, ascending."""
        wanted = id.encode()
        first = bisect.bisect_left(self._sorted, wanted)
        return self._order[first : bisect.bisect_right(self._sorted, wanted, first)]

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Return (N,) places of ids that are all there."""
        return self._order[np.searchsorted(self._sorted, ids)]

    def __iter__(self) -> Iterator[str]:
        """Yield the ids in order."""
        return (id.decode() for id in self._sorted.tolist())

    def __len__(self) -> int:
        return len(self._sorted)


def spread(ids: np.ndarray, known: np.ndarray, column: np.ndarray, missing: Any) -> np.ndarray:
    """Return, (N,), the entry of every id in a column that is by `known` ids, or `missing`."""
    is_known = np.isin(ids, known)
    found = np.full(len(ids), missing, np.result_type(column, np.asarray(missing)))
    found[is_known] = column[Places(known).of(ids[is_known])]
    return found


class OneOfFew(Mapping[str, Value], Generic[Value]):
    """A value of a few by id: `codes` (N,) says which of `few` an id has."""

    def __init__(self, ids: np.ndarray, codes: np.ndarray, few: Sequence[Value]) -> None:
        self._places, self._codes, self._few = Places(ids), codes, few

    def __getitem__(self, key: str) -> Value:
        return self._few[self._codes[self._places[key]]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
