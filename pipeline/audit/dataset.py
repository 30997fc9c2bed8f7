"""Open any dataset of our schema, also one that somebody else made, without trusting it.

Only footers are read here. A file whose columns are not ours, or that holds Python objects, is
refused before any of its values is read.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audit import file_findings as checks
from pipeline.audit.findings import Finding, found
from pipeline.dataset.commit import FOLDERS
from pipeline.dataset.sample_schema import sample_schema
from pipeline.dataset.store import Store, open_store
from schemas.columns import Row, schema_of
from schemas.manifest import POINTER, Manifest
from schemas.remote import NotRead
from schemas.tables import (
    Character,
    Clip,
    Embedding,
    InputOutcome,
    Reject,
    Sample,
    Suspect,
    Track,
    Video,
)
from schemas.versions import Snapshot, current_snapshot, newest_after, read_pointer

TABLES: Mapping[str, type[Row]] = {
    "videos": Video, "clips": Clip, "tracks": Track, "characters": Character, "suspects": Suspect,
    "samples": Sample, "embeddings": Embedding, "rejects": Reject,
    "inputs": InputOutcome,
}  # fmt: skip
_MEBIBYTE = 2**20
MOST_GROUP_MIB = 4096  # a row group that unpacks to more is not read at all
_READ_ERRORS = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError)


@dataclass(frozen=True)
class TableFile:
    """A Parquet file that may be read: its schema is ours."""

    path: str
    rows: int
    row_groups: int
    columns: frozenset[str]  # names of the top-level columns that are ours and present
    leaves: tuple[str, ...]  # Parquet column paths of these


@dataclass
class Dataset:
    """One version of a dataset: its manifest, its readable files, and what is wrong with both."""

    store: Store
    manifest: Manifest | None
    manifest_sha256: str = ""
    current: bool = True  # whether this is the current version
    tables: dict[str, list[TableFile]] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)
    num_files: int = 0

    @property
    def name(self) -> str:
        return self.store.url.rstrip("/").rsplit("/", 1)[-1]

    def has(self, table: str, *columns: str) -> bool:
        """Tell whether every file of the table holds the columns; False without files."""
        files = self.tables.get(table, [])
        return bool(files) and all(set(columns) <= file.columns for file in files)


def open_dataset(target: str) -> Dataset:
    """Open a dataset, or one version of it named by its `manifests/000N.json`.

    Raises ValueError when there is neither a manifest nor a table. Everything else that is wrong
    becomes a finding in `problems`.
    """
    root, chosen = _split_target(target)
    store = open_store(root)
    dataset = _read_manifest(store, chosen)
    paths = _listed_paths(dataset) if dataset.manifest else _present_paths(store)
    if not dataset.manifest and not paths:
        raise ValueError(
            f"{store.url} holds no dataset: neither {POINTER} nor a Parquet file in "
            f"{'/, '.join(TABLES)}/; name the folder that holds them"
        )
    for table, path in paths:
        file = _look_at(table, path, dataset)
        if file is not None:
            dataset.tables.setdefault(table, []).append(file)
    dataset.num_files = len(paths)
    dataset.problems += _missing_columns(dataset)
    return dataset


def _split_target(target: str) -> tuple[str, str]:
    root, mark, name = str(target).rpartition("/manifests/")
    if mark and name.endswith(".json"):
        return root, f"manifests/{name}"
    return str(target), ""


def _read_manifest(store: Store, chosen: str) -> Dataset:
    """Read the current manifest or the chosen one; a damaged one is a finding."""
    expected = ""
    try:
        if chosen:
            snapshot = _snapshot(chosen, store)
        elif pointer := read_pointer(store):
            path, expected = pointer
            snapshot = _snapshot(path, store)
            if snapshot.sha256 == expected:
                snapshot = newest_after(snapshot, store) or snapshot
                expected = snapshot.sha256
        else:
            snapshot = newest_after(None, store)
    except NotRead:  # says nothing about the dataset
        raise
    except (ValueError, KeyError, TypeError, OSError, AssertionError, AttributeError) as problem:
        version = isinstance(problem, ValueError) and "schema_version" in str(problem)
        check = checks.SCHEMA_VERSION if version else checks.MANIFEST_DAMAGED
        evidence = f"{type(problem).__name__}: {_line(problem)}"
        return Dataset(store, None, problems=[found(check, "dataset", POINTER, evidence)])
    if snapshot is None:
        missing = found(checks.NO_MANIFEST, "dataset", POINTER, f"{POINTER} is missing")
        return Dataset(store, None, problems=[missing])
    current = not chosen or _is_current(snapshot, store)
    dataset = Dataset(store, snapshot.manifest, snapshot.sha256, current)
    if expected and snapshot.sha256 != expected:
        evidence = f"SHA-256 {snapshot.sha256[:12]}…, the pointer says {expected[:12]}…"
        problem = found(checks.MANIFEST_DAMAGED, "dataset", snapshot.path, evidence)
        dataset.problems.append(problem)
    return dataset


def _snapshot(path: str, store: Store) -> Snapshot:
    content = store.read(path)
    return Snapshot(path, hashlib.sha256(content).hexdigest(), Manifest.from_json(content))


def _is_current(snapshot: Snapshot, store: Store) -> bool:
    """Tell whether this is the current version; False where that cannot be told."""
    try:
        newest = current_snapshot(store)
    except ValueError:
        return False
    return newest is not None and newest.sha256 == snapshot.sha256


def _line(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:200]


def _listed_paths(dataset: Dataset) -> list[tuple[str, str]]:
    assert dataset.manifest is not None
    paths = []
    for file in dataset.manifest.files:
        table = file.path.split("/", 1)[0]
        if table in TABLES:
            paths.append((table, file.path))
        elif table not in FOLDERS:
            evidence = f"{file.path!r} is outside the dataset's folders"
            dataset.problems.append(found(checks.MANIFEST_DAMAGED, "file", file.path, evidence))
    return paths


def _present_paths(store: Store) -> list[tuple[str, str]]:
    return [
        (table, path) for table in TABLES for path in store.list(table) if path.endswith(".parquet")
    ]


def _look_at(table: str, path: str, dataset: Dataset) -> TableFile | None:
    """Read a file's footer; None, and a finding, when its rows must not be read."""
    try:
        if not dataset.store.exists(path):
            dataset.problems.append(found(checks.FILE_MISSING, "file", path, "listed, not there"))
            return None
        with dataset.store.open(path) as file:
            parquet = pq.ParquetFile(file)
            schema, metadata = parquet.schema_arrow, parquet.metadata
            leaves = [parquet.schema.column(i).path for i in range(len(parquet.schema))]
    except NotRead:
        raise
    except _READ_ERRORS as problem:
        evidence = f"{type(problem).__name__}: {_line(problem)}"
        dataset.problems.append(found(checks.FILE_UNREADABLE, "file", path, evidence))
        return None
    foreign = foreign_columns(schema, table_schema(table))
    if foreign:
        evidence = "; ".join(foreign[:3]) + (f"; and {len(foreign) - 3} more" * (len(foreign) > 3))
        dataset.problems.append(found(checks.SCHEMA_FOREIGN, "file", path, evidence))
        return None
    if not _groups_are_sane(metadata, path, dataset):
        return None
    ours = frozenset(table_schema(table).names) & frozenset(schema.names)
    kept = tuple(leaf for leaf in leaves if leaf.split(".", 1)[0] in ours)
    return TableFile(path, metadata.num_rows, metadata.num_row_groups, ours, kept)


def table_schema(table: str) -> pa.Schema:
    return sample_schema() if table == "samples" else schema_of(TABLES[table])


def _groups_are_sane(metadata: pq.FileMetaData, path: str, dataset: Dataset) -> bool:
    sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    largest = max(sizes, default=0) / _MEBIBYTE
    if largest > checks.ROW_GROUP_MIB:
        evidence = f"a row group of {largest:.0f} MiB"
        check, limit = checks.ROW_GROUP, float(checks.ROW_GROUP_MIB)
        dataset.problems.append(found(check, "file", path, evidence, "", largest, limit))
    if largest > MOST_GROUP_MIB or min([*sizes, metadata.num_rows], default=0) < 0:
        evidence = f"a row group that unpacks to {largest:.0f} MiB is not read"
        dataset.problems.append(found(checks.FILE_UNREADABLE, "file", path, evidence))
        return False
    return True


def foreign_columns(schema: pa.Schema, ours: pa.Schema) -> list[str]:
    """Say what in a file's schema is not ours: columns of another type, or Python objects.

    Columns that we do not know are never read, so they are allowed unless they are an extension.
    """
    wrong = []
    for column in schema:
        if _has_extension(column):
            wrong.append(f"column {column.name!r} holds {column.type}, which may run code")
        elif column.name in ours.names and not _alike(column.type, ours.field(column.name).type):
            expected = ours.field(column.name).type
            wrong.append(f"column {column.name!r} is {column.type}, ours is {expected}")
    return wrong


def _has_extension(column: pa.Field) -> bool:
    named = column.metadata is not None and b"ARROW:extension:name" in column.metadata
    if named or isinstance(column.type, pa.BaseExtensionType):
        return True
    return any(_has_extension(child) for child in _children(column.type))


def _children(type_: pa.DataType) -> Iterator[pa.Field]:
    if pa.types.is_nested(type_):
        for index in range(type_.num_fields):
            yield type_.field(index)


def _alike(theirs: pa.DataType, ours: pa.DataType) -> bool:
    """Tell whether values can be read as ours: widths may differ, kinds may not."""
    if pa.types.is_struct(ours):
        if not pa.types.is_struct(theirs):
            return False
        fields = {child.name: child.type for child in _children(theirs)}
        mine = {child.name: child.type for child in _children(ours)}
        return all(_alike(fields[name], mine[name]) for name in fields.keys() & mine.keys())
    if _is_list(ours):
        return _is_list(theirs) and _alike(theirs.value_type, ours.value_type)
    return _kind(theirs) == _kind(ours)


def _is_list(type_: pa.DataType) -> bool:
    types = pa.types
    return types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_)


def _kind(type_: pa.DataType) -> str:
    kinds = {
        "text": (pa.types.is_string, pa.types.is_large_string),
        "bytes": (pa.types.is_binary, pa.types.is_large_binary),
        "integer": (pa.types.is_integer,),
        "number": (pa.types.is_floating,),
        "flag": (pa.types.is_boolean,),
    }
    names = [name for name, tests in kinds.items() if any(test(type_) for test in tests)]
    return names[0] if names else str(type_)


_NEEDED = ("sample_id", "clip_id", "character_id", "caption", "split", "references", "video")


def _missing_columns(dataset: Dataset) -> list[Finding]:
    """Report columns that a trainer cannot do without, and that there are no samples."""
    problems = []
    for file in dataset.tables.get("samples", []):
        missing = [name for name in _NEEDED if name not in file.columns]
        if missing:
            evidence = f"without {', '.join(missing)}"
            problems.append(found(checks.COLUMNS_MISSING, "file", file.path, evidence))
    if "samples" not in dataset.tables:
        evidence = "no readable file in samples/"
        problems.append(found(checks.NO_SAMPLES, "dataset", "samples", evidence))
    return problems
