"""The light columns of a dataset in DuckDB's memory, each sample with the place of its media."""

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.browse.mending import prepare
from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, open_table
from schemas.columns import Row, schema_of
from schemas.manifest import Manifest
from schemas.tables import (
    Character,
    Clip,
    InputOutcome,
    Reject,
    Sample,
    Suspect,
    Track,
    Video,
)

_TABLES: dict[str, type[Row]] = {
    "videos": Video,
    "clips": Clip,
    "tracks": Track,
    "samples": Sample,
    "characters": Character,
    "suspects": Suspect,
    "rejects": Reject,
    "inputs": InputOutcome,
}
_HEAVY = ("boxes", "detected", "faces", "shots", "video", "camera_pan")  # read when looked at
_PIXELS = ("image", "mask")
_PLACE = pa.schema(  # of a sample among all, and of its media
    [
        ("position", pa.int64()),
        ("file_path", pa.string()),
        ("row_group", pa.int32()),
        ("row_index", pa.int32()),
    ]
)
_DERIVED = """
    CREATE VIEW seen AS SELECT *,
        len("references") AS num_references,
        num_frames / nullif(fps, 0) AS duration_s,
        list_max(list_transform("references", lambda r: r.similarity)) AS best_similarity,
        list_min(list_transform("references", lambda r: r.similarity)) AS least_similarity,
        list_max(list_transform("references", lambda r: r.quality)) AS best_quality,
        list_distinct(list_transform("references", lambda r: r.kind)) AS kinds,
        "references"[1].kind AS first_kind
    FROM mended;
    CREATE VIEW names AS SELECT video_id, min(uri) AS uri FROM (
        SELECT video_id, uri FROM inputs WHERE outcome <> 'duplicate' UNION ALL
        SELECT video_id, uri FROM videos WHERE video_id NOT IN (SELECT video_id FROM inputs)
    ) GROUP BY 1
"""


def load_tables(manifest: Manifest, store: Store) -> duckdb.DuckDBPyConnection:
    """Read the light columns of a version. Raises ValueError when a file is not of our schema."""
    db = duckdb.connect(":memory:")
    samples = 0
    for name, table in _TABLES.items():
        schema = _light_schema(name, table)
        db.register("part", schema.empty_table())
        db.execute(f"CREATE TABLE {name} AS SELECT * FROM part")
        for path in files_of(name, manifest):
            part = _read_light(path, schema, samples, store)
            samples += len(part) if name == "samples" else 0
            db.register("part", part)
            db.execute(f"INSERT INTO {name} SELECT * FROM part")
        db.unregister("part")
    prepare(db)
    db.execute(_DERIVED)
    db.execute("CREATE INDEX sample_ids ON samples (sample_id)")
    db.execute("SET enable_external_access = false")  # what is not in memory is out of reach
    return db


def _light_schema(name: str, table: type[Row]) -> pa.Schema:
    fields = [field for field in schema_of(table) if field.name not in _HEAVY]
    schema = pa.schema([_without_pixels(field) for field in fields])
    return pa.unify_schemas([schema, _PLACE]) if name == "samples" else schema


def _without_pixels(field: pa.Field) -> pa.Field:
    if field.name != "references":
        return field.remove_metadata()
    inner = field.type.value_type
    kept = [inner.field(i) for i in range(inner.num_fields) if inner.field(i).name not in _PIXELS]
    return pa.field("references", pa.list_(pa.struct([part.remove_metadata() for part in kept])))


def _read_light(path: str, schema: pa.Schema, first: int, store: Store) -> pa.Table:
    file = open_table(path, store)
    present = set(file.schema_arrow.names)
    data = file.read(columns=list(_leaves(schema, present)))
    columns = []
    for field in schema:
        if field.name in _PLACE.names:
            continue
        if field.name not in data.column_names:
            columns.append(pa.nulls(len(data), field.type))
            continue
        try:
            columns.append(data[field.name].cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise ValueError(
                f"{store.url}/{path}: column {field.name!r} is {data.schema.field(field.name).type}"
                f", the schema says {field.type}; run jobs/audit.py on it"
            ) from error
    if "position" in schema.names:
        columns += _places(path, file, first)
    return pa.Table.from_arrays(columns, schema=schema)


def _leaves(schema: pa.Schema, present: set[str]) -> Iterator[str]:
    for field in schema:
        if field.name == "references" and field.name in present:
            for part in field.type.value_type:
                yield f"references.list.element.{part.name}"
        elif field.name in present:
            yield field.name


def _places(path: str, file: pq.ParquetFile, first: int) -> list[pa.Array]:
    lengths = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    groups = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    rows = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths] or [np.zeros(0, "i4")])
    position = pa.array(np.arange(first, first + len(rows)), pa.int64())
    return [position, pa.array([path] * len(rows), pa.string()), pa.array(groups), pa.array(rows)]
