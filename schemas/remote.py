"""One policy for every call to another machine, or to a disk: read, list, write, delete.

What a server says of a file is a fact, at once: it is missing, or forbidden. What somebody has to
put right, such as a region or a quota, is a `LastingFault`, at once. Everything else may pass, lost
credentials too, and is tried again with growing pauses; what lasts longer is `NotRead`. Both say
nothing of the file, and the next run tries again. How often calls were repeated is counted. A
folder's passing errors, of a disk or a mount, are repeated in the same way.
"""

import contextlib
import errno
import io
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from schemas.call_errors import (
    LastingFault,
    NotRead,
    describe,
    fact_of,
    is_lasting,
    lacks_credentials,
)
from schemas.locations import S3_SCHEMES, location_of
from schemas.settings import check_settings, setting
from schemas.start import remedy_of
from schemas.web import WEB_SCHEMES, web_options

CHAINS = frozenset({"zip", "tar", "libarchive", "simplecache", "filecache", "blockcache"})
POLICY = "CONTEXTANYONE_REMOTE"  # environment: attempts=5,pause_s=1,deadline_s=3600
# What a disk, or a folder that is mounted from elsewhere, answers when it cannot do it just now.
_PASSING_ERRORS = frozenset(
    {
        *(errno.EIO, errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO),
        *(errno.ECONNRESET, errno.ECONNABORTED, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    }
)
_WORDS: dict[str, Callable[[str], Any]] = {  # of the environment
    "attempts": int,
    "pause_s": float,
    "deadline_s": float,
    "cache_gib": float,
    "private_web": lambda text: {"true": True, "false": False}[text.strip().lower()],
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BLOCK = 1 << 20  # read ahead of a file that is read in pieces
_repeated: Counter[str] = Counter()
_answered: list[bool] = []  # whether some server has, in this process
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class RemoteConfig:
    """How patient the calls to other machines are.

    Attributes:
        attempts: how often a call is tried before it counts as failed in this run.
        pause_s: seconds before the second attempt; every further pause is twice as long, give or
            take a half, so that many workers do not come back at one moment.
        deadline_s: seconds that all attempts at one call may take together.
        cache_gib: disk on each machine for files that were fetched, so that a long video is
            fetched once and not once for each of its parts; 0 keeps none.
        private_web: open http addresses of private networks and of this machine too.
    """

    attempts: int = setting(5, low=1, high=100)
    pause_s: float = setting(1.0, low=0, high=3600, unit="s")
    deadline_s: float = setting(3600.0, above=0, high=7 * 86400, unit="s")
    cache_gib: float = setting(20.0, low=0, high=1_000_000, unit="GiB")
    private_web: bool = False

    def __post_init__(self) -> None:
        check_settings(self, "run.remote")


class Refused(Exception):
    """Raised by an action that must not be tried again."""


def use_policy(config: RemoteConfig) -> RemoteConfig:
    """Let this process and its workers be as patient as `config`; return what is in force.

    Where `config` is the default, the environment decides.
    """
    if config == RemoteConfig():
        return policy()
    os.environ[POLICY] = ",".join(f"{name}={getattr(config, name)}" for name in _WORDS)
    return config


def policy() -> RemoteConfig:
    """Return the policy of this process. Raises ValueError for words that are none."""
    text = os.environ.get(POLICY, "")
    values = {}
    for word in filter(None, text.split(",")):
        name, _, value = word.partition("=")
        try:
            values[name.strip()] = _WORDS[name.strip()](value)
        except (KeyError, ValueError):
            raise ValueError(
                f"{POLICY} must read like attempts=5,pause_s=1,deadline_s=3600, got {word!r}"
            ) from None
    return RemoteConfig(**values)


def is_chain(location: str) -> bool:
    """Return whether `a::b` is a filesystem inside another, and not a name with two colons."""
    first, mark, _ = location.partition("::")
    return bool(mark) and first.partition("://")[0] in CHAINS


def open_filesystem(location: str) -> tuple[Any, str]:
    """Return the filesystem of a URL and the path there. Nothing that it lists is remembered.

    Raises ValueError when fsspec does not know it, or needs a package for it, and for a slip.
    """
    import fsspec

    location = location_of(location)
    try:
        private = policy().private_web
        if is_chain(location):
            schemes = {link.partition("://")[0].lower() for link in location.split("::")}
            web = {name: web_options(location, private) for name in schemes & WEB_SCHEMES}
            return fsspec.core.url_to_fs(location, **web)
        scheme = location.partition("://")[0].lower()
        kind: Any = fsspec.get_filesystem_class(scheme)
        options = kind._get_kwargs_from_urls(location) | {"use_listings_cache": False}
        if scheme in WEB_SCHEMES:
            options |= web_options(location, private)
        if scheme in S3_SCHEMES:  # it would repeat by itself, unseen and without patience
            options |= {"config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": 1}}}
        return kind(**options), kind._strip_protocol(location)
    except ImportError as error:
        remedy = remedy_of(error) or error
        raise ValueError(f"{location.partition('://')[0]}:// cannot be used: {remedy}") from None


def retry(action: Callable[[], _Result], config: RemoteConfig | None = None) -> _Result:
    """Return the result of `action`, called again after transient errors.

    Raises OSError for a fact about the file, LastingFault for what somebody has to put right, and
    NotRead for everything else: what a filesystem's library raises is not ours to list. `Refused`
    and `NotRead` of the action itself pass.
    """
    config = config or policy()
    give_up = time.monotonic() + config.deadline_s
    attempt = 0
    while True:
        attempt += 1
        try:
            result = action()
            _note_answer()
            return result
        except (Refused, NotRead):
            raise
        except Exception as error:
            fact = fact_of(error)
            if fact is not None:
                _note_answer()
                raise fact from None
            problem = describe(error)
            if is_lasting(error):
                raise LastingFault(problem) from None
            attempts = _attempts_at(error, config)
        pause_s = config.pause_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
        if attempt >= attempts or time.monotonic() + pause_s > give_up:
            raise NotRead(f"{problem}, after {attempt} attempt{'s' * (attempt > 1)}")
        _repeated[problem.partition(": ")[0]] += 1
        time.sleep(pause_s)


def _note_answer() -> None:
    if not _answered:
        _answered.append(True)


def _attempts_at(error: Exception, config: RemoteConfig) -> int:
    """Return how often a call is tried that failed like this."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return 1
    if not lacks_credentials(error):
        return config.attempts
    _look_for_credentials()
    # Where nothing was ever read there may be none at all, which is said soon.
    return config.attempts if _answered else min(config.attempts, 2)


def _look_for_credentials() -> None:
    """Let S3's clients take credentials that have come: one that was made without keeps none."""
    library: Any = sys.modules.get("s3fs")
    for filesystem in list(library.S3FileSystem._cache.values()) if library else ():
        with contextlib.suppress(Exception):  # the next attempt says what is wrong
            if library.core.sync(filesystem.loop, filesystem.session.get_credentials):
                filesystem.connect(refresh=True)  # 12 MiB each time: only where some are found


def retry_local(action: Callable[[], _Result]) -> _Result:
    """Return the result of `action` on a folder, called again after errors that may pass.

    Raises the last of them as it is: unlike a server, a disk that fails for long ends the run.
    """
    config, attempt = policy(), 0
    while True:
        attempt += 1
        try:
            return action()
        except OSError as error:
            if error.errno not in _PASSING_ERRORS or attempt == config.attempts:
                raise
            _repeated[describe(error)] += 1
        time.sleep(config.pause_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))


def take_repeated() -> Counter[str]:
    """Return how often calls were repeated in this process since the last time, by reason."""
    taken = Counter(_repeated)
    _repeated.clear()
    return taken


def add_repeated(repeated: Counter[str]) -> None:
    """Count what a worker has repeated."""
    _repeated.update(repeated)


def read_whole(filesystem: Any, path: str) -> bytes:
    """Read a file of a store in one request, so that what it refuses is told with the reason.

    s3fs would ask for the size before, and the answer to HEAD has no room for a reason.
    """
    of_s3 = "s3" in filesystem.protocol  # a name, or several
    return filesystem.cat_file(path, **({"max_concurrency": 1} if of_s3 else {}))


class RemoteFile(io.RawIOBase):
    """A remote file, opened for reading at any place; every range is read under the policy."""

    def __init__(self, filesystem: Any, path: str, ahead: int = _BLOCK) -> None:
        from fsspec.caching import BaseCache, ReadAheadCache

        super().__init__()
        self._filesystem, self._path, self._place = filesystem, path, 0
        self.name = path
        self.size = int(retry(lambda: filesystem.info(path))["size"])
        kind = ReadAheadCache if ahead else BaseCache
        self._cache = kind(ahead, self._fetch, self.size)

    def _fetch(self, start: int, end: int) -> bytes:
        def fetch() -> bytes:
            content = self._filesystem.cat_file(self._path, start=start, end=end)
            if len(content) != end - start:
                raise ConnectionError(errno.ECONNRESET, "an answer was cut off")
            return content

        return retry(fetch) if end > start else b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        end = self.size if size is None or size < 0 else min(self.size, self._place + size)
        content = bytes(self._cache._fetch(self._place, end)) if end > self._place else b""
        self._place += len(content)
        return content

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
