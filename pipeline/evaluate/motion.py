"""How much a video moves, so that a frozen one cannot win by likeness."""

from dataclasses import dataclass

import cv2
import numpy as np

_SHORT_SIDE = 256  # px at which flow is found
_WIDE = 16  # px to which flow is averaged, as OpenS2V-Eval does
_FARNEBACK = {
    "pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2,
    "flags": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Motion:
    """Flow between neighbouring frames, in px at a short side of 256."""

    length: float  # mean length: what moves, whichever way
    drift: float  # |mean of all components|: OpenS2V-Eval's motion amplitude; swaying cancels out


class MotionMeter:
    """Takes the frames of a video in order."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._lengths: list[float] = []
        self._sums: list[float] = []

    def add(self, picture: np.ndarray) -> None:
        """Take the next RGB frame."""
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, _SHORT_SIDE / min(grey.shape))
        size = (max(_WIDE, round(grey.shape[1] * scale)), max(_WIDE, round(grey.shape[0] * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        if self._before is not None:
            flow = cv2.calcOpticalFlowFarneback(
                self._before, grey, np.zeros((*grey.shape, 2), np.float32), **_FARNEBACK
            )
            self._lengths.append(float(np.linalg.norm(flow, axis=2).mean()))
            rows = max(1, int(flow.shape[0] * _WIDE / flow.shape[1]))
            small = cv2.resize(flow, (_WIDE, rows), interpolation=cv2.INTER_AREA)
            self._sums.append(float(small.mean()))
        self._before = grey

    def finish(self) -> Motion:
        """Return the motion; a single frame has none."""
        if not self._lengths:
            return Motion(0.0, 0.0)
        return Motion(float(np.mean(self._lengths)), abs(float(np.mean(self._sums))))
