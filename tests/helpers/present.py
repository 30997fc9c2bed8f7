"""What a test knows to be there, where it might be None."""

from pathlib import Path
from typing import TypeVar

import pyarrow.parquet as pq

from pipeline.dataset.commit import read_manifest
from pipeline.dataset.store import Store, open_store
from schemas.manifest import Manifest

Thing = TypeVar("Thing")


def there(thing: Thing | None) -> Thing:
    """Return what must not be None."""
    assert thing is not None
    return thing


def current_version(store: Store) -> tuple[Manifest, str]:
    """Return the manifest that the pointer names, and its SHA-256."""
    return there(read_manifest(store))


def rows_of(folder: Path, table: str) -> list[dict]:
    """Return the rows of a table of the version that the pointer names."""
    manifest, _ = current_version(open_store(folder))
    paths = [file.path for file in manifest.files if file.path.startswith(f"{table}/")]
    return [row for path in paths for row in pq.read_table(folder / path).to_pylist()]
