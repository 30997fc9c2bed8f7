"""Open a dataset: check its manifest, and the layout of its tables before any row is read."""

import functools
import hashlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.columns import Row, schema_of
from schemas.latents import OF_SEVERAL, Latent
from schemas.manifest import POINTER, DataFile
from schemas.versions import Snapshot, current_snapshot
from trainer.data.files import Folder, in_parallel

_MAX_NAMED = 5  # files or columns named in a message
_MAX_LIGHT_BYTES = 16 * 2**10  # a row's index columns, decompressed; they have a few hundred


def read_snapshot(folder: Folder) -> Snapshot:
    """Return the current version. Raises ValueError for a folder that is no dataset."""
    snapshot = current_snapshot(folder)
    if snapshot is None:
        raise ValueError(
            f"no dataset at {folder.url}: it has no {POINTER}; give the folder that "
            "jobs/curate.py wrote (its --output)"
        )
    return snapshot


def check_files(folder: Folder, files: Sequence[DataFile], verify: bool) -> None:
    """Refuse files that are missing or have another size; or, when verifying, other bytes."""
    folders = sorted({file.path.split("/")[0] for file in files})
    sizes: dict[str, int] = {}
    for name in folders:
        sizes |= folder.sizes(name)
    wrong = [
        f"{file.path} is missing"
        if file.path not in sizes
        else f"{file.path} has {sizes[file.path]} bytes, {file.size_bytes} are listed"
        for file in files
        if sizes.get(file.path) != file.size_bytes
    ]
    if verify and not wrong:
        digests = in_parallel(functools.partial(_digest, folder), [file.path for file in files])
        wrong = [
            f"{file.path} has other bytes than were published"
            for file, digest in zip(files, digests, strict=True)
            if digest != file.sha256
        ]
    if wrong:
        raise ValueError(
            f"{folder.url}: {len(wrong)} of {len(files)} files are damaged: "
            f"{'; '.join(wrong[:_MAX_NAMED])}{'; …' * (len(wrong) > _MAX_NAMED)}. Restore them, or "
            "make the dataset again"
        )


def _digest(folder: Folder, path: str) -> str:
    return hashlib.sha256(folder.read(path)).hexdigest()


def check_layout(
    file: pq.ParquetFile, listed: DataFile, table: type[Row], index_columns: Sequence[str]
) -> None:
    """Refuse a file whose columns are not exactly ours, before any of its values is touched.

    A foreign column may hold a type that runs code when it is read. Columns that latents of one
    character did without may be missing.
    """
    found, ours = file.schema_arrow, schema_of(table)
    problems = [f"foreign column {name!r} ({found.field(name).type})"
                for name in found.names if name not in ours.names]  # fmt: skip
    missing = [name for name in ours.names if name not in found.names]
    lacks_old = table is not Latent or any(name not in OF_SEVERAL for name in missing)
    problems += [f"no column {name!r}" for name in missing if lacks_old]
    if len(set(found.names)) < len(found.names):
        problems.append("a column twice")
    if not problems:
        for field in (field for field in ours if field.name not in missing):
            problem = _difference(found.field(field.name), field)
            problems += [problem] if problem else []
    if not problems and file.metadata.num_rows != listed.rows:
        problems.append(f"{file.metadata.num_rows} rows, the manifest lists {listed.rows}")
    if not problems:
        problems = _oversized(file, index_columns)
    if problems:
        raise ValueError(
            f"{listed.path} is not a table of {table.__name__} rows: "
            f"{'; '.join(problems[:_MAX_NAMED])}. Nothing of it was read; make the dataset again "
            "with this version of the code"
        )


def _difference(found: pa.Field, ours: pa.Field) -> str | None:
    if found.type != ours.type:
        return f"column {ours.name!r} is {_short(found.type)}, not {_short(ours.type)}"
    extension = _extension(found)
    if extension:
        return f"column {ours.name!r} holds the extension type {extension!r}"
    return None


def _extension(field: pa.Field) -> str | None:
    """Return the name of an extension type, of the field or of one inside it, or None."""
    if isinstance(field.type, pa.BaseExtensionType):
        return field.type.extension_name
    name = (field.metadata or {}).get(b"ARROW:extension:name")
    if name is not None:
        return name.decode(errors="replace")
    if isinstance(field.type, pa.StructType):
        inner = list(field.type)
    elif isinstance(field.type, (pa.ListType, pa.FixedSizeListType)):
        inner = [field.type.value_field]
    else:
        inner = []
    return next((name for part in inner if (name := _extension(part))), None)


def _short(type_: pa.DataType) -> str:
    text = str(type_)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _oversized(file: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    """Name index columns whose declared size no honest row has: a small file, a huge read."""
    for group in range(file.num_row_groups):
        row_group = file.metadata.row_group(group)
        total = sum(
            chunk.total_uncompressed_size
            for chunk in map(row_group.column, range(row_group.num_columns))
            if chunk.path_in_schema in columns
        )
        if total > 2**20 + _MAX_LIGHT_BYTES * row_group.num_rows:
            return [f"row group {group} declares {total} bytes for {row_group.num_rows} rows"]
    return []
