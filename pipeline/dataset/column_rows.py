"""Rows of a table that lie on disk as columns: a row is an object only while it is looked at.

What is observed of a million tracks is about 15 GB as columns and far more as objects. Code that
reads rows takes these or a list alike, by `pipeline.dataset.row_sets`.
"""

import itertools
import mmap
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import IO, Any, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.columns import RowType, from_table, schema_of, to_table

_AT_ONCE = 256  # rows that become objects together while all are looked through
_COLLECTED = 2048  # rows of many pieces that are put in order together
_TEXTS = 8192  # of a column that are in memory; more lie on disk
_BATCH_BYTES = 16 * 2**20  # of columns that are written as one piece

Chosen = TypeVar("Chosen", pa.RecordBatch, pa.Array, pa.ChunkedArray)


class ColumnRows(Sequence[RowType]):
    """Some rows of columns that are read when a row is asked for, in an order of their own.

    `changed` holds columns, in that order, that replace what lies in the pieces.
    """

    def __init__(
        self,
        table: type[RowType],
        pieces: Sequence[pa.RecordBatch],
        places: np.ndarray | None = None,
        changed: Mapping[str, pa.Array | pa.ChunkedArray] | None = None,
    ) -> None:
        self._table, self._pieces = table, pieces
        self._schema = pieces[0].schema if pieces else schema_of(table)
        self._starts = np.cumsum([0, *(piece.num_rows for piece in pieces)])
        self._places = np.arange(self._starts[-1]) if places is None else places
        self._changed = dict(changed or {})

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[RowType]:
        for first in range(0, len(self), _AT_ONCE):
            yield from self.take(np.arange(first, min(first + _AT_ONCE, len(self))))

    @overload
    def __getitem__(self, index: int) -> RowType: ...
    @overload
    def __getitem__(self, index: slice) -> "ColumnRows[RowType]": ...
    def __getitem__(self, index: int | slice) -> "RowType | ColumnRows[RowType]":
        if isinstance(index, slice):
            return self.where(np.arange(len(self))[index])
        return self.take(np.array([range(len(self))[index]]))[0]

    def take(self, places: np.ndarray) -> list[RowType]:
        """Return the rows at these places, as objects."""
        if len(places) == 1 and not self._changed:  # asked for very often
            return from_table(self._row_at(int(self._places[places[0]])), self._table)
        return from_table(self.columns(places), self._table)

    def _row_at(self, place: int) -> pa.RecordBatch:
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._pieces[number].slice(place - int(self._starts[number]), 1)

    def where(self, places: np.ndarray) -> "ColumnRows[RowType]":
        """Return the rows at these places, in their order, still on disk."""
        changed = {name: _at(column, places) for name, column in self._changed.items()}
        return ColumnRows(self._table, self._pieces, self._places[places], changed)

    def with_columns(
        self, changed: Mapping[str, np.ndarray | Sequence[str]]
    ) -> "ColumnRows[RowType]":
        """Return the same rows with other values, (N,), for the columns that are named."""
        columns = {
            name: _to_arrow(column, self._schema.field(name).type)
            for name, column in changed.items()
        }
        return ColumnRows(self._table, self._pieces, self._places, self._changed | columns)

    def without(self, *names: str) -> "ColumnRows[RowType]":
        """Return the same rows, of which these columns have their defaults and are not read."""
        kept = [name for name in self._schema.names if name not in names]
        changed = {name: column for name, column in self._changed.items() if name in kept}
        pieces = [piece.select(kept) for piece in self._pieces]
        return ColumnRows(self._table, pieces, self._places, changed)

    def plus(self, rows: Sequence[RowType]) -> "ColumnRows[RowType]":
        """Return all rows, and some that are in memory after them."""
        if not rows:
            return self
        assert not self._changed, "rows are added before columns are changed"
        added = RowLog(self._table, rows).rows()
        places = np.concatenate([self._places, self._starts[-1] + np.arange(len(added))])
        return ColumnRows(self._table, [*self._pieces, *added._pieces], places)

    def in_order(self, *names: str) -> "ColumnRows[RowType]":
        """Return the rows sorted by these columns, text as UTF-8; equal ones stay as they are."""
        keys = pa.table([self._column(name) for name in names], names=list(names))
        options = pc.SortOptions([(name, "ascending") for name in names])
        order = pc.call_function("sort_indices", [keys], options)
        return self.where(order.to_numpy())

    def _column(self, name: str) -> pa.ChunkedArray | pa.Array:
        """Return one column; where rows lie as they were written, it stays on disk."""
        if name in self._changed:
            return self._changed[name]
        pieces = [piece.column(name) for piece in self._pieces]
        whole = pa.chunked_array(pieces, self._schema.field(name).type)
        in_place = np.array_equal(self._places, np.arange(self._starts[-1]))
        return whole if in_place else whole.take(pa.array(self._places))

    def values(self, name: str) -> np.ndarray:
        """Return one column, (N,): text as UTF-8, for it is an id."""
        if name in self._changed:
            return _to_numpy(self._changed[name])
        everything = [_to_numpy(piece.column(name)) for piece in self._pieces]
        return np.concatenate(everything)[self._places] if everything else np.array([], "S1")

    def table(self) -> pa.Table:
        """Return all rows as an Arrow table in memory, collected a part at a time."""
        borders = range(0, max(len(self), 1), _COLLECTED)
        ends = (min(first + _COLLECTED, len(self)) for first in borders)
        parts = map(self.columns, map(np.arange, borders, ends))
        return pa.concat_tables(parts).combine_chunks()

    def columns(self, places: np.ndarray) -> pa.Table:
        """Return the rows at these places as an Arrow table with the schema of their table."""
        wanted = self._places[places]
        piece = np.searchsorted(self._starts, wanted, side="right") - 1
        order = np.argsort(piece, kind="stable")
        parts = []
        for number, group in itertools.groupby(order.tolist(), key=piece.tolist().__getitem__):
            inside = wanted[list(group)] - self._starts[number]
            parts.append(_at(self._pieces[number], inside))
        found = pa.Table.from_batches(parts, self._schema)
        if len(parts) > 1 and not np.array_equal(order, np.arange(len(order))):
            found = found.combine_chunks().take(pa.array(np.argsort(order)))
        for name, column in self._changed.items():
            at = self._schema.get_field_index(name)
            found = found.set_column(at, self._schema.field(at), _at(column, places))
        return found


def _at(column: Chosen, places: np.ndarray) -> Chosen:
    """Return what lies at some places; neighbours are not copied."""
    first, number = int(places[0]) if len(places) else 0, len(places)
    if np.array_equal(places, np.arange(first, first + number)):
        return column.slice(first, number)
    return column.take(pa.array(places))


def _to_arrow(column: np.ndarray | Sequence[str], type_: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(column, np.ndarray):  # ids are bytes
        return pa.array(column).cast(type_)
    return pa.array(column, type_) if len(column) <= _TEXTS else _on_disk(column, type_)


def _on_disk(texts: Sequence[str], type_: pa.DataType) -> pa.ChunkedArray:
    """Return texts that lie in a file without a name, where a few at a time were written."""
    schema = pa.schema([("text", type_)])
    with tempfile.TemporaryFile(prefix="contextanyone-") as file:
        with pa.ipc.new_file(file, schema) as writer:
            for first in range(0, len(texts), _TEXTS):
                part = pa.array(list(texts[first : first + _TEXTS]), type_)
                writer.write_batch(pa.record_batch([part], schema))
        return pa.chunked_array([piece.column(0) for piece in _mapped(file)], type_)


def _mapped(file: IO[bytes]) -> list[pa.RecordBatch]:
    """Return what was written to an Arrow file, as long as somebody holds it; it stays on disk."""
    file.flush()
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    read = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))
    return [read.get_batch(number) for number in range(read.num_record_batches)]


def _to_numpy(column: pa.Array) -> np.ndarray:
    if pa.types.is_string(column.type):
        return column.cast(pa.binary()).to_numpy(zero_copy_only=False).astype("S")
    return column.to_numpy(zero_copy_only=False)


class RowSpill(Generic[RowType]):
    """Takes rows of one table as they are read, and keeps them in a file without a name.

    The file goes with the rows, also when the process is killed. It lies where Python's `tempfile`
    puts its files: TMPDIR says where.
    """

    def __init__(self, table: type[RowType]) -> None:
        self._table, self._schema = table, schema_of(table)
        self._file = tempfile.TemporaryFile(prefix="contextanyone-")  # noqa: SIM115
        self._writer = pa.ipc.new_file(self._file, self._schema)
        self._waiting: list[pa.Table] = []
        self._bytes = 0

    def add(self, data: pa.Table, **missing: Any) -> None:
        """Add rows as columns; those that lack have the value in `missing`, or their default."""
        columns = []
        for field in fields(self._table):
            type_ = self._schema.field(field.name).type
            if field.name in data.column_names:
                columns.append(data[field.name].cast(type_))
            else:
                value = missing.get(field.name, field.default)
                assert value is not MISSING, f"rows came without {field.name}"
                columns.append(pa.array([value] * len(data), type_))
        self._waiting.append(pa.Table.from_arrays(columns, schema=self._schema))
        self._bytes += self._waiting[-1].nbytes
        if self._bytes >= _BATCH_BYTES:
            self._write()

    def rows(self) -> ColumnRows[RowType]:
        """Return all rows that were added; none may be added after that."""
        self._write()
        self._writer.close()
        pieces = _mapped(self._file)
        self._file.close()
        return ColumnRows(self._table, pieces)

    def _write(self) -> None:
        if self._waiting:
            [piece] = pa.concat_tables(self._waiting).combine_chunks().to_batches() or [None]
            if piece is not None:
                self._writer.write_batch(piece)
        self._waiting, self._bytes = [], 0


class RowLog(Generic[RowType]):
    """Rows that are noted one by one and lie on disk, but for the last few."""

    def __init__(self, table: type[RowType], rows: Iterable[RowType] = ()) -> None:
        self._table, self._spill = table, RowSpill(table)
        self._last: list[RowType] = []
        self._all: ColumnRows[RowType] | None = None
        self.extend(rows)

    def append(self, row: RowType) -> None:
        """Note one more row."""
        assert self._all is None, "rows are noted before they are read"
        self._last.append(row)
        if len(self._last) == _AT_ONCE:
            self._write()

    def extend(self, rows: Iterable[RowType]) -> None:
        """Note more rows."""
        for row in rows:
            self.append(row)

    def rows(self) -> ColumnRows[RowType]:
        """Return all rows that were noted; none may be noted after that."""
        if self._all is None:
            self._write()
            self._all = self._spill.rows()
        return self._all

    def __iter__(self) -> Iterator[RowType]:
        return iter(self.rows())

    def __len__(self) -> int:
        return len(self.rows())

    def _write(self) -> None:
        self._spill.add(to_table(self._last, self._table))
        self._last = []
