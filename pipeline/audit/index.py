"""The light columns of a dataset in a DuckDB file: what every query over metadata reads.

Rows are streamed from Parquet, a batch at a time, and DuckDB keeps them on disk within its memory
limit, so that memory does not grow with the dataset. Media bytes are never read here; boxes are
reduced to what the checks ask of them.
"""

import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.audit import file_findings as checks
from pipeline.audit.dataset import TABLES, Dataset, TableFile, table_schema
from pipeline.audit.findings import Finding, found
from pipeline.audit.in_threads import in_order
from pipeline.dataset.parquet import row_groups_together
from schemas.bounded_parquet import BoundedParquet
from schemas.columns import schema_of
from schemas.tables import Reference

MEMORY_MIB = 320  # of DuckDB; beyond it, it works on disk
BATCH_ROWS = 2048
_DAMAGE = (pa.ArrowException, OSError, ValueError)
_AHEAD = 2  # files read at once, while a third is stored
# Columns that are reduced, or that no query asks for.
_LEFT_OUT = {
    "samples": ("video", "boxes", "references"),
    "videos": ("shots",),
    "clips": (),
    "tracks": ("boxes", "detected", "faces"),
    "characters": (),
    "suspects": (),
    "embeddings": ("vector",),
    "rejects": (),
    "inputs": (),
}
_BOX_COLUMNS = {
    "num_boxes": pa.int32(),  # boxes of the row
    "bad_boxes": pa.int32(),  # not finite, or turned inside out
    "outside": pa.float32(),  # most pixels by which a box leaves the picture
    "jump": pa.float32(),  # largest step of the centre between frames, in box widths
    "middle_box": pa.list_(pa.float32()),  # the box halfway, to compare tracks of one clip
}
_REFERENCE_COLUMNS = [name for name in schema_of(Reference).names if name not in ("image", "mask")]


class AuditIndex:
    """A DuckDB connection with the tables samples, refs, videos, clips, tracks, embeddings, …

    Every table exists; a column that the dataset lacks is NULL throughout, and `has` says so.
    """

    def __init__(self, folder: str | Path | None = None, threads: int = 2) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="contextanyone-audit-", dir=folder)
        options: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{MEMORY_MIB}MiB",
            "threads": str(threads),
            "temp_directory": f"{self._folder.name}/spill",
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",  # nothing is fetched
            "autoload_known_extensions": "false",
        }
        self.db = duckdb.connect(f"{self._folder.name}/index.duckdb", config=options)
        self.present: set[str] = set()  # "table.column"

    def __enter__(self) -> "AuditIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.db.close()
        self._folder.cleanup()

    def has(self, *columns: str) -> bool:
        """Tell whether all of these "table.column" hold values of the dataset."""
        return self.present.issuperset(columns)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple]:
        """Yield the rows of a query, a few thousand at a time."""
        cursor = self.db.cursor()
        result = cursor.execute(sql, list(parameters))
        while part := result.fetchmany(4096):
            yield from part

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple]:
        """Return all rows of a query that has few, or reads what this connection has registered."""
        return self.db.execute(sql, list(parameters)).fetchall()

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the first column of the first row of a query that has few."""
        rows = self.db.execute(sql, list(parameters)).fetchall()
        return rows[0][0] if rows else None

    def count(self, table: str) -> int:
        return int(self.value(f"SELECT count(*) FROM {table}"))

    def insert(self, table: str, data: pa.Table | pa.RecordBatch) -> None:
        """Append Arrow rows by the names of their columns."""
        self.db.register("_incoming", data)
        self.db.execute(f"INSERT INTO {table} BY NAME SELECT * FROM _incoming")
        self.db.unregister("_incoming")


@dataclass(frozen=True)
class FileRows:
    """Some rows of a file, and where each of them lies: its row group and its place in that."""

    groups: np.ndarray
    positions: np.ndarray
    batch: pa.RecordBatch


def load(dataset: Dataset, index: AuditIndex, prefix: str = "") -> list[Finding]:
    """Fill the index from every readable file; files whose pages are damaged are findings.

    `prefix` names a second set of tables, for comparing two datasets in one index.
    """
    problems: list[Finding] = []
    for table in TABLES:
        _create(index, f"{prefix}{table}", _columns_of(table))
        if table == "samples":
            references = {"sample_id": pa.string(), "place": pa.int32(), **_reference_types()}
            _create(index, f"{prefix}refs", references)
        files = dataset.tables.get(table, [])
        _note_present(dataset, index, table, prefix)
        read = functools.partial(_read_file, table, dataset)
        for number, parts in enumerate(in_order(read, files, _AHEAD)):
            for part in parts:
                if isinstance(part, Finding):
                    problems.append(part)
                else:
                    _store(index, prefix, table, number, part)
    return problems


def _columns_of(table: str) -> dict[str, pa.DataType]:
    schema = table_schema(table)
    kept = {name: schema.field(name).type for name in schema.names if name not in _LEFT_OUT[table]}
    if table in ("samples", "tracks"):
        kept |= _BOX_COLUMNS
    if table == "samples":
        kept |= {"num_references": pa.int32()}
    if table == "embeddings":
        kept |= {"dimension": pa.int32(), "length": pa.float64(), "vector": pa.list_(pa.float32())}
    return kept | {"file_number": pa.int32(), "row_group": pa.int32(), "position": pa.int32()}


def _reference_types() -> dict[str, pa.DataType]:
    schema = schema_of(Reference)
    return {name: schema.field(name).type for name in _REFERENCE_COLUMNS}


def _create(index: AuditIndex, name: str, columns: Mapping[str, pa.DataType]) -> None:
    empty = pa.schema(list(columns.items())).empty_table()
    index.db.register("_empty", empty)
    index.db.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM _empty")
    index.db.unregister("_empty")


def _note_present(dataset: Dataset, index: AuditIndex, table: str, prefix: str) -> None:
    for name in table_schema(table).names:
        if dataset.has(table, name):
            index.present.add(f"{prefix}{table}.{name}")
    files = dataset.tables.get(table, [])
    if table == "samples" and files:
        for name in _REFERENCE_COLUMNS:
            if all(_leaf(file, "references", name) for file in files):
                index.present.add(f"{prefix}refs.{name}")


def _leaf(file: TableFile, *ends: str) -> bool:
    return any(leaf.split(".")[0] == ends[0] and leaf.split(".")[-1] == ends[1]
               for leaf in file.leaves)  # fmt: skip


def _read_file(table: str, dataset: Dataset, file: TableFile) -> list[FileRows | Finding]:
    """Return the light columns; page checksums are verified on the way."""
    leaves = [leaf for leaf in file.leaves if _is_light(leaf, table)]
    parts: list[FileRows | Finding] = []
    try:
        with dataset.store.open(file.path) as source:
            parquet = BoundedParquet(source, file.path)
            for groups in row_groups_together(parquet, BATCH_ROWS, lambda group: group.num_rows):
                try:
                    parts += _read_groups(parquet, groups, leaves)
                except _DAMAGE:
                    parts += _read_one_by_one(parquet, groups, leaves, file)
    except _DAMAGE as problem:
        parts.append(_damaged(file, None, problem))
    return parts


def _read_groups(parquet: BoundedParquet, groups: list[int], leaves: list[str]) -> list[FileRows]:
    sizes = [parquet.metadata.row_group(group).num_rows for group in groups]
    data = parquet.read_row_groups(groups, columns=leaves, use_threads=False).combine_chunks()
    places = np.concatenate([np.arange(size) for size in sizes]).astype(np.int32)
    numbers = np.repeat(groups, sizes).astype(np.int32)
    parts, top = [], 0
    for batch in data.to_batches(BATCH_ROWS * 2):
        rows = slice(top, top + batch.num_rows)
        parts.append(FileRows(numbers[rows], places[rows], batch))
        top = rows.stop
    return parts


def _read_one_by_one(
    parquet: BoundedParquet, groups: list[int], leaves: list[str], file: TableFile
) -> list[FileRows | Finding]:
    """Read groups of which one is damaged: the others' rows are not lost."""
    parts: list[FileRows | Finding] = []
    for group in groups:
        try:
            parts += _read_groups(parquet, [group], leaves)
        except _DAMAGE as problem:
            parts.append(_damaged(file, group, problem))
    return parts


def _is_light(leaf: str, table: str) -> bool:
    parts = leaf.split(".")
    if table == "samples" and parts[0] == "video":
        return False
    if table == "videos" and parts[0] == "shots":
        return False
    if table == "tracks" and parts[0] in ("detected", "faces"):
        return False
    return not (parts[-1] in ("bytes", "path") and len(parts) > 1)


def _damaged(file: TableFile, group: int | None, problem: BaseException) -> Finding:
    where = "" if group is None else f"row group {group}: "
    evidence = where + " ".join(str(problem).split())[:200]
    return found(checks.FILE_UNREADABLE, "file", file.path, evidence)


def _store(index: AuditIndex, prefix: str, table: str, number: int, part: FileRows) -> None:
    batch = part.batch
    columns = {
        name: batch.column(name) for name in batch.schema.names if name not in _LEFT_OUT[table]
    }
    if table in ("samples", "tracks") and "boxes" in batch.schema.names:
        columns |= _reduce_boxes(batch)
    if table == "embeddings" and "vector" in batch.schema.names:
        columns |= _reduce_vectors(batch)
    if table == "samples" and "references" in batch.schema.names:
        references = _unnest(batch)
        columns["num_references"] = pa.array(_counts(batch.column("references")), pa.int32())
        index.insert(f"{prefix}refs", references)
    size = batch.num_rows
    columns["file_number"] = pa.array(np.full(size, number, np.int32))
    columns["row_group"] = pa.array(part.groups)
    columns["position"] = pa.array(part.positions)
    index.insert(f"{prefix}{table}", pa.table(columns))


def _unnest(batch: pa.RecordBatch) -> pa.Table:
    """Return one row per reference of the samples in a batch."""
    lists = batch.column("references")
    counts = _counts(lists)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    flat = lists.flatten()
    columns = {name: flat.field(name) for name in _REFERENCE_COLUMNS if name in _names(flat.type)}
    if "sample_id" in batch.schema.names:
        owners = np.repeat(np.arange(batch.num_rows), counts)
        columns["sample_id"] = batch.column("sample_id").take(pa.array(owners))
    columns["place"] = pa.array((np.arange(len(flat)) - starts).astype(np.int32))
    return pa.table(columns)


def _counts(lists: pa.ListArray) -> np.ndarray:
    """Return how many values each list holds."""
    return np.diff(np.asarray(lists.offsets).astype(np.int64))


def _names(type_: pa.StructType) -> list[str]:
    return [field.name for field in type_]


def _reduce_boxes(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Say of every row's boxes how many there are, whether they are sound, and how they move."""
    lists = batch.column("boxes")
    counts = _counts(lists)
    flat = lists.flatten()
    values = np.asarray(flat.flatten(), np.float32)
    if len(values) != 4 * len(flat):  # a row whose boxes are no quadruples
        blank = np.full(batch.num_rows, -1, np.int32)
        return {"num_boxes": pa.array(counts, pa.int32()), "bad_boxes": pa.array(blank)}
    boxes = values.reshape(-1, 4)
    owner = np.repeat(np.arange(batch.num_rows), counts)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    bad = ~(np.isfinite(boxes).all(axis=1) & (width > 0) & (height > 0))
    size = np.maximum(np.maximum(width, height), 1)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    step = np.zeros(len(boxes), np.float32)
    step[1:] = np.linalg.norm(np.diff(centre, axis=0), axis=1) / np.minimum(size[1:], size[:-1])
    step[1:][owner[1:] != owner[:-1]] = 0
    middles = [
        boxes[first + count // 2].tolist() if count else []
        for first, count in zip(np.cumsum(counts) - counts, counts, strict=True)
    ]
    return {
        "num_boxes": pa.array(counts, pa.int32()),
        "bad_boxes": pa.array(np.bincount(owner[bad], minlength=batch.num_rows), pa.int32()),
        "outside": pa.array(_greatest(_outside(boxes, owner, batch), owner, batch.num_rows)),
        "jump": pa.array(_greatest(np.nan_to_num(step), owner, batch.num_rows)),
        "middle_box": pa.array(middles, pa.list_(pa.float32())),
    }


def _outside(boxes: np.ndarray, owner: np.ndarray, batch: pa.RecordBatch) -> np.ndarray:
    if not {"width", "height"} <= set(batch.schema.names):
        return np.zeros(len(boxes), np.float32)
    size = [
        batch.column(name).fill_null(1 << 30).to_numpy(zero_copy_only=False)[owner]
        for name in ("width", "height")
    ]
    beyond = [boxes[:, 2] - size[0], boxes[:, 3] - size[1], -boxes[:, 0], -boxes[:, 1]]
    return np.nan_to_num(np.maximum.reduce([*beyond, np.zeros(len(boxes))])).astype(np.float32)


def _greatest(values: np.ndarray, owner: np.ndarray, size: int) -> np.ndarray:
    greatest = np.zeros(size, np.float32)
    np.maximum.at(greatest, owner, values)
    return greatest


def _reduce_vectors(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    lists = batch.column("vector")
    counts = _counts(lists)
    values = np.asarray(lists.flatten(), np.float64)
    owner = np.repeat(np.arange(batch.num_rows), counts)
    squares = np.zeros(batch.num_rows)
    with np.errstate(invalid="ignore", over="ignore"):
        np.add.at(squares, owner, values**2)
        length = np.sqrt(squares)
    return {
        "dimension": pa.array(counts, pa.int32()),
        "length": pa.array(length),
        "vector": lists.cast(pa.list_(pa.float32())),
    }
