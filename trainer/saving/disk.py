"""What every library makes of a full disk, in one form; and the modes that files get."""

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_NUMBER = re.compile(r"\(os error (\d+)\)")  # in the messages of libraries written in Rust
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_THE_DISK = (*_FULL, errno.EFBIG, errno.EIO, errno.EROFS)
_OF_TORCH_SAVE = re.compile(r"inline_container|PytorchStreamWriter")  # it keeps the reason secret
_LITTLE_BYTES = 2**20


@contextmanager
def named_faults(path: Path) -> Iterator[None]:
    """Raise OSError with a path for whatever a library raises when the disk takes no more."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename and error.errno not in _OF_THE_DISK):
            raise
        raise _named(error.errno, path, str(error)) from error
    except Exception as error:  # safetensors and torch raise what is no OSError
        number = _number_of(error, path)
        if number is None:
            raise
        raise _named(number, path, str(error)) from error


def _number_of(error: Exception, path: Path) -> int | None:
    found = _NUMBER.search(str(error))
    if found:
        return int(found[1])
    if _OF_TORCH_SAVE.search(str(error)):
        free = shutil.disk_usage(_existing(path)).free
        return errno.ENOSPC if free < _LITTLE_BYTES else errno.EIO
    return None


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.absolute().parents) if each.exists())


def _named(number: int, path: object, text: str) -> OSError:
    reason = "disk full" if number in _FULL else os.strerror(number)
    return OSError(number, f"{reason} ({text.splitlines()[0][:200]})", str(path))


def umask() -> int:
    """Return the mask of the modes of new files."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def follow_umask(paths: Iterable[Path], mask: int | None = None) -> None:
    """Give files the mode that a plain open() would; some libraries let only their owner read."""
    mask = umask() if mask is None else mask
    for path in paths:
        os.chmod(path, 0o666 & ~mask)
