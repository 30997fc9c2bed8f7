"""Count what became of every row, and show it: progress while it runs, the funnel at the end."""

import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeline.execution.stage import Count
from schemas.manifest import FunnelRow
from schemas.remote import take_repeated
from schemas.tables import Reject

# the order in which a video meets the stages
STAGES = ("probe", "shots", "clips", "scores", "bars", "tracks", "camera", "faces", "candidates")
STAGES += ("sound", "videos", "quality", "people", "characters", "edits", "references", "review")
LEVELS = ("video", "part", "clip", "track", "candidate", "edit", "sample")
_LINE_EVERY_S = 10.0
_ETA_FROM = 0.05  # share of the work that an estimate needs: workers start up first


def funnel(counts: dict[tuple[str, str], Count], rejects: Iterable[Reject]) -> list[FunnelRow]:
    """Return one row per stage and level, in the order of the stages, with reasons counted."""
    reasons: dict[tuple[str, str], Counter] = {}
    for reject in rejects:
        reasons.setdefault((reject.stage, reject.level), Counter())[reject.reason] += reject.number
    rows = []
    for stage, level in sorted(counts, key=_order):
        count = counts[stage, level]
        by_reason = dict(sorted(reasons.get((stage, level), Counter()).items()))
        assert sum(by_reason.values()) == count.rejected + count.failed, (stage, level, by_reason)
        rows.append(
            FunnelRow(
                stage, level, count.entered, count.kept, count.rejected, count.failed, by_reason
            )
        )
    return rows


def _order(key: tuple[str, str]) -> tuple[int, str, int]:
    stage, level = key
    place = STAGES.index(stage) if stage in STAGES else len(STAGES)
    return place, stage, LEVELS.index(level)


def print_repeated() -> None:
    """Print how often calls to other machines were repeated in this run, and why."""
    repeated = take_repeated()
    if repeated:
        reasons = ", ".join(f"{reason}: {number}" for reason, number in repeated.most_common(5))
        print(f"{repeated.total()} calls to other machines were repeated ({reasons})")


def print_funnel(rows: list[FunnelRow]) -> None:
    """Print the funnel as a table: stage, level, in, kept, rejected, failed, reasons."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="what became of everything", title_justify="left")
    for name in ("stage", "of"):
        table.add_column(name)
    for name in ("in", "kept", "rejected", "failed"):
        table.add_column(name, justify="right")
    table.add_column("reasons", overflow="fold")
    for row in rows:
        reasons = ", ".join(f"{reason} {number}" for reason, number in row.reasons.items())
        numbers = (str(n) for n in (row.entered, row.kept, row.rejected, row.failed))
        table.add_row(row.stage, f"{row.level}s", *numbers, reasons)
    width = None if sys.stdout.isatty() else 120
    Console(width=width).print(table)


@dataclass
class Progress:
    """Shows how far a run is: a bar on a terminal, a line now and then elsewhere.

    Progress is counted in seconds of video, because videos differ in length.
    """

    what: str
    total: float
    unit: str = "videos"
    done: float = 0.0
    number: int = 0
    counts: Counter = field(default_factory=Counter)
    _bar: Any = None
    _started: float = field(default_factory=time.monotonic)
    _last_line: float = 0.0
    _printed: int = 0

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[counts]}"),
                console=Console(stderr=True),
            )
            self._bar.add_task(self.what, total=self.total or 1.0, counts="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self.number != self._printed:
            self._print_line()

    def advance(self, amount: float, **counts: int) -> None:
        """Count one finished piece of work of the given size, and what came out of it."""
        self.done += amount
        self.number += 1
        self.counts.update(counts)
        if self._bar is not None:
            self._bar.update(0, completed=self.done, counts=self._summary())
        elif time.monotonic() - self._last_line > _LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._print_line()

    def _summary(self) -> str:
        numbers = [f"{self.number} {self.unit}"]
        return ", ".join([*numbers, *(f"{n} {name}" for name, n in self.counts.items())])

    def _print_line(self) -> None:
        elapsed = time.monotonic() - self._started
        share = min(1.0, self.done / self.total) if self.total else 1.0
        known = _ETA_FROM < share < 1.0
        left = f", about {elapsed * (1 - share) / share:.0f} s left" if known else ""
        line = f"{self.what}: {share:4.0%} after {elapsed:.0f} s{left}; {self._summary()}"
        print(line, file=sys.stderr, flush=True)
        self._printed = self.number
