"""The training command with small settings, as a user runs it."""

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from patience import HANG_S
from places import ROOT

SCRIPT = str(ROOT / "trainer" / "train.py")
SMALL = {
    "model.layers": 1,
    "model.heads": 2,
    "model.head_dim": 24,
    "model.ffn_dim": 64,
    "model.freq_dim": 32,
    "data.buckets": "[32x48x5]",
    "data.num_workers": 0,
    "optimizer.schedule": "constant",
    "train.batch_size": 4,
    "train.micro_batch": 2,
    "validation.sampling.steps": 2,
    "validation.samples": 2,
}


class Outcome(NamedTuple):
    code: int
    errors: str


def arguments(data: Path, run: Path, *extra: str, **changes) -> list[str]:
    settings = {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}}
    flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return ["--preset", "tiny", "--data", str(data), "--output", str(run), *flags, *extra]


def run_main(words: list[str]) -> Outcome:
    """Run the command in this process, which is one of a one's."""
    from trainer.train import main

    sys.argv = ["train.py", *words]
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            code = main()
        except SystemExit as stopped:
            code = stopped.code
    return Outcome(int(code or 0), errors.getvalue())


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def pids_of(run: Path) -> dict[int, str]:
    """Return the processes that have a run in their command line, with that line."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                gone = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if str(run) in line and not gone:
                found[int(folder.name)] = line
    return found


def steps_of(run: Path) -> list[int]:
    """Return the steps that were trained by now."""
    lines = metrics(run) if (run / "metrics.jsonl").exists() else []
    return [line["step"] for line in lines if "loss/total" in line]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert condition()
