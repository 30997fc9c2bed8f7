"""Find the shots of a video while it is decoded.

A detector is shown small pictures and says where shots meet, a cut a few frames after it happened,
a dissolve up to two seconds. A frame's verdict is therefore given late, once nothing can change
it: a clip that is cut from judged frames never holds a frame of the neighbour shot. Dark frames,
fades, dissolves and wipes belong to no shot.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from pipeline.observing.boundaries import Boundary, ShotsConfig, load_finder
from pipeline.observing.change import SMALL
from schemas.ids import content_id
from schemas.tables import Shot

__all__ = ["ShotDetector", "ShotList", "ShotsConfig", "Verdict"]

_LIT_SHARE = 0.02  # a frame is dark if fewer of its cells are lit


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a frame is: part of no shot, the first of a shot, or one more of it."""

    index: int
    pts: int
    inside: bool
    opened_by: str  # "" unless the frame is the first of its shot


@dataclass(slots=True)
class _Waiting:
    index: int
    pts: int
    outside: bool  # of every shot
    cut: bool = False


class ShotDetector:
    """Turns a stream of small BGR pictures into one verdict per frame, in order, late."""

    def __init__(self, config: ShotsConfig, fps: float, opened_by: str = "start") -> None:
        self._dark_level = config.dark_level
        self._finder = load_finder(config, fps)
        self._line: deque[_Waiting] = deque()  # frames without a verdict, oldest first
        self._taken = 0
        self._outside_until = 0  # frames before it belong to no shot, even if not yet taken
        self._opened_by = opened_by  # of the shot that the next frame inside opens
        self._inside = False

    def add(self, index: int, pts: int, picture: np.ndarray) -> Iterator[Verdict]:
        """Take the next picture, BGR uint8; yield the verdicts that have become final."""
        outside = self._taken < self._outside_until or self._is_dark(picture)
        self._taken += 1
        self._line.append(_Waiting(index, pts, outside))
        self._mark(self._finder.add(picture))
        while len(self._line) > self._finder.delay:
            yield self._judge(self._line.popleft())

    def finish(self) -> Iterator[Verdict]:
        """Yield the verdicts of the last frames."""
        self._mark(self._finder.finish())
        while self._line:
            yield self._judge(self._line.popleft())

    def _is_dark(self, picture: np.ndarray) -> bool:
        """Whether hardly anything of a picture is lit."""
        grey = cv2.cvtColor(cv2.resize(picture, SMALL), cv2.COLOR_BGR2GRAY)
        lit = int(np.count_nonzero(grey >= self._dark_level))
        return lit < _LIT_SHARE * grey.size

    def _mark(self, boundaries: Iterable[Boundary]) -> None:
        """Mark the frames between shots, and those with which shots begin."""
        given = self._taken - len(self._line)  # frames that have their verdict
        for boundary in boundaries:
            if boundary.end > boundary.first:
                self._outside_until = max(self._outside_until, boundary.end)
            for position in range(max(given, boundary.first), min(boundary.end, self._taken)):
                self._line[position - given].outside = True
            if given <= boundary.end < self._taken and boundary.end > 0:
                self._line[boundary.end - given].cut = True

    def _judge(self, frame: _Waiting) -> Verdict:
        opened_by = ""
        if frame.outside:
            self._opened_by = "fade"
        elif not self._inside:
            opened_by = self._opened_by
        elif frame.cut:
            opened_by = "cut"
        self._inside = not frame.outside
        return Verdict(frame.index, frame.pts, self._inside, opened_by)


class ShotList:
    """Collects verdicts into shots."""

    def __init__(self, video_id: str, timebase: Fraction) -> None:
        self.shots: list[Shot] = []
        self._video_id = video_id
        self._timebase = timebase
        self._open: Verdict | None = None

    @property
    def shot_id(self) -> str:
        """Id of the shot that is open."""
        assert self._open is not None, "no shot is open"
        return content_id("shot", self._video_id, self._open.pts)

    def add(self, verdict: Verdict) -> None:
        """Take the next verdict; a shot ends where another opens or the dark begins."""
        if verdict.opened_by or not verdict.inside:
            self.end(verdict.index, verdict.pts)
        if verdict.opened_by:
            self._open = verdict

    def end(self, index: int, pts: int) -> None:
        """End the open shot, if any, before the frame given."""
        opened = self._open
        if opened is None:
            return
        self.shots.append(
            Shot(
                shot_id=self.shot_id,
                start_frame=opened.index,
                end_frame=index,
                start_s=float(opened.pts * self._timebase),
                end_s=float(pts * self._timebase),
                opened_by=opened.opened_by,
            )
        )
        self._open = None
