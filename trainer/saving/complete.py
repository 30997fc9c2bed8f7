"""Folders that are seen whole or not at all: written hidden, listed with hashes, then renamed.

checkpoints/.step-00000100.partial/   being written
checkpoints/step-00000100/            complete: COMPLETE.json lists every file
latest.json                           names the newest, for people; a reader never relies on it
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

COMPLETE = "COMPLETE.json"
POINTER = "latest.json"
FAULT = "CONTEXTANYONE_FAULT"  # names the boundary at which a test kills this process
_NAME = re.compile(r"step-(\d{8,})")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MAX_JSON_BYTES = 16 * 2**20
_logger = logging.getLogger(__name__)


def boundary(name: str) -> None:
    """Mark a point between two changes of the disk; a test may kill the process here."""
    if os.environ.get(FAULT) == name:
        os.kill(os.getpid(), 9)


def checkpoints(run: Path) -> Path:
    """Return the folder of a run that holds its checkpoints."""
    return run / "checkpoints"


def folder_of(run: Path, step: int) -> Path:
    """Return where the checkpoint after `step` updates is published."""
    return checkpoints(run) / f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """Return the step in a checkpoint's name."""
    return int(folder.name.removeprefix("step-"))


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """Return the size and hash of a file, as COMPLETE.json lists them."""
    return {"size_bytes": path.stat().st_size, "sha256": sha256_of(path)}


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file; a crash leaves the old content or the new."""
    staged = path.with_name(f".{path.name}.tmp")
    try:
        with staged.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        boundary(f"staged {path.name}")
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)
    sync(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or raise ValueError that names the file."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def publish(run: Path, step: int, partial: Path, files: Mapping[str, Mapping[str, Any]]) -> Path:
    """Turn a partial folder, whose files are on the disk, into the checkpoint of a step."""
    folder = folder_of(run, step)
    write_json(partial / COMPLETE, {"step": step, "files": files})
    boundary("complete written")
    aside = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():  # this step again, after resuming from an earlier one
        os.rename(folder, aside)
    os.rename(partial, folder)
    sync(folder.parent)
    boundary("published")
    write_json(run / POINTER, {"checkpoint": folder.name})
    boundary("pointer written")
    return folder


def purge(run: Path, keep: int) -> None:
    """Delete all complete checkpoints but the newest `keep`, and what killed writers left."""
    for path in checkpoints(run).glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)
    complete = [folder for folder in _folders(run) if problem_of(folder) is None]
    for folder in complete[max(keep, 1) :]:
        try:
            remove(folder)
        except OSError as error:  # the new one is safe, which is what a save is for
            _logger.warning("%s cannot be deleted: %s", folder, error)
        boundary("purged one")


def remove(folder: Path) -> None:
    """Delete a published folder; it is hidden first, so that nobody takes half of it for whole."""
    hidden = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(hidden, ignore_errors=True)
    os.rename(folder, hidden)
    boundary("hidden for removal")
    shutil.rmtree(hidden, ignore_errors=True)


def set_aside_after(run: Path, step: int) -> list[Path]:
    """Hide the checkpoints of later steps, which a run resumed at `step` will write again.

    They go when a new checkpoint is complete. Returns where they are until then.
    """
    hidden = []
    for folder in _folders(run):
        if step_of(folder) > step:
            aside = folder.with_name(f".{folder.name}.aside")
            number = 1
            while aside.exists():
                number += 1
                aside = folder.with_name(f".{folder.name}.aside-{number}")
            os.rename(folder, aside)
            boundary("set aside")
            hidden.append(aside)
    return hidden


def find_newest(run: Path, leave_out: Collection[Path] = ()) -> Path | None:
    """Return the newest complete checkpoint of a run, None when there is none.

    Complete means that every listed file has its size; the hashes are compared when it is loaded.
    Warns when the pointer, or a folder newer than the result, is not as a finished save leaves it.
    """
    newest = None
    for folder in _folders(run):
        problem = "its content is damaged" if folder in leave_out else problem_of(folder)
        if problem is None:
            newest = folder
            break
        _logger.warning("%s is not complete, looking for an older one: %s", folder, problem)
    if newest is not None or (run / POINTER).exists():
        _check_pointer(run)
    return newest


def has_checkpoints(run: Path) -> bool:
    """Tell whether a run has published a checkpoint, whatever became of it since."""
    return bool(_folders(run))


def _folders(run: Path) -> list[Path]:
    root = checkpoints(run)
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of, reverse=True)


def _check_pointer(run: Path) -> None:
    pointer = run / POINTER
    try:
        name = read_json(pointer).get("checkpoint")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{pointer} names no checkpoint: {name!r}")
        problem = problem_of(checkpoints(run) / name)
        if problem is not None:
            raise ValueError(f"{pointer} names {name}, which is not complete: {problem}")
    except ValueError as error:
        _logger.warning("searching all checkpoints: %s", error)


def problem_of(folder: Path) -> str | None:
    """Return why a folder is no complete checkpoint, None when it is. Reads no large file."""
    try:
        files = listed_files(folder)
        for name, entry in files.items():
            size = (folder / name).stat().st_size
            if size != entry["size_bytes"]:
                return f"{name} has {size} bytes, {entry['size_bytes']} are listed"
        present = {path.name for path in folder.iterdir()} - {COMPLETE}
    except (OSError, ValueError) as error:
        return str(error)
    extra = sorted(present - set(files))
    return f"{extra[0]} is not listed in {COMPLETE}" if extra else None


def listed_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the files that COMPLETE.json lists, or raise ValueError."""
    files = read_json(folder / COMPLETE).get("files")
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{folder / COMPLETE} lists no files")
    for name, entry in files.items():
        if not _FILE.fullmatch(name) or name == COMPLETE:
            raise ValueError(f"{folder / COMPLETE} lists {name!r}, which is no plain file name")
        if not isinstance(entry, dict) or not {"size_bytes", "sha256"} <= entry.keys():
            raise ValueError(f"{folder / COMPLETE} has no size or hash of {name}")
    return files


def check_hashes(
    folder: Path, names: Sequence[str], check: Callable[[Path], None] | None = None
) -> None:
    """Compare these files with their listed hashes, then apply `check`; ValueError names one."""
    files = listed_files(folder)
    for name in names:
        path = folder / name
        if path.is_symlink() or sha256_of(path) != files[name]["sha256"]:
            raise ValueError(
                f"{path} is not the file that was saved (its sha256 differs); "
                "resume from another checkpoint"
            )
        if check is not None:
            check(path)
