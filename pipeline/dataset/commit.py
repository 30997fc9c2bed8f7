"""Make a version of the dataset visible: all of it or nothing.

Files are staged under `_staging/`, moved to their folder, listed with their hashes in a manifest
that is created once, and the pointer is replaced last. A reader that follows the pointer never sees
a version that is not complete; what a killed publisher left is used or swept by the next run.
"""

import hashlib
import json
import re
from collections.abc import Iterable

from pipeline.dataset.store import Store
from schemas.manifest import POINTER, DataFile, Manifest, manifest_path

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
_DATA_FILE = re.compile(
    rf"({STAGING}/)?({'|'.join(FOLDERS)})/v\d{{4,}}-\d{{5,}}\.parquet(\.json)?"
    rf"|{STAGING}/captions/[0-9a-f]+\.json"
)


def read_manifest(store: Store) -> tuple[Manifest, str] | None:
    """Return the current manifest and the SHA-256 of its file, or None before the first.

    Raises ValueError for a pointer or a manifest that is damaged.
    """
    if not store.exists(POINTER):
        return None
    try:
        pointer = json.loads(store.read(POINTER))
        path, expected = pointer["path"], pointer["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{store.url}/{POINTER} is damaged or of another program: it must read "
            f'{{"path": …, "sha256": …}}, got {error!r}; restore it, or name another folder'
        ) from error
    try:
        content = store.read(path)
    except FileNotFoundError:
        raise ValueError(
            f"{store.url}/{path}, which {POINTER} names, is missing; restore the file, or make the "
            "dataset again"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise ValueError(
            f"{store.url}/{path} is damaged: its SHA-256 is {digest}, the pointer says "
            f"{expected}; restore the file, or make the dataset again"
        )
    return Manifest.from_json(content), digest


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
    """Write a file that no manifest lists yet."""
    store.write(f"{STAGING}/{path}", content)
    return DataFile(path, rows, len(content), hashlib.sha256(content).hexdigest())


def publish(manifest: Manifest, store: Store) -> None:
    """Move staged files into place, write the manifest, move the pointer, sweep the old version."""
    for file in manifest.files:
        if store.exists(f"{STAGING}/{file.path}"):
            store.move(f"{STAGING}/{file.path}", file.path)
        elif not store.exists(file.path):
            raise FileNotFoundError(f"{store.url}/{STAGING}/{file.path} was staged and is gone")
    content = manifest.to_json()
    path = manifest_path(manifest.version)
    if not store.exists(path):
        store.create(path, content)
    elif store.read(path) != content:
        raise FileExistsError(
            f"{store.url}/{path} was published by another run; run again to publish on top of it"
        )
    pointer = {"path": path, "sha256": hashlib.sha256(content).hexdigest()}
    store.write(POINTER, json.dumps(pointer, sort_keys=True).encode())
    sweep(manifest, store)


def sweep(manifest: Manifest, store: Store) -> None:
    """Remove data files that the current manifest does not list, and all that was staged.

    Other files stay, wherever they are: an output may be the folder that `videos/` lie in.
    """
    listed = {file.path for file in manifest.files}
    for path in data_files(store):
        if path not in listed:
            store.delete(path)


def data_files(store: Store) -> list[str]:
    """Return the files of all versions, and what is staged: those that have our names."""
    found = (path for folder in (*FOLDERS, STAGING) for path in store.list(folder))
    return [path for path in found if _DATA_FILE.fullmatch(path)]


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
    """Return a path that no other version uses, so that publishing never changes a listed file."""
    return f"{table}/v{version:04d}-{number:05d}.parquet"


def digest_of(values: Iterable[object]) -> str:
    """Return a SHA-256 over JSON values, and bytes among them, in the order given."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value, sort_keys=True, default=bytes.hex).encode())
        digest.update(b"\n")
    return digest.hexdigest()
