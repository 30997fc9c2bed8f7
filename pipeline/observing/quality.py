"""Measure a clip's quality while it is cut, and judge it later.

All measures but motion look at two frames a second of the clip's own luma. Scores are columns
and thresholds come late: a changed threshold re-runs the pairing, not the decoding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.execution.stage import Movement, Rejected
from pipeline.media.images import Picture
from pipeline.media.pixels import full_range_levels
from pipeline.observing.camera import Flow, measure_flow, movement_of
from pipeline.pictures.boxes import padded_crop
from pipeline.pictures.hashes import difference_hash
from pipeline.pictures.lettering import SHORT_SIDE, text_mask
from schemas.settings import check_settings, setting
from schemas.tables import Clip
from schemas.thresholds import QUALITY, first_refusal

_DARK, _BRIGHT = 0.05, 0.95  # of full luma
_BLACK = 0.07  # brightest luma of a black bar, which coding noise lifts above 0
_FLOW_GAP = 4  # frames; the source may repeat pictures, and one gap of 1 would see no motion
_TEXT_PERSISTS = 0.5  # a text pixel is text in more than this share of the examined frames


@dataclass(frozen=True)
class Quality:
    """The measured columns of a clip; see schemas.tables.Clip for what each means."""

    sharpness: float
    brightness: float
    contrast: float
    dark: float
    bright: float
    black_border: float
    motion: float
    camera_motion: float
    camera_pan: list[float]
    camera_zoom: float
    text_area: float
    perceptual_hash: str


class QualityMeter:
    """Takes a clip's frames in order; `fps` is the clip's rate."""

    def __init__(self, fps: int, examined_per_s: float = 2.0) -> None:
        self._fps = fps
        self._step = max(2, round(fps / examined_per_s))
        self._count = 0
        self._sharpness: list[float] = []
        self._histogram = np.zeros(256)
        self._brightest: np.ndarray | None = None  # per pixel, over the examined frames
        self._text: np.ndarray | int = 0  # how often each pixel looked like text
        self._text_frames = 0
        self._flows: list[Flow] = []
        self._movements: list[Movement] = []
        self._hashes: list[int] = []
        self._examined: np.ndarray | None = None  # the latest examined frame
        self._last: np.ndarray | None = None
        self._flow_engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def add(self, luma: np.ndarray) -> None:
        """Take the next frame's luma: limited range, uint8, (height, width)."""
        phase = self._count % self._step
        if phase == 0:
            self._examine(_small(luma))
        elif phase == min(_FLOW_GAP, self._step - 1):
            self._measure_flow(_small(luma), phase)
        self._last = luma
        self._count += 1

    def _examine(self, small: np.ndarray) -> None:
        _, spread = cv2.meanStdDev(cv2.Laplacian(small, cv2.CV_16S))
        self._sharpness.append(float(spread[0, 0] ** 2))
        self._histogram += cv2.calcHist([small], [0], None, [256], [0, 256])[:, 0]
        self._hashes.append(difference_hash(small))
        self._examined = small
        if self._brightest is None:
            self._brightest = small
        self._brightest = np.maximum(self._brightest, small)
        if len(self._hashes) % 2:  # lettering stays for longer than a second
            self._text = self._text + text_mask(small)
            self._text_frames += 1

    def _measure_flow(self, small: np.ndarray, gap: int) -> None:
        assert self._examined is not None, "a frame is examined before the flow from it"
        assert self._last is not None
        before, after = _halved(self._examined), _halved(small)
        flow = np.zeros((*after.shape, 2), np.float32)  # also where the search starts
        self._flow_engine.calc(before, after, flow)
        flow *= 2 / gap
        self._flows.append(measure_flow(flow, self._fps))
        self._movements.append(movement_of(flow, before, self._count - gap, self._last.shape))

    @property
    def movements(self) -> tuple[Movement, ...]:
        """How places with detail moved, for whoever knows later where people are."""
        return tuple(self._movements)

    def finish(self) -> Quality:
        """Return the measures; at least one frame must have been added."""
        assert self._last is not None, "no frame was added"
        assert self._brightest is not None, "the first frame is examined"
        levels = np.arange(256) / 255
        share = self._histogram / self._histogram.sum()
        brightness = float(share @ levels)
        flows = self._flows or [Flow(0.0, 0.0, (0.0, 0.0), 0.0)]
        examined = len(self._sharpness)
        hashes = (self._hashes[0], self._hashes[examined // 2], difference_hash(_small(self._last)))
        return Quality(
            sharpness=float(np.median(self._sharpness)),
            brightness=brightness,
            contrast=float(np.sqrt(share @ (levels - brightness) ** 2)),
            dark=float(share[levels < _DARK].sum()),
            bright=float(share[levels > _BRIGHT].sum()),
            black_border=black_border(self._brightest),
            motion=float(np.mean([flow.length for flow in flows])),
            camera_motion=float(np.mean([flow.camera for flow in flows])),
            camera_pan=[float(np.mean([flow.pan[axis] for flow in flows])) for axis in (0, 1)],
            camera_zoom=float(np.mean([flow.zoom for flow in flows])),
            text_area=float(np.mean(self._text > _TEXT_PERSISTS * self._text_frames)),
            perceptual_hash="".join(f"{value:016x}" for value in hashes),
        )


def _small(luma: np.ndarray) -> np.ndarray:
    """Return the luma in full range, at SHORT_SIDE."""
    height, width = luma.shape
    scale = SHORT_SIDE / min(height, width)
    size = (round(width * scale), round(height * scale))
    return cv2.LUT(cv2.resize(luma, size, interpolation=cv2.INTER_LINEAR), full_range_levels())


def _halved(small: np.ndarray) -> np.ndarray:
    """Return half the size: the flow is as good there for a quarter of the time."""
    size = (small.shape[1] // 2, small.shape[0] // 2)
    return cv2.resize(small, size, interpolation=cv2.INTER_AREA)


def black_border(brightest: np.ndarray) -> float:
    """Return the share of the picture under black bars, given each pixel's brightest moment.

    A bar is a run of whole rows or columns, from an edge on, that never showed anything; so a
    dark scene has bars only where it is black from edge to edge all the time.
    """
    x0, y0, x1, y1 = shown_part(brightest)
    return 1 - (x1 - x0) * (y1 - y0) / brightest.size


def shown_part(brightest: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box, xyxy, outside of which whole rows and columns never showed anything.

    `brightest` is each pixel's brightest moment, (H, W) in full range; all black gives no area.
    """
    limit = _BLACK * 255
    rows = np.flatnonzero(np.quantile(brightest, 0.98, axis=1) > limit)
    columns = np.flatnonzero(np.quantile(brightest, 0.98, axis=0) > limit)
    if not len(rows) or not len(columns):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def light_of_people(
    pictures: Sequence[Picture], boxes: Sequence[np.ndarray]
) -> tuple[float, float]:
    """Return the shares of dark and of bright pixels in boxes (xyxy) of RGB pictures; NaN: none."""
    shares = []
    for picture, box in zip(pictures, boxes, strict=True):
        luma = cv2.cvtColor(padded_crop(picture, box, (64, 64)), cv2.COLOR_RGB2GRAY) / 255
        shares.append((float((luma < _DARK).mean()), float((luma > _BRIGHT).mean())))
    if not shares:
        return math.nan, math.nan
    dark, bright = np.mean(shares, axis=0)
    return float(dark), float(bright)


def _of_people(clip: Clip) -> dict[str, float]:
    """Return the measures that people decide: behind them may be a white studio, or the night."""
    people = {"dark": clip.person_dark, "bright": clip.person_bright}
    return {
        name: min(share, getattr(clip, name))
        for name, share in people.items()
        if math.isfinite(share)
    }


@dataclass(frozen=True)
class QualityConfig:
    """Which clips are worth training on. Applied in pairing, so a change is cheap.

    In brackets what was seen on the test media: real people first, then what must fail.

    Attributes:
        min_sharpness: variance of the Laplacian (27 to 3300; blurred beyond recognition: under 10).
        min_brightness: mean luma, 0 to 1 (0.18 to 0.71; a night scene without a lit person 0.04 to
            0.06).
        max_dark: share of the picture, or of its people if that is less, that is black
            (0 to 0.44; the same night scene 0.74 to 0.81).
        max_bright: the same of white (0 to 0.06; a blown-out picture 1).
        min_contrast: standard deviation of the luma, 0 to 1 (0.09 to 0.32; fog, a blank card).
        max_black_border: share of the picture under bars (0 to 0.11; 2.4:1 in 16:9 0.26, a pillar
            box 0.25 to 0.68).
        min_motion: mean optical flow at 256 pixels (0.07 to 5.2; photographs 0.00 to 0.03).
        max_motion: the same; a fifteenth of the picture a frame is torn footage.
        max_text_area: share of the picture in lettering (0 to 0.009; one outlined line of
            subtitles 0.02 to 0.04).
    """

    min_sharpness: float = setting(15.0, low=0, high=1e5)
    min_brightness: float = setting(0.06, low=0, high=1)
    max_dark: float = setting(0.75, low=0, high=1)
    max_bright: float = setting(0.60, low=0, high=1)
    min_contrast: float = setting(0.05, low=0, high=1)
    max_black_border: float = setting(0.25, low=0, high=1)
    min_motion: float = setting(0.04, low=0, high=1000, unit="pixels a frame")
    max_motion: float = setting(20.0, low=0, high=1000, unit="pixels a frame")
    max_text_area: float = setting(0.015, low=0, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "pair.quality")

    def check(self, clip: Clip) -> Rejected | None:
        """Return why the clip is refused, or None; half a second for references may stand still."""
        config = replace(self, min_motion=0.0) if clip.reference_only else self
        refusal = first_refusal(QUALITY, config, vars(clip) | _of_people(clip))
        if refusal is None:
            return None
        return Rejected(refusal.threshold.reason, refusal.value, refusal.bound, str(refusal))
