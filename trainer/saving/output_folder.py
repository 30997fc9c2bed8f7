"""Folders of results: written beside their place, and put there when they are whole.

A folder is replaced only when every file in it is one that this program wrote: its record lists
them. What holds anything else, is a file, or is what the result is made from, is left as it is.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainer.saving.complete import read_json, write_json
from trainer.saving.disk import follow_umask, named_faults

_LOCK = ".being-written"


@contextmanager
def whole_folder(
    folder: Path, record: str, force: bool = False, sources: Sequence[Path] = ()
) -> Iterator[Path]:
    """Yield an empty folder to write to; it takes the place of `folder` when all went well.

    record: name of the JSON file inside that lists what was written, see `write_record`.
    force: replace a folder of ours that has content. sources: what the result is made from.
    Raises ValueError for a place that cannot be taken, before anything is written.
    """
    folder = Path(os.path.realpath(folder))
    check_place(folder, record, force, sources)
    partial = folder.with_name(f".{folder.name}.partial")
    with _held(partial):
        try:
            with named_faults(folder):
                yield partial
                follow_umask(path for path in partial.rglob("*") if path.is_file())
                (partial / _LOCK).unlink()
            _replace(folder, partial, record)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def check_place(folder: Path, record: str, force: bool, sources: Sequence[Path]) -> None:
    """Raise ValueError unless a result may be written to this place."""
    if folder == folder.parent:
        raise ValueError(f"{folder} cannot be replaced: choose another folder")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: choose another folder")
    for source in (Path(os.path.realpath(each)) for each in sources):
        if folder == source or folder in source.parents:
            raise ValueError(f"{folder} holds what is read ({source}): choose another folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not force:
        raise ValueError(f"{folder} is not empty: choose another folder, or --force to replace it")
    foreign = _foreign(folder, record)
    if foreign:
        raise ValueError(
            f"{folder} holds {foreign[0]}, which this program did not write ({len(foreign)} such "
            "files), so --force does not replace it: choose another folder, or empty it yourself"
        )


def _foreign(folder: Path, record: str) -> list[str]:
    try:
        ours = set(read_json(folder / record)["files"]) | {record}
    except (ValueError, KeyError, TypeError):
        ours = set()
    return sorted(_files(folder) - ours)


def _files(folder: Path) -> set[str]:
    """Return everything in a folder that is no folder, links too, by relative path."""
    return {
        (Path(at) / name).relative_to(folder).as_posix()
        for at, folders, names in os.walk(folder)
        for name in (*names, *(each for each in folders if (Path(at) / each).is_symlink()))
    }


def write_record(folder: Path, record: str, content: Mapping[str, Any]) -> None:
    """Write the record of a folder that is complete otherwise: `content`, and what lies in it."""
    files = sorted(_files(folder) - {record, _LOCK})
    write_json(folder / record, {**content, "files": files})


@contextmanager
def _held(partial: Path) -> Iterator[None]:
    """Make the folder anew and hold it; only one that a killed process left is removed."""
    lock = partial / _LOCK
    if partial.exists() and any(partial.iterdir()) and not lock.exists():
        raise ValueError(f"{partial} is in the way and was not written here: move it elsewhere")
    partial.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is writing {partial}: wait for it") from None
        for left in partial.iterdir():
            if left != lock:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield


def _replace(folder: Path, partial: Path, record: str) -> None:
    aside = folder.with_name(f".{folder.name}.replaced")
    if aside.exists():  # of a process that was killed after its result was in place
        if _foreign(aside, record):
            raise ValueError(f"{aside} is in the way and was not written here: move it elsewhere")
        shutil.rmtree(aside)
    with suppress(FileNotFoundError):
        os.rename(folder, aside)
    try:
        os.rename(partial, folder)
    except OSError:
        if aside.exists():
            os.rename(aside, folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
