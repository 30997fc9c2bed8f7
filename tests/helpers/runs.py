"""Run the job as a user does, and read what it made."""

import os
import subprocess
import sys
from pathlib import Path

import fast_engines
import pyarrow.parquet as pq
from patience import HANG_S
from places import HELPERS, script
from synthetic import moving_shapes, write_video

from pipeline.dataset.tables import current_files

JOB = script("curate")
FPS = 24


def draw_video(path: Path, seed: int, corner: tuple[int, int, int] | None = None) -> None:
    """Draw two shots of 2.5 s that no other seed has; `corner` paints one patch."""
    frames = []
    for shot in (2 * seed, 2 * seed + 1):
        frames += moving_shapes(round(2.5 * FPS), (320, 240), shot, first=7 * seed)
    if corner is not None:
        for frame in frames:
            frame[:48, :48] = corner
    write_video(path, frames, FPS)


TWO_WORKERS = ("--set", "run.cluster.workers=2")


def command(output: Path | str, *inputs: Path | str, extra=()) -> list[str]:
    """One worker, unless `extra` says otherwise: starting another costs more than it brings."""
    return [
        *(sys.executable, JOB, "--input", *map(str, inputs), "--output", str(output)),
        *fast_engines.SETTINGS,
        *("--set", "run.cluster.workers=1"),
        *extra,
    ]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(HELPERS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def curate(
    output: Path | str, *inputs: Path | str, extra=(), code=0
) -> subprocess.CompletedProcess:
    """Run the job and assert its exit code."""
    done = subprocess.run(
        command(output, *inputs, extra=extra),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def content(output: Path) -> dict[str, bytes]:
    """Return every file of a dataset but the notes on where inputs were."""
    files = (path for path in output.rglob("*") if path.is_file() and path.name != "inputs.parquet")
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def rows(output: Path, table: str) -> list[dict]:
    """Return the rows of a table of the newest version."""
    return [row for path in current_files(output, table) for row in pq.read_table(path).to_pylist()]
