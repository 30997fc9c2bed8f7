"""Find the videos of a run: files, folders, globs, manifests, on any filesystem."""

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from pipeline.dataset.input_manifests import MANIFEST_SUFFIXES, ManifestRow, read_manifest_rows
from schemas.locations import is_url, location_of, shown
from schemas.remote import (
    NotRead,
    RemoteConfig,
    is_chain,
    open_filesystem,
    policy,
    read_whole,
    retry,
)
from schemas.uris import (
    FILE,
    is_local,
    path_of_file_url,
    path_of_uri,
    public_uri,
    uri_of_path,
)
from schemas.web import WEB_SCHEMES, private_host

VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi"),
        *(".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob", ".flv", ".f4v", ".wmv", ".asf"),
        *(".ogv", ".divx", ".mxf", ".dv", ".gif", ".rm", ".rmvb", ".wtv", ".gxf", ".nut", ".y4m"),
    )
)
# No http in manifests, which others may have written: fetching from the open web needs its own
# politeness. On the command line a person has chosen the address.
SCHEMES = frozenset({"file", "s3", "gs", "gcs", "az", "abfs", "abfss", "hdfs", "memory"})
_GLOB = re.compile(r"[*?[]")
_THREADS = 16  # that get size and version of files; they wait for the network alone
_VERSIONS = ("ETag", "etag", "mtime", "md5Hash", "Last-Modified", "last_modified")


@dataclass(frozen=True)
class InputVideo:
    """One video to curate, with what its owner says about it."""

    uri: str  # what it is called everywhere (schemas.uris)
    licence: str = "unknown"
    source: str = ""
    caption: str = ""
    caption_from: str = ""  # the file, and its column or key, where that is no manifest of ours
    size_bytes: int = -1  # -1: unknown; reading the file says why
    changed: str = ""  # modification time or etag: another value means other bytes
    location: str = field(default="", repr=False)  # what is opened, where the uri hides a secret

    @property
    def place(self) -> str:
        """What is opened to read it."""
        return self.location or path_of_uri(self.uri)

    def declared(self, licence: str, source: str) -> "InputVideo":
        """Return the video under this licence and from this source, where nobody named another."""
        stated = self.licence if self.licence != "unknown" else licence or "unknown"
        return replace(self, licence=stated, source=self.source or source)


@dataclass(frozen=True)
class FoundInputs:
    """The videos of a run, and the files beside them that are passed over."""

    videos: list[InputVideo]
    passed_over: tuple[str, ...] = ()  # files of other suffixes, sorted
    closed: tuple[str, ...] = ()  # folders that cannot be searched, with the reason


def list_inputs(patterns: Iterable[str]) -> list[InputVideo]:
    """Return the videos of `find_inputs` alone."""
    return find_inputs(patterns).videos


def find_inputs(patterns: Iterable[str], remote: RemoteConfig | None = None) -> FoundInputs:
    """Return the videos behind the patterns, sorted by uri, each once.

    A pattern is a file, a folder (searched for video suffixes, links to folders too), a glob, or a
    manifest with a column `uri` and optionally licence, source, caption. Relative uris of a
    manifest are relative to it. What exists is never taken for a glob or a URL.

    Raises ValueError naming the pattern or the manifest's line when something is wrong with it.
    """
    search = _Search(remote or policy())
    found: dict[str, InputVideo] = {}
    for pattern in patterns:
        for video in search.expand(pattern):
            first = found.setdefault(video.uri, video)
            if first != video:
                raise ValueError(f"input {video.uri} is listed twice with different values")
    passed_over = tuple(sorted(search.passed_over - found.keys()))
    return FoundInputs([found[uri] for uri in sorted(found)], passed_over, tuple(search.closed))


class _Search:
    """Expands patterns, and remembers what it passed over."""

    def __init__(self, remote: RemoteConfig) -> None:
        self._remote = remote
        self.passed_over: set[str] = set()
        self.closed: list[str] = []

    def expand(self, pattern: str) -> Iterator[InputVideo]:
        local = _local_path(pattern)
        if local is None:
            yield from self._expand_remote(pattern)
        elif os.path.isdir(local):
            yield from self._search_folder(local, pattern)
        elif os.path.isfile(local) and _suffix(local) in MANIFEST_SUFFIXES:
            yield from self._read_manifest(local, pattern)
        elif os.path.lexists(local):
            yield describe_file(local)
        elif _GLOB.search(local):
            yield from self._expand_glob(local, pattern)
        else:
            kind = "manifest" if _suffix(local) in MANIFEST_SUFFIXES else "file or folder"
            raise ValueError(f"input {public_uri(pattern)}: no such {kind}")

    def _expand_glob(self, path: str, pattern: str) -> Iterator[InputVideo]:
        paths = [
            found
            for found in glob.glob(path, recursive=True, include_hidden=True)
            if not os.path.isdir(found)
        ]
        if not paths:
            raise ValueError(f"input {public_uri(pattern)}: the glob matches no file")
        for found in sorted(paths):
            yield describe_file(found)

    def _search_folder(self, folder: str, pattern: str) -> Iterator[InputVideo]:
        paths = list(self._files_below(folder))
        yield from map(describe_file, self._taken(paths, pattern, uri_of_path))

    def _files_below(self, folder: str) -> Iterator[str]:
        """Yield the files of a folder and of folders that it links to, each folder once.

        Folders come before links to them, so that a video is named by where it lies.
        """
        seen: set[tuple[int, int]] = set()
        waiting = [_absolute(folder).rstrip("/") or "/"]
        while waiting:
            top = waiting.pop(0)
            links = []
            for root, folders, files in os.walk(top, onerror=self._note_closed):
                if not _is_first_visit(root, seen):
                    folders.clear()
                    continue
                folders.sort()
                links += [
                    path for name in folders if os.path.islink(path := os.path.join(root, name))
                ]
                yield from (os.path.join(root, name) for name in sorted(files))
            waiting += sorted(links)

    def _note_closed(self, error: OSError) -> None:
        self.closed.append(f"{uri_of_path(error.filename)}: {error.strerror}")

    def _taken(self, paths: Iterable[str], pattern: str, name: Any) -> list[str]:
        """Return the paths with the suffix of a video; the others are passed over."""
        taken, others = [], []
        for path in paths:
            (taken if _suffix(path) in VIDEO_SUFFIXES else others).append(path)
        self.passed_over.update(name(path) for path in others)
        if not taken:
            raise ValueError(
                f"input {public_uri(pattern)}: a folder without videos ({len(others)} files seen); "
                f"allowed suffixes are {' '.join(sorted(VIDEO_SUFFIXES))}; name other files "
                "directly"
            )
        return taken

    def _expand_remote(self, pattern: str) -> Iterator[InputVideo]:
        if not self._remote.private_web and (host := private_host(pattern)):
            raise ValueError(
                f"input {public_uri(pattern)}: {host} is of a private network; if it is meant, set "
                "run.remote.private_web=true"
            )
        if pattern.partition("://")[0].lower() in WEB_SCHEMES:  # has no folders
            if _suffix(_path_of_url(pattern)) in MANIFEST_SUFFIXES:
                yield from self._read_manifest(pattern, pattern)
            else:
                yield self._describe_remote(pattern)
            return
        _, path = open_filesystem(pattern)
        if _suffix(path) in MANIFEST_SUFFIXES:
            yield from self._read_manifest(pattern, pattern)
            return
        for location, info in self._list_remote(pattern):
            yield _from_info(location, info)

    def _list_remote(self, pattern: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the files of a remote folder or glob, or the one file, each with its metadata."""
        fs, path = open_filesystem(pattern)
        try:
            info = self._info(fs, path)
            if info["type"] == "file":
                return [(_location_of(pattern, fs, path, path), info)]
            below = retry(lambda: fs.find(path, detail=True), self._remote)
        except FileNotFoundError:
            return self._list_remote_glob(pattern, fs, path)
        except OSError as problem:
            if _suffix(path) in VIDEO_SUFFIXES:  # a video, then; reading it will say why
                return [(_location_of(pattern, fs, path, path), {})]
            raise _not_listed(pattern, self._told(fs, path, problem)) from None
        infos = {
            _location_of(pattern, fs, path, found): info
            for found, info in below.items()
            if found != path and not found.endswith("/")  # marks of folders
        }
        return [(location, infos[location]) for location in self._taken(infos, pattern, public_uri)]

    def _list_remote_glob(
        self, pattern: str, fs: Any, path: str
    ) -> list[tuple[str, dict[str, Any]]]:
        if not _GLOB.search(path):
            raise ValueError(f"input {public_uri(pattern)}: no such file or folder")
        try:
            matched = retry(lambda: fs.glob(path, detail=True), self._remote)
        except OSError as problem:
            raise _not_listed(pattern, problem) from None
        files = [
            (_location_of(pattern, fs, path, found), info)
            for found, info in matched.items()
            if info["type"] == "file"
        ]
        if not files:
            raise ValueError(f"input {public_uri(pattern)}: the glob matches no file")
        return files

    def _told(self, fs: Any, path: str, problem: OSError) -> OSError:
        """Return the store's own words for a problem: an answer to HEAD has no room for them."""
        try:
            retry(lambda: fs.ls(path), self._remote)
        except OSError as told:
            return told
        return problem

    def _info(self, fs: Any, path: str) -> dict[str, Any]:
        return retry(lambda: fs.info(path), self._remote)

    def _read_manifest(self, location: str, pattern: str) -> Iterator[InputVideo]:
        local = _local_path(pattern) is not None
        name = public_uri(pattern) if local else _path_of_url(public_uri(pattern))
        try:
            rows = list(read_manifest_rows(self._content(location, local), name))
        except FileNotFoundError:
            raise ValueError(f"input {name}: no such manifest") from None
        except OSError as problem:
            raise ValueError(f"input {name}: cannot be read: {_reason(problem)}") from None
        folder = _absolute(location) if local else _path_of_url(location)
        places = [_resolve(row, folder.rpartition("/")[0]) for row in rows]
        with ThreadPoolExecutor(_THREADS) as pool:
            for row, video in zip(rows, pool.map(self._describe, places), strict=True):
                yield replace(
                    video,
                    licence=row.licence or "unknown",
                    source=row.source,
                    caption=row.caption,
                )

    def _content(self, location: str, local: bool) -> bytes:
        if local:
            with open(location, "rb") as file:
                return file.read()
        fs, path = open_filesystem(location)
        return retry(lambda: read_whole(fs, path), self._remote)

    def _describe(self, place: str) -> InputVideo:
        return describe_file(place) if is_local(place) else self._describe_remote(place)

    def _describe_remote(self, url: str) -> InputVideo:
        """Get size and version; where that fails, reading the file later says why."""
        fs, path = open_filesystem(url)
        location = _location_of(url, fs, path, path)
        try:
            return _from_info(location, self._info(fs, path))
        except OSError:
            return _from_info(location, {})


def _not_listed(pattern: str, problem: OSError) -> ValueError:
    advice = problem.advice if isinstance(problem, NotRead) else ""
    return ValueError(f"input {public_uri(pattern)} cannot be listed: {_reason(problem)}{advice}")


def _reason(problem: OSError) -> str:
    return str(problem.strerror or problem)


def _local_path(pattern: str) -> str | None:
    """Return the local path of a pattern, None when it is remote; ValueError for a slip."""
    if os.path.lexists(pattern):
        return pattern
    location = location_of(pattern)
    if is_url(location) or is_chain(pattern):
        return None
    if location != pattern:  # a file URL
        return path_of_file_url(FILE + location)
    return os.path.expanduser(pattern)


def _absolute(path: str) -> str:
    """Return an absolute path, with `..` kept: it may follow a link."""
    if path.startswith("/"):
        return path
    return os.path.join(os.getcwd(), "" if path == "." else path.removeprefix("./"))


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _path_of_url(url: str) -> str:
    return url.partition("#")[0].partition("?")[0]


def _is_first_visit(folder: str, seen: set[tuple[int, int]]) -> bool:
    try:
        status = os.stat(folder)
    except OSError:
        return False
    key = (status.st_dev, status.st_ino)
    first = key not in seen
    seen.add(key)
    return first


def describe_file(path: str) -> InputVideo:
    """Describe a file of this machine; one that cannot be read has size -1."""
    uri = uri_of_path(_absolute(path))
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # missing or unreadable: a reject with a reason, later
        return InputVideo(uri)
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.R_OK):
        return InputVideo(uri)
    return InputVideo(uri, size_bytes=status.st_size, changed=str(status.st_mtime))


def _from_info(location: str, info: dict[str, Any]) -> InputVideo:
    uri, size = public_uri(location), info.get("size")
    return InputVideo(
        uri,
        size_bytes=-1 if size is None else int(size),
        changed=next((str(info[name]) for name in _VERSIONS if info.get(name)), ""),
        location=location if location != uri else "",
    )


def _location_of(pattern: str, fs: Any, path: str, found: str) -> str:
    """Return how to open what was found below a pattern, whose own path is `path`."""
    if not is_chain(pattern):
        return fs.unstrip_protocol(found)
    if path not in pattern:
        raise ValueError(f"input {public_uri(pattern)}: name the files of this chain one by one")
    before, _, after = pattern.partition(path)
    return before + found + after


def _resolve(row: ManifestRow, folder: str) -> str:
    """Return the absolute path or URL that a row of a manifest in `folder` names."""
    uri, where = row.uri, f"{row.where}, column 'uri'"
    if any(ord(sign) < 32 for sign in uri):
        raise ValueError(
            f"{where}: {shown(uri)!r} holds a control character; write a URL ({FILE}…%0A…)"
        )
    if is_url(uri):
        return _resolve_url(uri, where)
    if uri.startswith("/"):
        return uri
    if ".." in PurePosixPath(uri).parts:
        raise ValueError(f"{where}: {uri!r} leaves the manifest's folder; use an absolute path")
    return f"{folder}/{uri}"


def _resolve_url(url: str, where: str) -> str:
    scheme = url.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise ValueError(
            f"{where}: scheme {scheme!r} is not read; allowed: {', '.join(sorted(SCHEMES))}. "
            "Download the file first"
        )
    try:
        location = location_of(url)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return _absolute(path_of_file_url(FILE + location)) if scheme == "file" else location
