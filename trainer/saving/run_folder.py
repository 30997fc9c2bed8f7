"""The folder of a training: which run it is of, and that nobody else trains in it.

run.json   the run's id, what it was begun from, and the data of each stretch of its steps
.lock      held by the training that is going on
"""

import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trainer.distributed.together import from_first
from trainer.saving.complete import checkpoints, has_checkpoints, read_json, write_json

RUN, LOCK = "run.json", ".lock"
# What a training writes; a folder with these and without run.json is of something else, or of the
# first version, which had checkpoints.
_WRITTEN = ("config.yaml", "metrics.jsonl", "train.log", "latest.json", "tensorboard", "validation")


@dataclass(frozen=True)
class RunRecord:
    """Which run a folder is of.

    Attributes:
        run_id: drawn when the run began; in every checkpoint and every model that comes of it.
        begun_from: run id and step of the checkpoint of another run that it went on from.
        stretches: from which step on it was trained on which data.
    """

    run_id: str
    begun_from: Mapping[str, Any] | None = None
    stretches: tuple[Mapping[str, Any], ...] = ()

    def trained_on(self, step: int, data: Mapping[str, Any]) -> "RunRecord":
        """Return the record of a run that goes on after `step` with this data."""
        before = tuple(each for each in self.stretches if each["after_step"] < step)
        if before and before[-1]["data"] == data:
            return replace(self, stretches=before)
        return replace(self, stretches=(*before, {"after_step": step, "data": dict(data)}))

    def write(self, folder: Path) -> None:
        write_json(folder / RUN, {**asdict(self), "stretches": list(self.stretches)})


@contextmanager
def claimed(folder: Path, rank: int) -> Iterator[RunRecord]:
    """Make the folder if need be, keep every other training out of it, and yield whose it is.

    Every process calls it. Raises OSError for a place that is no run and cannot become one, and
    for one in which a training is going on.
    """
    lock: list[int] = []
    try:
        yield from_first(lambda: _claim(folder, lock), OSError)
    finally:
        for descriptor in lock:
            os.close(descriptor)


def _claim(folder: Path, lock: list[int]) -> RunRecord:
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: choose another --output")
    known = _read(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written: choose another --output")
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    lock.append(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 200).decode(errors="replace")
        raise BlockingIOError(
            f"{folder} is being trained by process {holder}: wait for it, or choose another "
            "--output"
        ) from None
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} on {os.uname().nodename}".encode(), 0)
    if known is None:
        known = RunRecord(uuid.uuid4().hex[:16])
        known.write(folder)
    return known


def _read(folder: Path) -> RunRecord | None:
    if (folder / RUN).exists():
        raw = read_json(folder / RUN)
        if not isinstance(raw.get("run_id"), str):
            raise OSError(f"{folder / RUN} is of something else: choose another --output")
        return RunRecord(raw["run_id"], raw.get("begun_from"), tuple(raw.get("stretches", ())))
    there = [name for name in _WRITTEN if (folder / name).exists()]
    if there and not has_checkpoints(folder):
        raise FileExistsError(
            f"{folder} holds {there[0]} and no training: choose another --output, so that nothing "
            "is overwritten"
        )
    return None


def check_may_resume(folder: Path, record: RunRecord, checkpoint: Path, theirs: str) -> None:
    """Raise ValueError when a run has checkpoints and would go on from that of another.

    theirs: the run id in the checkpoint, '' in one of the first version.
    """
    inside = checkpoint.resolve().parent == checkpoints(folder).resolve()
    ours = theirs == record.run_id or (inside and not theirs)
    if has_checkpoints(folder) and not ours:
        raise ValueError(
            f"{checkpoint} is of another run ({theirs or 'of unknown id'}), and {folder} has "
            f"checkpoints of its own ({record.run_id}): choose a new --output to begin from it"
        )
