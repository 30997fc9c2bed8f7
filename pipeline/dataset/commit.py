"""Make a version of the dataset visible: all of it or nothing.

Data files are named by their content and never overwritten. A manifest lists them with their
hashes; it is created once, by whoever comes first, and that is the moment at which the version
exists. The pointer follows. What no manifest lists is of a killed or refused publisher: it is used
or swept by the next run. Older versions stay readable until `vacuum` removes what they alone list.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from pipeline.dataset.store import Store
from schemas.manifest import POINTER, DataFile, Manifest, manifest_path
from schemas.versions import current_snapshot

STAGING = "_staging"
FOLDERS = (
    "inputs",
    "videos",
    "clips",
    "tracks",
    "characters",
    "suspects",
    "samples",
    "embeddings",
    "rejects",
    "tags",
)
_DATA_FILE = re.compile(  # also as earlier versions named them, and staged them
    rf"({STAGING}/)?({'|'.join(FOLDERS)})/v\d{{4,}}-\d{{5,}}(-[0-9a-f]{{16}})?\.parquet(\.json)?"
    rf"|{STAGING}/(captions|samples)/[0-9a-f]+\.json"
)
_MANIFEST = re.compile(r"manifests/(\d{4,})\.json")


def read_manifest(store: Store) -> tuple[Manifest, str] | None:
    """Return the current manifest and the SHA-256 of its file, or None before the first.

    Raises ValueError for a pointer or a manifest that is damaged.
    """
    found = current_snapshot(store)
    return (found.manifest, found.sha256) if found else None


def require_manifest(store: Store) -> tuple[Manifest, str]:
    """Return the current manifest and its SHA-256. Raises ValueError where there is none."""
    manifest = read_manifest(store)
    if manifest is None:
        raise ValueError(
            f"{store.url} holds no dataset: {POINTER} is missing; give the folder that "
            "jobs/curate.py wrote (its --output)"
        )
    return manifest


def stage_file(path: str, content: bytes, rows: int, store: Store) -> DataFile:
    """Write a file that no manifest lists yet; its name says what it holds."""
    digest = hashlib.sha256(content).hexdigest()
    path = f"{path.removesuffix('.parquet')}-{digest[:16]}.parquet"
    store.write(path, content)
    return DataFile(path, rows, len(content), digest)


def is_data_file(path: str) -> bool:
    """Return whether a publisher gives a file such a name."""
    return bool(_DATA_FILE.fullmatch(path))


def publish(manifest: Manifest, store: Store) -> None:
    """Create the manifest over files that are written, move the pointer, sweep.

    Raises FileExistsError when another run has made this version meanwhile, and BlockingIOError
    when it took over the lock.
    """
    _check_written(manifest, store)
    store.check_held()
    _drop_orphans(manifest, store)
    try:
        store.create(manifest_path(manifest.version), manifest.to_json())
    except FileExistsError:
        raise FileExistsError(
            f"{store.url} has a version {manifest.version} already, which another run made "
            "meanwhile; run again to publish on top of it"
        ) from None
    settle(store)
    sweep(store)


def _drop_orphans(manifest: Manifest, store: Store) -> None:
    """Remove manifests of no version whose number this one or a later one will have.

    A run that began anew and was killed while it removed the versions of before leaves them.
    """
    later = [version for version in versions(store) if version >= manifest.version]
    current = read_manifest(store)  # after the listing: of a version in between nothing is removed
    if (current[1] if current else "") != manifest.parent:
        return
    for version in reversed(later):
        store.delete(manifest_path(version))


def _check_written(manifest: Manifest, store: Store) -> None:
    folders = sorted({file.path.partition("/")[0] for file in manifest.files})
    sizes = {path: size for folder in folders for path, size in store.sizes(folder).items()}
    for file in manifest.files:
        if sizes.get(file.path) != file.size_bytes:
            raise FileNotFoundError(
                f"{store.url}/{file.path} was written and is gone or has another size: another "
                "job works on this dataset; run again when it has ended"
            )


def settle(store: Store) -> None:
    """Let the pointer name the current version."""
    while (current := read_manifest(store)) is not None:
        manifest, digest = current
        pointer = {"path": manifest_path(manifest.version), "sha256": digest}
        content = json.dumps(pointer, sort_keys=True).encode()
        if store.exists(POINTER) and store.read(POINTER) == content:
            return
        store.write(POINTER, content)


def sweep(store: Store, only: Manifest | None = None) -> None:
    """Remove data files that no version lists, or not this one, and what was staged.

    Other files stay, wherever they are: an output may be the folder that `videos/` lie in. While a
    manifest is damaged, all stays.
    """
    try:
        listed = {file.path for file in only.files} if only else listed_files(store)
    except ValueError:
        return
    paths = [path for path in data_files(store) if path not in listed]
    if paths:
        store.check_held()
    for path in paths:
        store.delete(path)


def versions(store: Store) -> list[int]:
    """Return the numbers of all versions of which there is a manifest, in order."""
    found = (_MANIFEST.fullmatch(path) for path in store.list("manifests"))
    return sorted(int(match[1]) for match in found if match)


def listed_files(store: Store) -> set[str]:
    """Return the files of every version, also of those that an earlier code made.

    Raises ValueError for a manifest that is damaged.
    """
    return {path for version in versions(store) for path in files_of_version(version, store)}


def files_of_version(version: int, store: Store) -> dict[str, int]:
    """Return the bytes of a version's files, by path. Raises ValueError like `listed_files`."""
    path = manifest_path(version)
    try:
        files = json.loads(store.read(path))["files"]
        return {file["path"]: int(file["size_bytes"]) for file in files}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{store.url}/{path} is damaged: {error!r}; restore the file, or make the dataset again"
        ) from error


def data_files(store: Store) -> list[str]:
    """Return the files of all versions, and what is staged: those that have our names."""
    found = (path for folder in (*FOLDERS, STAGING) for path in store.list(folder))
    return [path for path in found if is_data_file(path)]


def damaged_files(manifest: Manifest, store: Store) -> list[str]:
    """Return one line per file of the manifest that is missing or has other bytes."""
    return [line for file in manifest.files if (line := _check(file, store))]


def _check(file: DataFile, store: Store) -> str | None:
    if not store.exists(file.path):
        return f"{file.path}: missing"
    content = store.read(file.path)
    if len(content) != file.size_bytes:
        return f"{file.path}: {len(content)} bytes, {file.size_bytes} listed"
    if hashlib.sha256(content).hexdigest() != file.sha256:
        return f"{file.path}: its bytes have changed"
    return None


def table_path(table: str, version: int, number: int) -> str:
    """Return where a file of a version belongs; `stage_file` adds what it holds to the name."""
    return f"{table}/v{version:04d}-{number:05d}.parquet"


def digest_of(values: Iterable[object]) -> str:
    """Return a SHA-256 over JSON values, with bytes and dataclasses among them, as they come."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value, sort_keys=True, default=_as_json).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _as_json(value: Any) -> Any:
    """Return bytes as hexadecimal text and a dataclass as its fields, which may need this again."""
    if isinstance(value, bytes):
        return value.hex()
    return {each.name: getattr(value, each.name) for each in fields(value)}
