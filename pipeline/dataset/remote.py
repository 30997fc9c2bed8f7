"""Read remote files, on any filesystem that fsspec knows, with retries.

A busy server says nothing about a file. Transient errors are tried again with growing pauses; one
that lasts is `NotRead`, and only what a server says about the file itself is an OSError.
"""

import errno
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.dataset.uris import is_local
from schemas.settings import check_settings, setting
from schemas.start import remedy_of

CHAINS = frozenset({"zip", "tar", "libarchive", "simplecache", "filecache", "blockcache"})
_FACTS = {  # libraries raise them without a number
    FileNotFoundError: errno.ENOENT,
    PermissionError: errno.EACCES,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
}
_PASSING_STATUS = frozenset({408, 425, 429})  # of the 4xx; from 500 on all may pass
# Of a file of this machine, which may lie on a server that is mounted here.
PASSING = frozenset(
    (
        *(errno.EIO, errno.EAGAIN, errno.ETIMEDOUT, errno.ESTALE, errno.EBUSY, errno.EINTR),
        *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EHOSTDOWN),
        *(errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EREMOTEIO),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT),
    )
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CONNECT_S, _SILENCE_S = 30, 60  # of a web server, until it counts as a passing error
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class RemoteConfig:
    """How remote videos are read.

    Attributes:
        attempts: how often a file is tried before it counts as not read in this run.
        pause_s: seconds before the second attempt; every further pause is twice as long, give or
            take a half, so that many workers do not come back at one moment.
        deadline_s: seconds that all attempts at one file may take together.
        cache_gib: disk on each machine for files that were fetched, so that a long video is
            fetched once and not once for each of its parts; 0 keeps none.
    """

    attempts: int = setting(5, low=1, high=100)
    pause_s: float = setting(1.0, low=0, high=3600, unit="s")
    deadline_s: float = setting(3600.0, above=0, high=7 * 86400, unit="s")
    cache_gib: float = setting(20.0, low=0, high=1_000_000, unit="GiB")

    def __post_init__(self) -> None:
        check_settings(self, "run.remote")


class NotRead(Exception):
    """Raised when a file could not be read this time; says nothing about the file."""


class TooLarge(Exception):
    """Raised while a file is fetched that is larger than any video may be."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes")
        self.size_bytes = size_bytes


def is_chain(location: str) -> bool:
    """Return whether `a::b` is a filesystem inside another, and not a name with two colons."""
    first, mark, _ = location.partition("::")
    return bool(mark) and first.partition("://")[0] in CHAINS


def open_filesystem(location: str) -> tuple[Any, str]:
    """Return the filesystem of a URL and the path there.

    Raises ValueError when fsspec does not know it, or needs a package for it.
    """
    import fsspec

    try:
        if is_chain(location):
            return fsspec.core.url_to_fs(location)
        scheme = location.partition("://")[0].lower()
        kind: Any = fsspec.get_filesystem_class(scheme)
        options = kind._get_kwargs_from_urls(location)
        if scheme in ("http", "https"):
            options |= _web_options(location)
        return kind(**options), kind._strip_protocol(location)
    except ImportError as error:
        remedy = remedy_of(error) or error
        raise ValueError(f"{location.partition('://')[0]}:// cannot be read: {remedy}") from None


def _web_options(url: str) -> dict[str, Any]:
    """Send a URL that is encoded already as it is, and wait for bytes, not for the whole file."""
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
    return {"encoded": url.isascii() and " " not in url, "client_kwargs": {"timeout": patience}}


def retry(action: Callable[[], _Result], config: RemoteConfig) -> _Result:
    """Return the result of `action`, called again after transient errors.

    Raises OSError for a fact about the file, TooLarge, and NotRead for everything else: what a
    filesystem's library raises is not ours to list.
    """
    give_up = time.monotonic() + config.deadline_s
    attempt = 0
    while True:
        attempt += 1
        try:
            return action()
        except (TooLarge, NotRead):
            raise
        except Exception as error:
            fact = fact_of(error)
            if fact is not None:
                raise fact from None
            problem = describe(error)
            hopeless = isinstance(error, OSError) and error.errno in _FULL
        pause_s = config.pause_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
        if hopeless or attempt == config.attempts or time.monotonic() + pause_s > give_up:
            raise NotRead(f"{problem}, after {attempt} attempt{'s' * (attempt > 1)}")
        time.sleep(pause_s)


def fact_of(error: BaseException) -> OSError | None:
    """Return what an error says about the file itself, None for a transient one."""
    status = _status_of(error)
    if status in (404, 410):
        return FileNotFoundError(errno.ENOENT, f"HTTP {status}")
    if 400 <= status < 500 and status not in _PASSING_STATUS:
        return PermissionError(errno.EACCES, f"HTTP {status}")
    if status:
        return None
    number = next((n for kind, n in _FACTS.items() if isinstance(error, kind)), 0)
    if isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
        number = error.errno
    return OSError(number, os.strerror(number)) if number else None


def _status_of(error: BaseException) -> int:
    """Return the HTTP status behind an error; fsspec hides one behind FileNotFoundError."""
    for cause in (error, error.__cause__):
        status = getattr(cause, "status", None)
        if isinstance(status, int):
            return status
    return 0


def describe(error: BaseException) -> str:
    """Return a few words about an error; never its text, which may hold the URL."""
    status = _status_of(error)
    if status:
        return f"HTTP {status}"
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return f"{type(error).__name__} {code}" if code else type(error).__name__


def _transfer_limit(limit_bytes: int, end: float) -> Any:
    """Return a callback that ends a transfer that is too large or too slow."""
    from fsspec.callbacks import Callback

    class TransferLimit(Callback):
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > limit_bytes:
                raise TooLarge(self.value)
            if time.monotonic() > end:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    return TransferLimit()


def fetch(
    location: str, target: str, size_bytes: int, limit_bytes: int, config: RemoteConfig
) -> None:
    """Copy a file to this machine, once if nothing goes wrong.

    `size_bytes` is what the listing said, -1 unknown: fewer bytes are a broken transfer. Raises
    OSError for a fact about the file, TooLarge, NotRead.
    """
    assert not is_local(location), "a file of this machine is read where it is"
    if size_bytes > limit_bytes:
        raise TooLarge(size_bytes)
    end = time.monotonic() + config.deadline_s

    def attempt() -> None:
        fs, path = open_filesystem(location)
        fs.get_file(path, target, callback=_transfer_limit(limit_bytes, end))
        got = os.path.getsize(target)
        if got < size_bytes:
            raise ConnectionError(errno.ECONNRESET, f"{got} of {size_bytes} bytes came")

    retry(attempt, config)
