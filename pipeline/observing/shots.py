"""Find the shots of a video while it is decoded.

PySceneDetect scores the change between small pictures; a cut is known a few frames after it
happened, a dissolve up to a second. A frame's verdict is therefore given late, once nothing can
change it: a clip that is cut from judged frames never holds a frame of the neighbour shot. Dark
frames, fades and dissolves belong to no shot.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import cv2
import numpy as np

from schemas.ids import content_id
from schemas.settings import check_settings, setting
from schemas.tables import Shot

_DETECTORS = ("adaptive", "content", "fade")
_THUMBNAIL = (64, 36)  # width, height: enough for blends, too little for noise
_LIT_SHARE = 0.02  # a frame is dark if fewer of its cells are lit
_COUNTING_FPS = 25.0  # PySceneDetect only counts frames here; our times are pts


@dataclass(frozen=True)
class ShotsConfig:
    """How shots are found. The defaults were chosen by benchmarks/shots_and_clips.py --cuts.

    A blend's middle is the mean of its ends, but for the motion in it. In real video without
    blends, a middle that close has ends whose likeness is 0.82 and more.

    Attributes:
        detectors: which tests look for boundaries; all that are named, together.
        adaptive_threshold: change over that around it; cuts have 6.2 and more, motion up to 3.6.
        adaptive_window: frames on each side that make that mean.
        min_change: of 255, below which nothing is a cut; PySceneDetect's default.
        content_threshold: of 255, of the detector content; PySceneDetect's default.
        picture_width: long side of the picture that is compared.
        dark_level: of 255; a faded-out frame has 98 % of its cells below.
        fade_windows_s: lengths at which blends are looked for.
        fade_change: of 255, between the ends of a blend.
        fade_residual: of that change, between the middle and the mean of the ends.
        fade_likeness: correlation of the ends, at or above which they are one picture.
    """

    detectors: tuple[Literal["adaptive", "content", "fade"], ...] = setting(
        ("adaptive", "fade"), least=1
    )
    adaptive_threshold: float = setting(4.0, above=0, high=1000)
    adaptive_window: int = setting(3, low=1, high=100, unit="frames")
    min_change: float = setting(15.0, low=0, high=255)
    content_threshold: float = setting(27.0, low=0, high=255)
    picture_width: int = setting(160, low=32, high=4096, unit="pixels")
    dark_level: float = setting(24.0, low=0, high=255)
    fade_windows_s: tuple[float, ...] = setting((0.5, 1.0), above=0, high=60, unit="s")
    fade_change: float = setting(6.0, low=0, high=255)
    fade_residual: float = setting(0.30, low=0, high=10)
    fade_likeness: float = setting(0.80, low=-1, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "observe.shots")


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
    thumbnail: np.ndarray  # grey, float32
    cut: bool = False
    outside: bool = False


class ShotDetector:
    """Turns a stream of small BGR pictures into one verdict per frame, in order, late."""

    def __init__(self, config: ShotsConfig, fps: float, opened_by: str = "start") -> None:
        self._config = config
        self._detectors = _make_detectors(config)
        self._edge = config.adaptive_window if "adaptive" in config.detectors else 0
        self._spans = _blend_spans(config, fps)
        self._delay = max([self._edge, *self._spans]) + 1
        self._line: deque[_Waiting] = deque()  # frames without a verdict, oldest first
        self._taken = 0
        self._ends: deque[np.ndarray] = deque(maxlen=self._edge + 1)  # latest pictures
        self._opened_by = opened_by  # of the shot that the next frame inside opens
        self._inside = False

    def add(self, index: int, pts: int, picture: np.ndarray) -> Iterator[Verdict]:
        """Take the next picture, BGR uint8; yield the verdicts that have become final."""
        self._taken += 1
        self._line.append(_Waiting(index, pts, _thumbnail(picture)))
        self._ends.append(picture)
        self._mark_cuts(_feed(self._detectors, self._taken - 1, picture))
        if self._taken == self._edge + 1:
            self._mark_edge_cuts()
        if "fade" in self._config.detectors:
            self._mark_dark()
            for span in self._spans:
                self._mark_blend(span)
        while len(self._line) > self._delay:
            yield self._judge(self._line.popleft())

    def finish(self) -> Iterator[Verdict]:
        """Yield the verdicts of the last frames."""
        self._mark_edge_cuts()
        while self._line:
            yield self._judge(self._line.popleft())

    def _mark_edge_cuts(self) -> None:
        """Look for cuts at an end of the video, where the adaptive window is not full."""
        if self._edge:
            content = [_content_detector(self._config)]
            first = self._taken - len(self._ends)
            for place, picture in enumerate(self._ends):
                self._mark_cuts(first + cut for cut in _feed(content, place, picture))

    def _mark_cuts(self, positions: Iterable[int]) -> None:
        """Mark frames as the first of their shots; positions count from the first picture."""
        for position in positions:
            if position > 0:
                self._line[position - self._taken].cut = True

    def _mark_dark(self) -> None:
        """Mark the newest frame if hardly anything of it is lit."""
        newest = self._line[-1]
        lit = int(np.count_nonzero(newest.thumbnail >= self._config.dark_level))
        newest.outside = lit < _LIT_SHARE * newest.thumbnail.size

    def _mark_blend(self, span: int) -> None:
        """Mark the last frames if their middle is the mean of their ends: a fade or dissolve.

        A moving picture's middle is not the mean of its ends, unless it hardly moves; then the
        ends look alike. So do the ends of a change of light.
        """
        if len(self._line) <= span:
            return
        config = self._config
        first, middle, last = (self._line[-1 - back].thumbnail for back in (span, span // 2, 0))
        change = _mean_difference(first, last)
        if change < config.fade_change:
            return
        if _mean_difference(middle, (first + last) / 2) > config.fade_residual * change:
            return
        if _likeness(first, last) < config.fade_likeness:
            for back in range(1, span + 2):
                self._line[-back].outside = True

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


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, _THUMBNAIL, interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(cv2.norm(one, other, cv2.NORM_L1)) / one.size


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two pictures, 0 where one of them is flat."""
    one, other = (one - one.mean()).ravel(), (other - other.mean()).ravel()
    energy = float(one @ one) * float(other @ other)
    return float(one @ other) / math.sqrt(energy) if energy > 0 else 0.0


def _blend_spans(config: ShotsConfig, fps: float) -> list[int]:
    """Return the lengths, in frames and even, at which blends are looked for."""
    if "fade" not in config.detectors:
        return []
    return sorted({2 * max(1, round(seconds * fps / 2)) for seconds in config.fade_windows_s})


def _feed(detectors: list, position: int, picture: np.ndarray) -> list[int]:
    """Show a picture to PySceneDetect's detectors; return the positions of the cuts found."""
    from scenedetect.common import FrameTimecode

    timecode = FrameTimecode(position, _COUNTING_FPS)
    return [cut.frame_num for one in detectors for cut in one.process_frame(timecode, picture)]


def _make_detectors(config: ShotsConfig) -> list:
    """Build PySceneDetect's detectors. Short shots are kept: a clip must not span one."""
    from scenedetect import AdaptiveDetector

    made = []
    if "adaptive" in config.detectors:
        made.append(
            AdaptiveDetector(
                adaptive_threshold=config.adaptive_threshold,
                min_scene_len=0,
                window_width=config.adaptive_window,
                min_content_val=config.min_change,
            )
        )
    if "content" in config.detectors:
        made.append(_content_detector(config))
    return made


def _content_detector(config: ShotsConfig) -> Any:
    from scenedetect import ContentDetector

    return ContentDetector(threshold=config.content_threshold, min_scene_len=0)


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
