"""Which version of a dataset is the current one: whoever reads or writes a dataset asks here."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.manifest import POINTER, Manifest, manifest_path

_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class Files(Protocol):
    """The folder or the store that holds a dataset."""

    @property
    def url(self) -> str: ...

    def read(self, path: str) -> bytes: ...


@dataclass(frozen=True)
class Snapshot:
    """One version of a dataset."""

    path: str  # of the manifest
    sha256: str  # of the manifest's bytes
    manifest: Manifest


def current_snapshot(files: Files) -> Snapshot | None:
    """Return the current version, or None before the first.

    A version that was made and that the pointer does not name yet, because its publisher was
    killed, is the current one. Raises ValueError for a pointer or a manifest that is damaged.
    """
    return newest_after(_pointed(files), files)


def newest_after(snapshot: Snapshot | None, files: Files) -> Snapshot | None:
    """Return the last of the versions that were made on top of this one, or this one."""
    while following := _following(snapshot, files):
        snapshot = following
    return snapshot


def read_pointer(files: Files) -> tuple[str, str] | None:
    """Return the path and the SHA-256 of the manifest that the pointer names.

    Raises ValueError for a pointer that is damaged.
    """
    try:
        pointer = json.loads(files.read(POINTER))
        return pointer["path"], pointer["sha256"]
    except _ABSENT:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{files.url}/{POINTER} is damaged or of another program: it must read "
            f'{{"path": …, "sha256": …}}, got {error!r}; restore it, or name another folder'
        ) from error


def _pointed(files: Files) -> Snapshot | None:
    pointer = read_pointer(files)
    if pointer is None:
        return None
    path, expected = pointer
    try:
        content = files.read(path)
    except FileNotFoundError:
        raise ValueError(
            f"{files.url}/{path}, which {POINTER} names, is missing; restore the file, or make the "
            "dataset again"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise ValueError(
            f"{files.url}/{path} is damaged: its SHA-256 is {digest}, the pointer says "
            f"{expected}; restore the file, or make the dataset again"
        )
    return Snapshot(path, digest, _parse(path, content, files))


def _following(snapshot: Snapshot | None, files: Files) -> Snapshot | None:
    """Return the version that was made on top of this one; other manifests do not count.

    The number may be of a version of before: whoever began anew was killed while it removed them.
    """
    version, parent = (snapshot.manifest.version, snapshot.sha256) if snapshot else (0, "")
    path = manifest_path(version + 1)
    try:
        content = files.read(path)
    except _ABSENT:
        return None
    if _raw(path, content, files)["parent"] != parent:
        return None
    return Snapshot(path, hashlib.sha256(content).hexdigest(), _parse(path, content, files))


def _parse(path: str, content: bytes, files: Files) -> Manifest:
    _raw(path, content, files)
    try:
        return Manifest.from_json(content)
    except ValueError as error:  # made by other code
        raise ValueError(f"{files.url}/{path}: {error}") from error
    except (KeyError, TypeError, AssertionError) as error:
        raise _damaged(path, error, files) from error


def _raw(path: str, content: bytes, files: Files) -> dict[str, Any]:
    """Return what every manifest of ours has, of whichever schema version."""
    try:
        raw = json.loads(content)
        if not isinstance(raw, dict):
            raise TypeError(f"it holds {content[:20]!r}")
        return {"parent": raw["parent"], "schema_version": raw["schema_version"]}
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error, files) from error


def _damaged(path: str, error: Exception, files: Files) -> ValueError:
    return ValueError(
        f"{files.url}/{path} is no manifest of ours: {error!r}; restore the file, or remove it if "
        "it is of another program"
    )
