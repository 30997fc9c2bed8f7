"""Remove the files of older versions; what a version that stays lists stays too.

Manifests are kept: they are small, and say what each version was. Whoever still reads a version
that goes loses its files, so this is never done by itself.
"""

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.dataset.commit import (
    STAGING,
    data_files,
    files_of_version,
    require_manifest,
    versions,
)
from pipeline.dataset.store import Store
from schemas.manifest import manifest_path

_DAY_S = 86_400


@dataclass(frozen=True)
class Leftover:
    """Files that would go, and of which version they are; 0: of none that was published."""

    version: int
    paths: tuple[str, ...]
    size_bytes: int

    def describe(self) -> str:
        name = f"version {self.version}" if self.version else "never published"
        return f"{name}: {len(self.paths)} files, {self.size_bytes / 2**20:.1f} MiB"


def find_leftovers(store: Store, keep: int = 1, days: float = 0) -> list[Leftover]:
    """Return what would go, by the newest version that lists it, oldest first.

    The newest `keep` versions stay, and those that were replaced less than `days` ago. Raises
    ValueError where there is no dataset, or a manifest is damaged.
    """
    current = require_manifest(store)[0].version
    known = [version for version in versions(store) if version <= current]
    recent = _recent(known, store, _now(store) - days * _DAY_S) if days else []
    kept = {*known[-keep:], *recent}
    files = {version: files_of_version(version, store) for version in known}
    owner = {path: version for version in known for path in files[version]}
    present = set(data_files(store))
    sizes = {
        path: size for folder in _folders(present) for path, size in store.sizes(folder).items()
    }
    goes: dict[int, list[str]] = {}
    for path in sorted(present):
        if not any(path in files[version] for version in kept):
            goes.setdefault(owner.get(path, 0), []).append(path)
    return [
        Leftover(version, tuple(paths), sum(sizes[path] for path in paths))
        for version, paths in sorted(goes.items())
    ]


def _now(store: Store) -> float:
    """Return the time by the clock that dates the manifests; this machine's may be far from it."""
    path = f"{STAGING}/clock-{uuid.uuid4().hex}"
    store.write(path, b"")
    try:
        return store.modified(path)
    finally:
        store.delete(path)


def _recent(known: Sequence[int], store: Store, since: float) -> list[int]:
    """Return the versions that were current at or after a moment."""
    return [
        version
        for version, following in itertools.pairwise(known)
        if store.modified(manifest_path(following)) >= since
    ]


def _folders(paths: set[str]) -> list[str]:
    return sorted({path.partition("/")[0] for path in paths})


def remove(shown: Sequence[Leftover], store: Store, keep: int = 1, days: float = 0) -> int:
    """Remove what was shown and would still go; return how many files that were.

    While somebody thinks about the answer, another job may have published what was left over.
    Raises BlockingIOError when another job has taken the dataset over.
    """
    store.check_held()
    still = {path for one in find_leftovers(store, keep, days) for path in one.paths}
    paths = [path for one in shown for path in one.paths if path in still]
    store.check_held()
    for path in paths:
        store.delete(path)
    return len(paths)
