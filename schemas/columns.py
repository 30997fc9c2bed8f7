"""Turn a dataclass into an Arrow schema, so that a row is defined once.

A table is a frozen dataclass whose fields are made by `column`; its Arrow type, unit and
meaning live beside the name. `schema_of` writes them into the Arrow field metadata, where
every reader of the Parquet file finds them again.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol, TypeVar

import pyarrow as pa


class Row(Protocol):
    """A dataclass whose fields were all made by `column`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


RowType = TypeVar("RowType", bound=Row)

_NUMBER_TYPES = (pa.bool_(), pa.int32(), pa.int64(), pa.float32(), pa.float64())
_NUMBERS = {type_.id for type_ in _NUMBER_TYPES}


def column(
    type_: pa.DataType,
    doc: str,
    *,
    unit: str | None = None,
    default: Any = dataclasses.MISSING,
) -> Any:
    """Declare one column: its Arrow type, what it means, and its unit where it has one."""
    metadata = {"arrow": type_, "doc": doc, "unit": unit, "nested": None}
    return dataclasses.field(default=default, metadata=metadata)


def rows_column(table: type[Row], doc: str, *, default: Any = dataclasses.MISSING) -> Any:
    """Declare a column that holds a list of rows of another table."""
    type_ = pa.list_(pa.struct(list(schema_of(table))))
    metadata = {"arrow": type_, "doc": doc, "unit": None, "nested": table}
    return dataclasses.field(default=default, metadata=metadata)


@functools.cache
def schema_of(table: type[Row]) -> pa.Schema:
    """Return the Arrow schema of a table; `doc` and `unit` become field metadata."""
    return pa.schema([_field(field) for field in dataclasses.fields(table)])


def _field(field: dataclasses.Field) -> pa.Field:
    described = {"doc": field.metadata["doc"]}
    if field.metadata["unit"]:
        described["unit"] = field.metadata["unit"]
    return pa.field(field.name, field.metadata["arrow"], metadata=described)


def to_table(rows: Iterable[Row], table: type[Row]) -> pa.Table:
    """Build an Arrow table, with the schema of `table`, from its rows."""
    return pa.Table.from_pylist([to_dict(row) for row in rows], schema=schema_of(table))


def from_table(data: pa.Table | pa.RecordBatch, table: type[RowType]) -> list[RowType]:
    """Rebuild rows; columns of `data` that `table` does not have are ignored."""
    present = set(data.schema.names)
    names = [field.name for field in dataclasses.fields(table) if field.name in present]
    columns = [plain_values(data.column(name)) for name in names]
    rows = zip(*columns, strict=True)
    return [_from_dict(dict(zip(names, row, strict=True)), table) for row in rows]


def plain_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return what `to_pylist` does, whole columns of numbers at a time: lists come much faster."""
    if isinstance(column, pa.ChunkedArray):
        return [value for chunk in column.chunks for value in plain_values(chunk)]
    type_ = column.type
    if column.null_count or not len(column):
        return column.to_pylist()
    if type_.id in _NUMBERS:
        return column.to_numpy(zero_copy_only=False).tolist()
    if pa.types.is_struct(type_):
        parts = [plain_values(part) for part in column.flatten()]
        names = [field.name for field in type_]
        return [dict(zip(names, row, strict=True)) for row in zip(*parts, strict=True)]
    if pa.types.is_fixed_size_list(type_):
        inside, step = column.flatten(), type_.list_size
        if type_.value_type.id in _NUMBERS and not inside.null_count:
            return inside.to_numpy(zero_copy_only=False).reshape(-1, step).tolist()
        values = plain_values(inside)
        return [values[first : first + step] for first in range(0, len(values), step)]
    if pa.types.is_list(type_):
        inside, ends = plain_values(column.flatten()), column.offsets.to_numpy()
        ends = (ends - ends[0]).tolist()
        return [inside[first:last] for first, last in itertools.pairwise(ends)]
    return column.to_pylist()


@functools.cache
def _nested(table: type[Row]) -> dict[str, type[Row]]:
    """Return the tables of the columns that hold rows."""
    found = {field.name: field.metadata["nested"] for field in dataclasses.fields(table)}
    return {name: inner for name, inner in found.items() if inner is not None}


def _from_dict(values: dict[str, Any], table: type[RowType]) -> RowType:
    for name, inner in _nested(table).items():
        if values.get(name) is not None:
            values[name] = [_from_dict(row, inner) for row in values[name]]
    return table(**values)


def to_dict(row: Row) -> dict[str, Any]:
    """Return a row as plain Python values; nested rows become dicts."""
    return {field.name: _plain(getattr(row, field.name)) for field in dataclasses.fields(row)}


def _plain(value: Any) -> Any:
    if isinstance(value, (float, int, str, bytes)):  # of boxes there are many: asked first
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
