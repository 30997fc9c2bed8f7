"""What a test knows to be there, where it might be None."""

from typing import TypeVar

from pipeline.dataset.commit import read_manifest
from pipeline.dataset.store import Store
from schemas.manifest import Manifest

Thing = TypeVar("Thing")


def there(thing: Thing | None) -> Thing:
    """Return what must not be None."""
    assert thing is not None
    return thing


def current_version(store: Store) -> tuple[Manifest, str]:
    """Return the manifest that the pointer names, and its SHA-256."""
    return there(read_manifest(store))
