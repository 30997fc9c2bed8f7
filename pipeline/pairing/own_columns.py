"""Columns of your own in the samples table: `pair.columns` names each as module:Class."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import pyarrow as pa

from pipeline.execution.plugins import load_own
from schemas.columns import schema_of
from schemas.tables import Sample

_SETTING = "pair.columns"


class SampleColumn(Protocol):
    """A further value of every sample. It depends on the sample alone, or resume is not exact."""

    @property
    def name(self) -> str:
        """Of the column; none that the table has."""
        ...

    @property
    def type(self) -> pa.DataType:
        """Of its values, in Arrow's terms."""
        ...

    @property
    def doc(self) -> str:
        """What the values mean, with their unit; it goes into the file's field metadata."""
        ...

    def value(self, sample: Sample) -> Any:
        """Return the value for one sample, None where there is none."""
        ...


def load_columns(names: Iterable[str]) -> list[SampleColumn]:
    """Build the columns. Raises ValueError for one that cannot be used, or a name taken."""
    needed = ("name", "type", "doc", "value")
    columns = [load_own(_SETTING, name, needed) for name in names]
    taken = set(schema_of(Sample).names)
    for column in columns:
        if column.name in taken:
            raise ValueError(f"{_SETTING}: the samples table has a column {column.name!r} already")
        taken.add(column.name)
    return columns


def with_columns(
    table: pa.Table, samples: Sequence[Sample], columns: Iterable[SampleColumn]
) -> pa.Table:
    """Return the table of these samples with further columns on its right."""
    for column in columns:
        field = pa.field(column.name, column.type, metadata={"doc": column.doc})
        values = pa.array([column.value(sample) for sample in samples], column.type)
        table = table.append_column(field, values)
    return table
