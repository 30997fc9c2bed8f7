"""Write and read Parquet the same way everywhere: same rows, same bytes."""

import functools
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.column_rows import ColumnRows
from schemas.bounded_parquet import BoundedParquet
from schemas.columns import Row, RowType, schema_of, to_table

ROWS_PER_GROUP = 8192
MEDIA_ROWS_PER_GROUP = 10  # a clip is 1 to 5 MB: groups stay far below 100 MB
_SPOOLED = 16 * 2**20  # bytes of a file that stay in memory while it is written
_MEDIA_NAMES = frozenset({"mp4", "image", "mask", "video"})  # compressed already


def encode_rows(rows: Sequence[Row], table: type[Row], schema: pa.Schema | None = None) -> bytes:
    """Return the Parquet file of some rows; `schema` may add metadata to the table's own.

    Rows that lie on disk are read a row group at a time, and no file is held beside one.
    """
    schema = schema or schema_of(table)
    tables = (
        group.table() if isinstance(group, ColumnRows) else to_table(group, table)
        for group in in_groups(rows, schema)
    )
    return encode_tables(tables, schema)


def in_groups(rows: Sequence[RowType], schema: pa.Schema) -> Iterator[Sequence[RowType]]:
    """Yield rows by the row groups that they make in a file of this schema; of none, one."""
    step = _rows_per_group(schema)
    for first in range(0, max(len(rows), 1), step):
        yield rows[first : first + step]


def encode_tables(tables: Iterable[pa.Table], schema: pa.Schema) -> bytes:
    """Return the Parquet file of all tables: fixed options, page index and checksums.

    Each begins a row group, and they are held one at a time.
    """
    step = _rows_per_group(schema)
    with tempfile.SpooledTemporaryFile(_SPOOLED, prefix="contextanyone-") as sink:
        with pq.ParquetWriter(sink, schema, **writer_options(schema)) as writer:
            for data in tables:
                writer.write_table(data.cast(schema), row_group_size=step)
        sink.seek(0)
        return sink.read()


def encode_table(data: pa.Table) -> bytes:
    """Return the Parquet file of an Arrow table."""
    return encode_tables([data], data.schema)


def _rows_per_group(schema: pa.Schema) -> int:
    media, _ = _leaf_columns(schema)
    return MEDIA_ROWS_PER_GROUP if media else ROWS_PER_GROUP


def writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Return the writer options of this schema: media are compressed already."""
    media, light = _leaf_columns(schema)
    return {
        "compression": {**dict.fromkeys(media, "NONE"), **dict.fromkeys(light, "ZSTD")},
        "use_dictionary": list(light),
        "write_statistics": list(light),
        "write_page_index": True,
        "write_page_checksum": True,
    }


@functools.cache
def _leaf_columns(schema: pa.Schema) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split the Parquet columns of a schema into media bytes and all others."""
    sink = io.BytesIO()
    pq.write_table(schema.empty_table(), sink)
    parquet = pq.ParquetFile(sink).schema
    leaves = [parquet.column(index).path for index in range(len(parquet))]
    media = tuple(leaf for leaf in leaves if _is_media(leaf))
    return media, tuple(leaf for leaf in leaves if leaf not in media)


def _is_media(leaf: str) -> bool:
    parts = leaf.removesuffix(".bytes").split(".")
    return parts[-1] in _MEDIA_NAMES


def row_groups_together(
    file: pq.ParquetFile, least: int, size: Callable[[pq.RowGroupMetaData], int]
) -> Iterator[list[int]]:
    """Yield row groups that are read in one go: neighbours whose sizes make at least `least`."""
    groups: list[int] = []
    total = 0
    for group in range(file.num_row_groups):
        groups.append(group)
        total += size(file.metadata.row_group(group))
        if total >= least:
            yield groups
            groups, total = [], 0
    if groups:
        yield groups


def read_columns(file: BinaryIO, columns: list[str] | None = None) -> pa.Table:
    """Read some columns, verifying page checksums."""
    return BoundedParquet(file).read(columns=columns)


def read_rows(file: BinaryIO) -> Iterator[dict]:
    """Yield all rows, holding one row group at a time."""
    parquet = BoundedParquet(file)
    for group in range(parquet.num_row_groups):
        yield from parquet.read_row_group(group).to_pylist()


def read_rows_by_key(file: BinaryIO, key: str, wanted: set[str]) -> Iterator[dict]:
    """Yield the rows whose `key` is wanted; other row groups are not read."""
    parquet = BoundedParquet(file)
    for group in range(parquet.num_row_groups):
        keys = parquet.read_row_group(group, columns=[key])[key].to_pylist()
        if wanted.isdisjoint(keys):
            continue
        rows = parquet.read_row_group(group).filter(
            pa.array([value in wanted for value in keys], pa.bool_())
        )
        yield from rows.to_pylist()
