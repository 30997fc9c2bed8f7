"""What was forgotten in a dataset and must not come back."""

from pipeline.dataset.store import Store
from schemas.tombstones import TOMBSTONES, Tombstones


def read_tombstones(store: Store) -> Tombstones:
    """Return what was forgotten in this dataset."""
    return (
        Tombstones.from_json(store.read(TOMBSTONES)) if store.exists(TOMBSTONES) else Tombstones()
    )
