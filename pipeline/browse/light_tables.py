"""The light columns of a dataset in DuckDB, each sample with the place of its media."""

import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.browse.mending import prepare
from pipeline.dataset.parquet import row_groups_together
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

_TABLES: dict[str, type[Row]] = {  # in the order in which they are read
    "samples": Sample,
    "characters": Character,
    "suspects": Suspect,
    "tracks": Track,
    "clips": Clip,
    "videos": Video,
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
    len("references") AS num_references,
    num_frames / nullif(fps, 0) AS duration_s,
    list_max(list_transform("references", lambda r: r.similarity)) AS best_similarity,
    list_min(list_transform("references", lambda r: r.similarity)) AS least_similarity,
    list_max(list_transform("references", lambda r: r.quality)) AS best_quality,
    list_distinct(list_transform("references", lambda r: r.kind)) AS kinds,
    "references"[1].kind AS first_kind
"""
_VIEWS = """
    CREATE VIEW seen AS SELECT * FROM mended;
    CREATE VIEW names AS SELECT video_id, min(uri) AS uri FROM (
        SELECT video_id, uri FROM inputs WHERE outcome <> 'duplicate' UNION ALL
        SELECT video_id, uri FROM videos WHERE video_id NOT IN (SELECT video_id FROM inputs)
    ) GROUP BY 1
"""
MEMORY_MIB = 700  # of DuckDB; beyond it, it works in a folder of this process
_SMALL = 50_000  # rows of all tables, which are waited for
_PIECE = 5_000  # rows read at once: the first are shown while others are being read


class LightTables:
    """The light columns in DuckDB, read by a thread of their own: the page need not wait for all.

    Raises ValueError, when it is asked for, if a file is not of our schema.
    """

    def __init__(self, manifest: Manifest, store: Store) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="contextanyone-browse-")
        self.db = duckdb.connect(
            ":memory:",
            config={"memory_limit": f"{MEMORY_MIB}MiB", "temp_directory": self._folder.name},
        )
        self._manifest, self._store = manifest, store
        self._rows = sum(len_of for _, _, len_of in _files(manifest))
        self._read = 0
        self._problem: Exception | None = None
        self._closing = threading.Event()
        self._shows = threading.Event()  # something, or all that there is
        for name, table in _TABLES.items():
            self._insert("CREATE TABLE {0} AS", name, _light_schema(name, table).empty_table())
        prepare(self.db, with_tracks=bool(files_of("tracks", manifest)))
        self.db.execute(_VIEWS)
        self._reader = threading.Thread(target=self._read_all, daemon=True)
        self._reader.start()

    @property
    def share(self) -> float:
        """How much was read, 0 to 1. Raises what stopped the reading."""
        if self._problem is not None:
            raise self._problem
        return 1.0 if not self._reader.is_alive() else min(self._read / max(self._rows, 1), 0.999)

    def wait(self, seconds: float | None = None) -> float:
        """Wait until all is read, or so long; return the share."""
        self._reader.join(seconds)
        return self.share

    def wait_for_first(self, seconds: float) -> float:
        """Wait until there is something to show, of a small dataset for all, or so long."""
        if self._rows <= _SMALL:
            return self.wait(seconds)
        self._shows.wait(seconds)
        return self.share

    def close(self) -> None:
        self._closing.set()
        self._reader.join()
        self.db.close()
        self._folder.cleanup()

    def _insert(self, sql: str, name: str, part: pa.Table, db: Any = None) -> None:
        db = db or self.db
        derived = f", {_DERIVED}" if name == "samples" else ""
        db.register("part", part)
        db.execute(f"{sql.format(name)} SELECT *{derived} FROM part")
        db.unregister("part")

    def _read_all(self) -> None:
        db = self.db.cursor()
        first = 0
        try:
            for name, path, rows in _files(self._manifest):
                schema = _light_schema(name, _TABLES[name])
                for part in _read_light(path, schema, first, self._store):
                    if self._closing.is_set():
                        return
                    self._insert("INSERT INTO {0}", name, part, db)
                    self._read += len(part)
                    self._shows.set()
                first += rows if name == "samples" else 0
        except Exception as problem:  # told by whoever asks next
            self._problem = problem
        finally:
            self._shows.set()
            db.close()


def _files(manifest: Manifest) -> list[tuple[str, str, int]]:
    """Return table, path and rows of every file, in the order in which they are read."""
    rows = {file.path: file.rows for file in manifest.files}
    return [(name, path, rows[path]) for name in _TABLES for path in files_of(name, manifest)]


def load_tables(manifest: Manifest, store: Store) -> duckdb.DuckDBPyConnection:
    """Read the light columns of a version. Raises ValueError when a file is not of our schema."""
    tables = LightTables(manifest, store)
    tables.wait()
    return tables.db


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


def _read_light(path: str, schema: pa.Schema, first: int, store: Store) -> Iterator[pa.Table]:
    """Yield the light columns of a file, some row groups at a time."""
    file = open_table(path, store)
    present = set(file.schema_arrow.names)
    leaves = list(_leaves(schema, present))
    for groups in row_groups_together(file, _PIECE, lambda group: group.num_rows):
        data = file.read_row_groups(groups, columns=leaves)
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
                    f"{store.url}/{path}: column {field.name!r} is "
                    f"{data.schema.field(field.name).type}, the schema says {field.type}; run "
                    "jobs/audit.py on it"
                ) from error
        if "position" in schema.names:
            columns += _places(path, file, groups, first)
            first += len(data)
        yield pa.Table.from_arrays(columns, schema=schema)


def _leaves(schema: pa.Schema, present: set[str]) -> Iterator[str]:
    for field in schema:
        if field.name == "references" and field.name in present:
            for part in field.type.value_type:
                yield f"references.list.element.{part.name}"
        elif field.name in present:
            yield field.name


def _places(path: str, file: pq.ParquetFile, groups: list[int], first: int) -> list[pa.Array]:
    lengths = [file.metadata.row_group(group).num_rows for group in groups]
    numbers = np.repeat(np.asarray(groups, np.int32), lengths)
    rows = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths] or [np.zeros(0, "i4")])
    position = pa.array(np.arange(first, first + len(rows)), pa.int64())
    return [position, pa.array([path] * len(rows), pa.string()), pa.array(numbers), pa.array(rows)]
