"""Fetch weights from the registry's own addresses, by https, and keep only what is meant."""

import os
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, Protocol

from pipeline.engines.weights import WeightsEntry, digest_of_file, pin, verified

MAX_BYTES = 12 << 30  # of a file whose size the registry does not know
_TIMEOUT_S = 60.0  # of silence
_MAX_S = 6 * 3600.0  # of one file
_BLOCK = 1 << 20


class Response(Protocol):
    """What an opener returns."""

    headers: Any

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


Opener = Callable[[str], Response]


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Hosts of weights redirect to their stores; a step down to http is refused."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):
        if not newurl.startswith("https://"):
            raise ValueError(f"{req.full_url} redirects away from https; not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_https(url: str) -> Response:
    """Open an https address; redirects stay on https."""
    if not url.startswith("https://"):
        raise ValueError(f"weights are fetched by https only, got {url!r}")
    opener = urllib.request.build_opener(_HttpsOnly)
    request = urllib.request.Request(url, headers={"User-Agent": "contextanyone-models"})
    return opener.open(request, timeout=_TIMEOUT_S)


def fetch(
    weights: WeightsEntry, folder: Path, opener: Opener = open_https, trust: bool = False
) -> tuple[Path, str]:
    """Fetch one file into `folder`; return its path and SHA-256.

    A file that is there and right is left alone. The new one appears under its name only when its
    size and hash are right. Without a hash in the registry the hash is pinned; for pickled weights
    only if `trust` says so. Raises ValueError saying what is wrong, OSError for a full disk.
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
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        _download(weights, part, opener)
        if weights.member:
            _extract(weights, part)
        _check(weights, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target, weights.sha256 or pin(target)


def _download(weights: WeightsEntry, part: Path, opener: Opener) -> None:
    exact = weights.size if not weights.member else 0
    limit = exact or MAX_BYTES
    try:
        with closing(opener(weights.url)) as response, open(part, "wb") as file:
            stated = int(response.headers.get("Content-Length") or 0)
            if stated > limit or (exact and stated and stated != exact):
                raise ValueError(f"{weights.url} offers {stated} bytes, expected {exact or limit}")
            received = _copy(response.read, file, limit, weights.url)
            if stated and received != stated:
                raise ValueError(f"{weights.url} broke off after {received} of {stated} bytes")
            os.fsync(file.fileno())
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise ValueError(
            f"{weights.url} cannot be reached ({reason}); on a machine without network copy "
            f"{weights.file} by hand into a folder of CONTEXTANYONE_MODELS"
        ) from error


def _copy(read: Callable[[int], bytes], file: IO[bytes], limit: int, source: str) -> int:
    received, began = 0, time.monotonic()
    while block := read(_BLOCK):
        received += len(block)
        if received > limit:
            raise ValueError(f"{source} sends more than the {limit} bytes that it should")
        if time.monotonic() - began > _MAX_S:
            raise ValueError(f"{source} took longer than {_MAX_S / 3600:g} hours")
        file.write(block)
    return received


def _extract(weights: WeightsEntry, part: Path) -> None:
    """Put one member of the archive in the archive's place; no other name is looked at."""
    inner = part.with_name(f"{part.name}.member")
    try:
        with zipfile.ZipFile(part) as archive, open(inner, "wb") as file:
            with archive.open(weights.member) as member:
                limit = weights.size or MAX_BYTES
                _copy(member.read, file, limit, f"{weights.member} in {weights.url}")
            os.fsync(file.fileno())
        shutil.move(inner, part)
    except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{weights.url} holds no {weights.member}: {error}") from error
    finally:
        inner.unlink(missing_ok=True)


def _check(weights: WeightsEntry, part: Path) -> None:
    size, seen = part.stat().st_size, digest_of_file(part)
    if weights.size and size != weights.size:
        raise ValueError(f"{weights.url} gave {size} bytes, expected {weights.size}")
    if weights.sha256 and seen != weights.sha256:
        raise ValueError(
            f"{weights.url} gave other bytes: SHA-256 {seen}, expected {weights.sha256}; "
            "nothing was kept"
        )
