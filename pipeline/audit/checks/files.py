"""Manifest and files: are they all there, whole, and ours?"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.audit.dataset import Dataset
from pipeline.audit.file_findings import (
    FILE_HASH,
    FILE_MISSING,
    FILE_ROWS,
    FILE_UNLISTED,
    FILE_UNREADABLE,
)
from pipeline.audit.findings import Finding, found
from pipeline.dataset.commit import files_of_version, versions
from schemas.manifest import DataFile
from schemas.remote import NotRead

_CHUNK = 1 << 22


def check_files(dataset: Dataset, workers: int) -> Iterator[Finding]:
    """Compare every listed file's size, rows and SHA-256 with the manifest, in a few threads."""
    manifest = dataset.manifest
    if manifest is None:
        return
    listed = {file.path for file in manifest.files}
    if dataset.current:
        older = _of_older_versions(dataset)
        for folder in sorted({path.split("/", 1)[0] for path in listed} | {"samples"}):
            for path in dataset.store.list(folder):
                if path not in listed | older and path.endswith(".parquet"):
                    yield found(FILE_UNLISTED, "file", path, "not in the manifest")
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for findings in pool.map(lambda file: check_file(file, dataset), manifest.files):
            yield from findings


def _of_older_versions(dataset: Dataset) -> set[str]:
    """Return what other versions list, as far as their manifests can be read."""
    listed: set[str] = set()
    for version in versions(dataset.store):
        with contextlib.suppress(ValueError):
            listed.update(files_of_version(version, dataset.store))
    return listed


def check_file(file: DataFile, dataset: Dataset) -> Sequence[Finding]:
    """Read a file once, a few MiB at a time."""
    problems = []
    rows = {file.path: file.rows for files in dataset.tables.values() for file in files}
    if file.path in rows and rows[file.path] != file.rows:
        evidence = f"{rows[file.path]} rows, {file.rows} listed"
        problems.append(found(FILE_ROWS, "file", file.path, evidence))
    try:
        size, digest = _digest(file.path, dataset)
    except FileNotFoundError:
        reported = any(p.check == FILE_MISSING.id and p.id == file.path for p in dataset.problems)
        missing = [] if reported else [found(FILE_MISSING, "file", file.path, "listed, not there")]
        return [*problems, *missing]
    except NotRead:
        raise
    except (OSError, ValueError) as problem:
        return [*problems, found(FILE_UNREADABLE, "file", file.path, str(problem)[:200])]
    if size != file.size_bytes:
        evidence = f"{size} bytes, {file.size_bytes} listed"
        problems.append(found(FILE_HASH, "file", file.path, evidence))
    elif digest != file.sha256:
        evidence = f"SHA-256 {digest[:12]}…, {file.sha256[:12]}… listed"
        problems.append(found(FILE_HASH, "file", file.path, evidence))
    return problems


def _digest(path: str, dataset: Dataset) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with dataset.store.open(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
