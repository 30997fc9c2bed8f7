"""How a source picture becomes a clip's picture: upright, square pixels, bucket size.

The picture is scaled until it covers the bucket and cropped around its centre.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import av
import numpy as np

from pipeline.execution.stage import Rejected
from pipeline.media.bars import NO_BARS, Bars
from pipeline.media.geometry import Orientation
from pipeline.media.pixels import Scaler, planes_of
from schemas.reasons import Reason

# Pictures of about 480 x 832 pixels, from 2.4:1 to 1:1; the lying forms are the same, turned.
_LYING_480 = ((960, 400), (832, 480), (768, 512), (720, 544), (624, 624))


class Shown(Protocol):
    """What a picture is when it is shown: a video's row, or the geometry of a stretch of it."""

    @property
    def width(self) -> int: ...  # upright, in square pixels
    @property
    def height(self) -> int: ...
    @property
    def rotation(self) -> int: ...  # degrees clockwise that turn the stored picture upright
    @property
    def mirrored(self) -> bool: ...  # left and right change places after that


@dataclass(frozen=True)
class Fit:
    """The way from a source picture to a clip's picture. Sizes in pixels."""

    width: int  # of the clip
    height: int
    size_class: int
    scale: float  # clip pixels per upright source pixel
    scaled_width: int  # upright, before cropping
    scaled_height: int
    orientation: Orientation
    bars: Bars = NO_BARS  # around the picture, cropped like what does not fit

    @property
    def left(self) -> int:
        """Columns cropped at the left; even, so that chroma stays aligned."""
        uneven = self.bars.left - self.bars.right
        return _first_shown(self.scaled_width, self.width, uneven)

    @property
    def top(self) -> int:
        uneven = self.bars.above - self.bars.below
        return _first_shown(self.scaled_height, self.height, uneven)

    @property
    def cropped(self) -> float:
        """Share of the source picture, without its bars, that was cut off."""
        inner = self.scaled_width * self.bars.width * self.scaled_height * self.bars.height
        return max(0.0, 1 - self.width * self.height / inner)


def _first_shown(scaled: int, shown: int, uneven: float) -> int:
    """Return the even place, from 0 on, of the middle `shown` of what is left between bars."""
    first = int((scaled * (1 + uneven) - shown) // 4 * 2)
    return min(max(first, 0), scaled - shown)


def buckets(size_class: int, multiple: int = 16) -> list[tuple[int, int]]:
    """Return the (width, height) buckets of a class, lying and standing, by aspect.

    multiple: sides are multiples of it, which video autoencoders and transformers divide by.
    """
    lying = [
        (
            multiple * round(width * size_class / 480 / multiple),
            multiple * round(height * size_class / 480 / multiple),
        )
        for width, height in _LYING_480
    ]
    standing = [(height, width) for width, height in reversed(lying[:-1])]
    return lying + standing


def fit_picture(
    video: Shown,
    size_classes: tuple[int, ...],
    max_upscale: float,
    bars: Bars = NO_BARS,
    multiple: int = 16,
) -> Fit | Rejected:
    """Choose the bucket of nearest aspect in the largest class that the source can fill."""
    scale = math.inf
    shown = video.width * bars.width, video.height * bars.height
    for size_class in sorted(size_classes, reverse=True):
        width, height = min(
            buckets(size_class, multiple), key=lambda bucket: _misfit(bucket, shown)
        )
        scale = max(width / shown[0], height / shown[1])
        if scale <= max_upscale:
            return Fit(
                width,
                height,
                size_class,
                scale,
                max(width, _even(video.width * scale)),
                max(height, _even(video.height * scale)),
                Orientation(video.rotation, video.mirrored),
                bars,
            )
    detail = f"{video.width}x{video.height} for a short side of {min(size_classes)}"
    return Rejected(Reason.UPSCALED_TOO_MUCH, scale, max_upscale, detail)


def _misfit(bucket: tuple[int, int], shown: tuple[float, float]) -> float:
    return abs(math.log(bucket[0] / bucket[1] * shown[1] / shown[0]))


def _even(side: float) -> int:
    return 2 * round(side / 2)


class Fitter:
    """Applies a Fit to decoded pictures."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit
        size = fit.orientation.lying(fit.scaled_width, fit.scaled_height)
        self._scale = Scaler(*size, "yuv420p")

    def __call__(self, picture: av.VideoFrame) -> av.VideoFrame:
        """Return a new yuv420p picture of the bucket's size that carries no side data."""
        fit = self.fit
        fitted = av.VideoFrame(fit.width, fit.height, "yuv420p")
        steps = zip(planes_of(self._scale(picture)), planes_of(fitted), (1, 2, 2), strict=True)
        for source, target, halved in steps:
            upright = fit.orientation.turn(source)
            top, left = fit.top // halved, fit.left // halved
            height, width = target.shape
            target[:] = upright[top : top + height, left : left + width]
        return fitted


class StillMaker:
    """Makes the full upright picture with square pixels, without its bars, as RGB."""

    def __init__(self, video: Shown, max_side: int, bars: Bars = NO_BARS) -> None:
        self.scale = min(1.0, max_side / max(video.width, video.height))
        width, height = round(video.width * self.scale), round(video.height * self.scale)
        self.left, self.top = math.ceil(width * bars.left), math.ceil(height * bars.above)
        self.width = width - self.left - math.ceil(width * bars.right)
        self.height = height - self.top - math.ceil(height * bars.below)
        self._orientation = Orientation(video.rotation, video.mirrored)
        size = self._orientation.lying(width, height)
        self._scale = Scaler(*size, "rgb24", exact=False)

    def __call__(self, picture: av.VideoFrame) -> np.ndarray:
        upright = self._orientation.turn(self._scale(picture).to_ndarray())
        rows = slice(self.top, self.top + self.height)
        shown = upright[rows, self.left : self.left + self.width]
        return np.ascontiguousarray(shown)
