"""Read a dataset's tables as they lie on disk, ours or another's, a row group at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.dataset.commit import require_manifest
from pipeline.dataset.store import Store, open_store
from schemas.bounded_parquet import BoundedParquet
from schemas.manifest import Manifest

_INNER = ("reference_id", "track_id", "clip_id", "video_id")  # of a reference, without pixels
_CAST = ("track_id", "character_id", *(f"references.list.element.{name}" for name in _INNER))
_NESTED = {"references": _INNER, "others": _CAST}


def files_of(table: str, manifest: Manifest) -> list[str]:
    """Return the paths of one table of a version, in order."""
    return [file.path for file in manifest.files if file.path.startswith(f"{table}/")]


def current_files(url: str | Path, table: str) -> list[str]:
    """Return the paths or URLs of one table of the newest version, for other tools to read.

    Files of older versions lie beside them.
    """
    store = open_store(url)
    return [f"{store.url}/{path}" for path in files_of(table, require_manifest(store)[0])]


def open_table(path: str, store: Store) -> BoundedParquet:
    """Open a Parquet file. Raises ValueError for a column that would run code when it is read."""
    try:
        file = BoundedParquet(store.open(path), f"{store.url}/{path}")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{store.url}/{path} is missing; restore it, or make the dataset again"
        ) from None
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and type(error) is not OSError:  # of the disk or the network
            raise
        raise ValueError(f"{store.url}/{path} is no Parquet file: {error}") from error
    foreign = [field.name for field in file.schema_arrow if _is_foreign(field)]
    if foreign:
        raise ValueError(
            f"{store.url}/{path}: column {foreign[0]!r} has an extension type, which may run code "
            "when it is read; write the file again without it"
        )
    return file


def _is_foreign(field: pa.Field) -> bool:
    metadata = field.metadata or {}
    return isinstance(field.type, pa.ExtensionType) or b"ARROW:extension:name" in metadata


def light_rows(path: str, columns: Sequence[str], store: Store) -> Iterator[dict]:
    """Yield rows with those of `columns` that the file has; references without their pixels."""
    file = open_table(path, store)
    names = set(file.schema_arrow.names)
    wanted = [name for name in columns if name in names and name not in _NESTED]
    for name in _NESTED.keys() & set(columns) & names:
        wanted += [f"{name}.list.element.{inner}" for inner in _NESTED[name]]
    if not wanted:
        return
    for group in range(file.num_row_groups):
        yield from file.read_row_group(group, columns=wanted).to_pylist()
