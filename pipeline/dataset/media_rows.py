"""Read the rows that hold media: clips as they lie in units, samples of a version."""

from collections.abc import Iterator

from pipeline.dataset.parquet import read_rows_by_key
from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, open_table
from pipeline.dataset.units import unit_folder
from schemas.manifest import Manifest


def read_clip_bytes(clip_id: str, unit_id: str, store: Store) -> bytes:
    """Return an encoded clip, as it lies in its unit."""
    [media] = read_unit_rows(unit_id, "media", "clip_id", {clip_id}, store)
    return media["mp4"]


def read_unit_rows(
    unit_id: str, table: str, key: str, wanted: set[str], store: Store
) -> list[dict]:
    """Return the rows of a unit's table whose `key` is wanted, media included."""
    with store.open(f"{unit_folder(unit_id)}/{table}.parquet") as file:
        return list(read_rows_by_key(file, key, wanted))


def read_samples(manifest: Manifest, store: Store) -> Iterator[dict]:
    """Yield the samples of a version as plain rows, media included, one row group at a time."""
    for path in files_of("samples", manifest):
        file = open_table(path, store)
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).to_pylist()
