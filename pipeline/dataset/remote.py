"""Fetch remote files, on any filesystem that fsspec knows, under the policy of `schemas.remote`."""

import errno
import os
import time
from typing import Any

from schemas.remote import Refused, RemoteConfig, open_filesystem, retry
from schemas.uris import is_local

# Of a file of this machine, which may lie on a server that is mounted here.
PASSING = frozenset(
    (
        *(errno.EIO, errno.EAGAIN, errno.ETIMEDOUT, errno.ESTALE, errno.EBUSY, errno.EINTR),
        *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EHOSTDOWN),
        *(errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EREMOTEIO),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT),
    )
)


class TooLarge(Refused):
    """Raised while a file is fetched that is larger than any video may be."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes")
        self.size_bytes = size_bytes


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
