"""Files and folders that a command line or a dataset names, refused in one line if unusable."""

import re
from argparse import ArgumentTypeError
from pathlib import Path, PurePosixPath

from schemas.locations import location_of, shown

_ELSEWHERE = re.compile(r"(?!file:/)[A-Za-z][A-Za-z0-9+.-]+:/", re.IGNORECASE)


def local_path(text: str | Path) -> Path:
    """Return the path that an argument names.

    Raises ArgumentTypeError for a URL: as a path it would be a folder of this machine named `s3:`.
    """
    if _ELSEWHERE.match(str(text)):
        raise ArgumentTypeError(
            f"must be on this machine, got {shown(text)!r}; copy from or to a local folder"
        )
    try:
        return Path(location_of(text))
    except ValueError as error:  # of argparse's wording, a ValueError would lose its own
        raise ArgumentTypeError(str(error)) from None


def inside(path: str) -> str:
    """Return a path of a dataset, or raise ValueError for one that leaves its folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or "\\" in path:
        raise ValueError(f"path must be relative and stay inside the dataset, got {path!r}")
    return path


def read_file(flag: str, path: str | Path, expected: str) -> bytes:
    """Return a file's content. Raises ValueError naming the flag, the path and what to give."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        reason = "there is no such file"
    except IsADirectoryError:
        reason = "it is a folder"
    except OSError as error:
        reason = error.strerror or repr(error)
    raise ValueError(f"{flag} {path} cannot be read: {reason}; give {expected}")


def read_text(flag: str, path: str | Path, expected: str) -> str:
    """Return a UTF-8 file's text. Raises ValueError like `read_file`."""
    try:
        return read_file(flag, path, expected).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{flag} {path} is not text in UTF-8 ({error}); give {expected}") from None


def make_folder(flag: str, path: Path) -> None:
    """Create a folder and its parents. Raises ValueError where a file is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"{flag} must be a folder, got {path}: a file is in the way") from None
