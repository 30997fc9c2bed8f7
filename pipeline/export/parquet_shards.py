"""Samples as Parquet files of one split each, with the columns' types for `datasets`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.parquet import writer_options
from pipeline.dataset.sample_schema import sample_schema
from pipeline.export.export_source import ExportSource
from schemas.manifest import DataFile

SHARD_BYTES = 450 << 20  # below the 500 MB at which hubs cut files


@dataclass
class _Open:
    path: Path
    writer: pq.ParquetWriter
    rows: int = 0


def write_shards(
    source: ExportSource, folder: Path, shard_bytes: int = SHARD_BYTES
) -> list[DataFile]:
    """Write data/SPLIT-NNNNN.parquet; returns the files with their hashes."""
    schema = sample_schema()
    (folder / "data").mkdir()
    files: list[DataFile] = []
    current: dict[str, _Open] = {}
    numbers: dict[str, int] = {}
    for group in source.groups():
        for split, part in _by_split(_as(group, schema)):
            if split not in current:
                number = numbers[split] = numbers.get(split, -1) + 1
                path = folder / "data" / f"{split}-{number:05d}.parquet"
                current[split] = _Open(
                    path, pq.ParquetWriter(path, schema, **writer_options(schema))
                )
            shard = current[split]
            shard.writer.write_table(part)
            shard.rows += len(part)
            if shard.path.stat().st_size >= shard_bytes:
                files.append(_close(current.pop(split), folder))
    files += [_close(shard, folder) for shard in current.values()]
    return sorted(files, key=lambda file: file.path)


def _as(group: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return our columns in our order; what a foreign file lacks is null."""
    columns = [
        group[field.name].cast(field.type)
        if field.name in group.column_names
        else pa.nulls(len(group), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _by_split(group: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    splits = group["split"].to_pylist()
    for split in sorted(set(splits)):
        yield split, group.filter(pa.array([row_split == split for row_split in splits]))


def _close(shard: _Open, folder: Path) -> DataFile:
    shard.writer.close()
    digest = hashlib.sha256()
    with shard.path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    path = shard.path.relative_to(folder).as_posix()
    return DataFile(path, shard.rows, shard.path.stat().st_size, digest.hexdigest())
