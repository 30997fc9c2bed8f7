"""What every stage shares: the contract, the row, and how a row is rejected."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol, TypeVar

import numpy as np

from schemas.reasons import Failure, Reason
from schemas.tables import Candidate, Clip, Embedding, Reject, Track, Video


@dataclass(frozen=True)
class Rejected:
    """Bad data, as a value: what was measured and what was allowed."""

    reason: Reason
    value: float | None = None
    threshold: float | None = None
    detail: str = ""

    def entry(self, stage: str, level: str, id: str, video_id: str, number: int = 1) -> Reject:
        """Return the line that the reject ledger keeps, for `number` rows."""
        return Reject(
            stage=stage,
            level=level,
            id=id,
            video_id=video_id,
            reason=str(self.reason),
            failed=False,
            value=self.value,
            threshold=self.threshold,
            detail=self.detail,
            number=number,
        )


Row = TypeVar("Row")


class Stage(Protocol[Row]):
    """One step of the work on a row: it measures, adds or rejects.

    It is built once per worker and called for every row. It never touches Ray, files outside its
    row, clocks, or global random state: the same row always gives the same answer. Bad data is a
    `Rejected`; an exception ends the run, a process that dies costs the row alone.
    """

    @property
    def name(self) -> str:
        """Its name in the funnel and in the rejects."""
        ...

    def process(self, row: Row) -> Row | Rejected:
        """Return the row with its measurements, or why it is rejected."""
        ...


def failed_entry(
    stage: str, level: str, id: str, video_id: str, failure: Failure, detail: str
) -> Reject:
    """Return the ledger line of a row whose process died."""
    return Reject(
        stage=stage,
        level=level,
        id=id,
        video_id=video_id,
        reason=str(failure),
        failed=True,
        detail=detail,
    )


@dataclass(frozen=True)
class Still:
    """A full source frame of a clip: upright, square pixels, RGB as JPEG.

    A point of the clip's picture lies at `point * scale + (left, top)` in the still.
    """

    frame_index: int  # frame of the clip that shows the same moment
    time_s: float  # in the source
    width: int
    height: int
    scale: float
    left: float
    top: float
    jpeg: bytes


@dataclass(frozen=True)
class Movement:
    """How places with detail moved from one frame of a clip to one shortly after."""

    frame_index: int
    places: np.ndarray  # (N, 2) x and y in pixels of the clip
    flow: np.ndarray  # (N, 2) pixels a frame, as in a picture of 256 px short side


@dataclass(frozen=True)
class ClipRow:
    """A clip on its way through the observing stages."""

    clip: Clip
    mp4: bytes
    stills: tuple[Still, ...] = ()
    tracks: tuple[Track, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    movements: tuple[Movement, ...] = field(default=(), compare=False, repr=False)
    begins_s: Fraction = Fraction(0)  # in the source, on the grid of the clip's rate
    sound: np.ndarray | None = field(default=None, compare=False, repr=False)  # (N, 2) int16


@dataclass(frozen=True)
class Count:
    """How many rows came into a stage and what became of them."""

    kept: int = 0
    rejected: int = 0
    failed: int = 0

    @property
    def entered(self) -> int:
        return self.kept + self.rejected + self.failed

    def __add__(self, other: "Count") -> "Count":
        return Count(
            self.kept + other.kept, self.rejected + other.rejected, self.failed + other.failed
        )


class RejectLines(Protocol):
    """A list of lines, or something that keeps many of them elsewhere."""

    def append(self, row: Reject, /) -> None: ...

    def extend(self, rows: Iterable[Reject], /) -> None: ...

    def __iter__(self) -> Iterator[Reject]: ...

    def __len__(self) -> int: ...


@dataclass
class Ledger:
    """The rejects and counts of one unit or one phase; rows are conserved at every stage."""

    rejects: RejectLines = field(default_factory=list)
    counts: dict[tuple[str, str], Count] = field(default_factory=dict)  # (stage, level)

    def keep(self, stage: str, level: str, number: int = 1) -> None:
        """Count rows that passed."""
        self._add(stage, level, Count(kept=number))

    def reject(self, entry: Reject) -> None:
        """Record one row as rejected or as failed."""
        self.rejects.append(entry)
        lost = Count(failed=entry.number) if entry.failed else Count(rejected=entry.number)
        self._add(entry.stage, entry.level, lost)

    def merge(self, other: "Ledger") -> None:
        """Add another ledger's lines and counts."""
        self.rejects.extend(other.rejects)
        for (stage, level), count in other.counts.items():
            self._add(stage, level, count)

    def _add(self, stage: str, level: str, count: Count) -> None:
        self.counts[stage, level] = self.counts.get((stage, level), Count()) + count

    def check(self, stage: str, level: str, entered: int) -> None:
        """Assert that as many rows left the stage as came in."""
        left = self.counts.get((stage, level), Count()).entered
        assert left == entered, f"{stage} took {entered} {level}s and accounts for {left}"


@dataclass(frozen=True)
class VideoRow:
    """What observing one unit yields: the video (or the part of it), its clips, its ledger."""

    video: Video | None  # None when the file was refused or the process died
    clips: tuple[ClipRow, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)

    def with_clips(self, clips: tuple[ClipRow, ...]) -> "VideoRow":
        return replace(self, clips=clips)
