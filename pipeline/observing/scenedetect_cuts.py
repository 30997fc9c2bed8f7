"""Find cuts with PySceneDetect's adaptive detector: hard cuts alone, no fades, wipes, flashes."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from scenedetect import AdaptiveDetector
from scenedetect.common import FrameTimecode

from pipeline.observing.boundaries import Boundary, ShotsConfig

_WINDOW = 3  # frames on both sides whose mean change a cut must exceed
_MIN_CHANGE = 15.0  # of 255: a smaller change is no cut, however still the frames around it
_NO_LATER = 2 * _WINDOW + 2  # frames after which the detector says nothing more of one


class PySceneDetectCuts:
    """Passes pictures to the detector, whose frames are counted from 0."""

    delay = _NO_LATER

    def __init__(self, config: ShotsConfig, fps: float) -> None:
        self._rate = Fraction(fps).limit_denominator(1001)
        self._taken = 0
        self._detector = AdaptiveDetector(
            adaptive_threshold=config.scenedetect_ratio,
            min_scene_len=0,
            window_width=_WINDOW,
            min_content_val=_MIN_CHANGE,
        )

    def add(self, picture: np.ndarray) -> Iterator[Boundary]:
        cuts = self._detector.process_frame(FrameTimecode(self._taken, self._rate), picture)
        self._taken += 1
        for cut in cuts:
            yield Boundary(cut.frame_num, cut.frame_num)

    def finish(self) -> Iterator[Boundary]:
        yield from ()
