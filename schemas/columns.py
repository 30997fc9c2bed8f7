"""Turn a dataclass into an Arrow schema, so that a row is defined once.

A table is a frozen dataclass whose fields are made by `column`; its Arrow type, unit and
meaning live beside the name. `schema_of` writes them into the Arrow field metadata, where
every reader of the Parquet file finds them again.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol, TypeVar

import pyarrow as pa


class Row(Protocol):
    """A dataclass whose fields were all made by `column`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


RowType = TypeVar("RowType", bound=Row)


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


def from_table(data: pa.Table, table: type[RowType]) -> list[RowType]:
    """Rebuild rows; columns of `data` that `table` does not have are ignored."""
    names = [field.name for field in dataclasses.fields(table)]
    present = data.select([name for name in names if name in data.column_names])
    return [_from_dict(row, table) for row in present.to_pylist()]


def _from_dict(values: dict[str, Any], table: type[RowType]) -> RowType:
    for field in dataclasses.fields(table):
        nested = field.metadata["nested"]
        if nested is not None and values.get(field.name) is not None:
            values[field.name] = [_from_dict(row, nested) for row in values[field.name]]
    return table(**values)


def to_dict(row: Row) -> dict[str, Any]:
    """Return a row as plain Python values; nested rows become dicts."""
    return {field.name: _plain(getattr(row, field.name)) for field in dataclasses.fields(row)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
