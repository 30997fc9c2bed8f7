"""Which videos a run is about: files, folders, globs, manifests, on any filesystem."""

import contextlib
import csv
import io
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

MANIFEST_SUFFIXES = (".csv", ".jsonl", ".parquet")
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi"),
        *(".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob", ".flv", ".f4v", ".wmv", ".asf"),
        *(".ogv", ".divx", ".mxf", ".dv", ".gif", ".rm", ".rmvb", ".wtv", ".gxf", ".nut", ".y4m"),
    )
)
# No http: fetching from the open web needs its own politeness and protection; download first.
SCHEMES = frozenset({"file", "s3", "gs", "gcs", "az", "abfs", "abfss", "hdfs", "memory"})
_MANIFEST_COLUMNS = ("uri", "licence", "source", "caption")
_MAX_TEXT = 4096  # longer cells of a manifest are refused


@dataclass(frozen=True)
class InputVideo:
    """One video to curate, with what its owner says about it."""

    uri: str
    licence: str = "unknown"
    source: str = ""
    caption: str = ""
    size_bytes: int = -1  # -1: could not be looked at; probing says why
    changed: str = ""  # modification time or etag: another value means other bytes


def list_inputs(patterns: Iterable[str]) -> list[InputVideo]:
    """Return the videos behind the patterns, sorted by uri, each once.

    A pattern is a file, a folder (searched for video suffixes), a glob, or a manifest with a column
    `uri` and optionally licence, source, caption. Relative uris of a manifest are relative to it.

    Raises ValueError naming the pattern or the manifest's row when something is wrong with it.
    """
    found: dict[str, InputVideo] = {}
    for pattern in patterns:
        for video in _expand(pattern):
            first = found.setdefault(video.uri, video)
            if first != video:
                raise ValueError(f"input {video.uri} is listed twice with different values")
    return [found[uri] for uri in sorted(found)]


def _expand(pattern: str) -> Iterator[InputVideo]:
    fs, path = _filesystem(pattern)
    if PurePosixPath(path).suffix.lower() in MANIFEST_SUFFIXES:
        yield from _read_manifest(fs, path, pattern)
        return
    if fs.isdir(path):
        below = fs.find(path)
        paths = [p for p in below if PurePosixPath(p).suffix.lower() in VIDEO_SUFFIXES]
        if not paths:
            raise ValueError(
                f"input {pattern}: a folder without videos ({len(below)} files seen); allowed "
                f"suffixes are {' '.join(sorted(VIDEO_SUFFIXES))}; name other files directly"
            )
    elif any(sign in path for sign in "*?["):
        paths = [p for p in fs.glob(path) if not fs.isdir(p)]
        if not paths:
            raise ValueError(f"input {pattern}: the glob matches no file")
    elif fs.exists(path) or (_is_local(fs) and os.path.lexists(path)):
        paths = [path]
    else:
        raise ValueError(f"input {pattern}: no such file or folder")
    for each in paths:
        yield _look_at(fs, each)


def _read_manifest(fs: Any, path: str, pattern: str) -> Iterator[InputVideo]:
    try:
        content = fs.cat_file(path)
    except FileNotFoundError:
        raise ValueError(f"input {pattern}: no such manifest") from None
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
    rows = readers[PurePosixPath(path).suffix.lower()](content)
    folder = path.rsplit("/", 1)[0] if "/" in path else "."
    for number, row in enumerate(rows, start=1):
        where = f"{pattern}, row {number}"
        cells = {name: _cell(row, name, where) for name in _MANIFEST_COLUMNS}
        if not cells["uri"]:
            raise ValueError(f"{where}: column 'uri' is missing or empty; it names the video")
        video = _resolve(cells["uri"], fs, folder, where)
        yield InputVideo(
            uri=video.uri,
            licence=cells["licence"] or "unknown",
            source=cells["source"],
            caption=cells["caption"],
            size_bytes=video.size_bytes,
            changed=video.changed,
        )


def _cell(row: dict[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    text = "" if value is None else str(value).strip()
    if len(text) > _MAX_TEXT:
        raise ValueError(f"{where}: {name} has {len(text)} characters, {_MAX_TEXT} are allowed")
    return text


def _resolve(uri: str, fs: Any, folder: str, where: str) -> InputVideo:
    if any(ord(sign) < 32 for sign in uri):
        raise ValueError(f"{where}: uri {uri!r} holds a control character")
    if "://" in uri:
        scheme = uri.split("://", 1)[0]
        if scheme not in SCHEMES:
            raise ValueError(
                f"{where}: scheme {scheme!r} is not read; allowed: {', '.join(sorted(SCHEMES))}. "
                "Download the file first"
            )
        return _look_at(*_filesystem(uri))
    if uri.startswith("/"):
        return _look_at(*_filesystem(uri))
    if ".." in PurePosixPath(uri).parts:
        raise ValueError(f"{where}: uri {uri!r} leaves the manifest's folder; use an absolute path")
    return _look_at(fs, f"{folder}/{uri}")


def _csv_rows(content: bytes) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig", errors="replace"))))


def _jsonl_rows(content: bytes) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"manifest line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"manifest line {number} must be an object, got {line[:40]!r}")
        rows.append(row)
    return rows


def _parquet_rows(content: bytes) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(content))
    names = [name for name in _MANIFEST_COLUMNS if name in file.schema_arrow.names]
    for name in names:  # looked at before any value is read: a foreign type may run code
        kind = file.schema_arrow.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ValueError(f"manifest column {name!r} must be text, got {kind}")
    return file.read(columns=names).to_pylist()


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    return fsspec.core.url_to_fs(url)


def _is_local(fs: Any) -> bool:
    protocol = fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)
    return "file" in protocol


def _look_at(fs: Any, path: str) -> InputVideo:
    uri = path if _is_local(fs) else fs.unstrip_protocol(path)
    try:
        info = fs.info(path)
    except OSError:  # missing or unreadable: a reject with a reason, later, not a stop now
        return InputVideo(uri=uri)
    if _is_local(fs) and not stat.S_ISREG(os.stat(path).st_mode):
        return InputVideo(uri=uri)
    changed = str(info.get("ETag") or info.get("etag") or info.get("mtime") or "")
    return InputVideo(uri=uri, size_bytes=int(info.get("size") or 0), changed=changed)


@contextlib.contextmanager
def local_copy(uri: str) -> Iterator[str]:
    """Give a path of this machine with the bytes of `uri`; a fetched copy is removed again."""
    fs, path = _filesystem(uri)
    if _is_local(fs):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="contextanyone-") as folder:
        target = f"{folder}/{PurePosixPath(path).name}"
        fs.get_file(path, target)
        yield target
