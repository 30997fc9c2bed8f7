"""Fetch weights from the registry's own addresses, by https, and keep only what is meant."""

import fcntl
import os
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, Protocol

from pipeline.engines.weights import WeightsEntry, digest_of_file, pin, verified
from schemas.uris import public_uri

MAX_BYTES = 12 << 30  # of a file whose size the registry does not know
_TIMEOUT_S = 30.0  # of silence
_MAX_S = 6 * 3600.0  # of one file
_BLOCK = 1 << 18
_PARTIAL_CONTENT = 206


class Response(Protocol):
    """What an opener returns."""

    headers: Any

    @property
    def status(self) -> int | None: ...

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


Opener = Callable[[str, int], Response]  # of an address, from a byte on


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Hosts of weights redirect to their stores; a step down to http is refused."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):
        if not newurl.startswith("https://"):
            raise ValueError(f"{public_uri(req.full_url)} redirects away from https; not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_https(url: str, first_byte: int = 0) -> Response:
    """Open an https address from a byte on; redirects stay on https."""
    if not url.startswith("https://"):
        raise ValueError(f"weights are fetched by https only, got {url!r}")
    opener = urllib.request.build_opener(_HttpsOnly)
    headers = {"User-Agent": "contextanyone-models"}
    if first_byte:
        headers["Range"] = f"bytes={first_byte}-"
    return opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)


def fetch(
    weights: WeightsEntry,
    folder: Path,
    opener: Opener = open_https,
    trust: bool = False,
    received: Callable[[int], None] = lambda size: None,
) -> tuple[Path, str]:
    """Fetch one file into `folder`; return its path and SHA-256.

    A file that is there and right is left alone. The new one appears under its name only when its
    size and hash are right; of several processes one fetches and the others wait for it. What
    arrived before a connection broke is kept, and the next call goes on from there. Without a hash
    in the registry the hash is pinned; for pickled weights only if `trust` says so. `received` is
    called with the size of every block. Raises ValueError saying what is wrong, OSError for a
    full disk.
    """
    target = folder / weights.file
    if target.is_file():
        return target, verified(weights, target)
    if not weights.url:
        raise ValueError(f"{weights.name} has no address to fetch from; see {weights.source}")
    if not weights.sha256 and weights.pickled and not trust:
        raise ValueError(
            f"{weights.file} is pickled, which can run code, and the registry has no SHA-256 for "
            "it; fetch it with --trust if you trust its source"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with _only_one(part, target) as file:
        if target.is_file():  # another process was quicker
            return target, verified(weights, target)
        try:
            _download(weights, file, opener, received)
            _put_in_place(weights, part, target)
        except BaseException as error:
            goes_on = isinstance(error, (_BrokenOff, KeyboardInterrupt)) and weights.sha256
            if not goes_on or not part.stat().st_size:
                part.unlink()
            raise
    return target, weights.sha256 or pin(target)


class _BrokenOff(ValueError):
    """The connection was lost: what arrived is the beginning of the file."""


@contextmanager
def _only_one(part: Path, target: Path) -> Iterator[IO[bytes]]:
    """Open the unfinished file for one process at a time.

    Its name may go to the target, or away, while a process waits for it: then it is opened anew.
    """
    while True:
        with open(part, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if target.is_file() or _is_at(file, part):
                yield file
                if target.is_file() and _is_at(file, part):
                    part.unlink()
                return


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _download(
    weights: WeightsEntry, file: IO[bytes], opener: Opener, received: Callable[[int], None]
) -> None:
    """Append what is missing; begin anew where the host cannot go on from there."""
    exact = weights.size if not weights.member else 0
    limit = exact or MAX_BYTES
    here = file.seek(0, os.SEEK_END)
    if exact and here == exact:
        received(here)
        return
    try:
        with closing(opener(weights.url, here)) as response:
            if here and response.status != _PARTIAL_CONTENT:
                file.truncate(0)
                here = 0
            received(here)
            stated = int(response.headers.get("Content-Length") or 0)
            total = here + stated
            if total > limit or (exact and stated and total != exact):
                raise ValueError(f"{weights.url} offers {total} bytes, expected {exact or limit}")
            size = _copy(response.read, file, limit - here, weights.url, received)
            file.flush()
            os.fsync(file.fileno())
            if stated and size != stated:
                raise _BrokenOff(f"{weights.url} broke off after {here + size} of {total} bytes")
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise _BrokenOff(
            f"{weights.url} cannot be reached ({reason}); on a machine without network copy "
            f"{weights.file} by hand into a folder of CONTEXTANYONE_MODELS"
        ) from error


def _put_in_place(weights: WeightsEntry, part: Path, target: Path) -> None:
    """Give the file its name, once it is what is meant; nothing else is kept."""
    inner = part.with_name(f"{part.name}.member")
    try:
        if weights.member:
            _extract(weights, part, inner)
        done = inner if weights.member else part
        _check(weights, done)
        done.replace(target)
    finally:
        inner.unlink(missing_ok=True)


def _copy(
    read: Callable[[int], bytes],
    file: IO[bytes],
    limit: int,
    source: str,
    received: Callable[[int], None] = lambda size: None,
) -> int:
    copied, began = 0, time.monotonic()
    while block := read(_BLOCK):
        copied += len(block)
        if copied > limit:
            raise ValueError(f"{source} sends more than the {limit} bytes that it should")
        if time.monotonic() - began > _MAX_S:
            raise ValueError(f"{source} took longer than {_MAX_S / 3600:g} hours")
        file.write(block)
        received(len(block))
    return copied


def _extract(weights: WeightsEntry, archive: Path, inner: Path) -> None:
    """Copy one member of the archive out of it; no other name is looked at."""
    limit = weights.size or MAX_BYTES
    source = f"{weights.member} in {weights.url}"
    try:
        with (
            open(inner, "wb") as file,
            zipfile.ZipFile(archive) as opened,
            opened.open(weights.member) as member,
        ):
            _copy(member.read, file, limit, source)
            file.flush()
            os.fsync(file.fileno())
    except (zipfile.BadZipFile, KeyError, RuntimeError) as error:
        raise ValueError(f"{weights.url} holds no {weights.member}: {error}") from error


def _check(weights: WeightsEntry, part: Path) -> None:
    size, seen = part.stat().st_size, digest_of_file(part)
    if weights.size and size != weights.size:
        raise ValueError(f"{weights.url} gave {size} bytes, expected {weights.size}")
    if weights.sha256 and seen != weights.sha256:
        raise ValueError(
            f"{weights.url} gave other bytes: SHA-256 {seen}, expected {weights.sha256}; "
            "nothing was kept"
        )
