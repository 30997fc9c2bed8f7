"""Change a reference a little at every step, so that its pixels cannot be copied.

All parameters come from one seed; the same seed gives the same picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from schemas.settings import check_settings, setting
from trainer.data.hashing import uniforms

NEUTRAL = 128  # grey around a letterboxed reference
_MID_GREY = 127.5


@dataclass(frozen=True)
class ReferenceAugmentConfig:
    """How references are augmented in training; validation sees them unchanged.

    Attributes:
        flip: probability of a mirror image; 0 keeps partings, prints and scars on their side.
        shrink: largest share by which the picture is drawn smaller than would fit.
        rotation_degrees: largest rotation, either way.
        brightness: largest share by which the picture becomes lighter or darker.
        contrast: largest share by which differences from mid-grey grow or shrink.
        saturation: largest share by which colours become stronger or weaker.
        background: probability that everything outside the mask becomes one drawn colour.
    """

    flip: float = setting(0.0, low=0, high=1)
    shrink: float = setting(0.15, low=0, high=0.9)
    rotation_degrees: float = setting(5.0, low=0, high=180, unit="degrees")
    brightness: float = setting(0.1, low=0, high=0.9)
    contrast: float = setting(0.1, low=0, high=0.9)
    saturation: float = setting(0.1, low=0, high=0.9)
    background: float = setting(0.1, low=0, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "data.augment")


@dataclass(frozen=True)
class ReferenceChange:
    """One drawn change of a reference; the default changes nothing."""

    flip: bool = False
    scale: float = 1.0
    rotation_degrees: float = 0.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    background: tuple[int, int, int] | None = None


def draw_change(config: ReferenceAugmentConfig, seed: int) -> ReferenceChange:
    """Draw all parameters; switching one off does not move the others."""
    draws = uniforms(seed, 10)
    colour = tuple(int(value) for value in draws[7:10] * 256)
    return ReferenceChange(
        flip=bool(draws[0] < config.flip),
        scale=1 - config.shrink * draws[1],
        rotation_degrees=config.rotation_degrees * (2 * draws[2] - 1),
        brightness=1 + config.brightness * (2 * draws[3] - 1),
        contrast=1 + config.contrast * (2 * draws[4] - 1),
        saturation=1 + config.saturation * (2 * draws[5] - 1),
        background=(colour[0], colour[1], colour[2]) if draws[6] < config.background else None,
    )


def place_reference(
    image: np.ndarray, mask: np.ndarray, size: tuple[int, int], change: ReferenceChange
) -> np.ndarray:
    """Set a reference into a grey picture of (height, width), changed, whole and undistorted.

    image: (h, w, 3) uint8; mask: (h, w) uint8, 255 is the person. Returns (height, width, 3).
    """
    turned_width, turned_height = _extent(image.shape[:2], change.rotation_degrees)
    fit = change.scale * min(size[0] / turned_height, size[1] / turned_width)
    image = _resize(image, fit)
    if change.background is not None:
        image = _over(image, _resize(mask, fit), np.array(change.background, np.float32))
    if change.flip:
        image = np.ascontiguousarray(image[:, ::-1])
    image = _recolour(image, change)
    if change.rotation_degrees:
        return _turn(image, size, change.rotation_degrees)
    height, width = min(image.shape[0], size[0]), min(image.shape[1], size[1])
    canvas = np.full((*size, 3), NEUTRAL, np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[top : top + height, left : left + width] = image[:height, :width]
    return canvas


def _resize(image: np.ndarray, fit: float) -> np.ndarray:
    width, height = (max(1, round(side * fit)) for side in (image.shape[1], image.shape[0]))
    method = cv2.INTER_AREA if fit < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method)


def cut_out(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the image with grey outside the mask."""
    return _over(image, mask, np.full(3, NEUTRAL, np.float32))


def _over(image: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> np.ndarray:
    share = mask[..., None].astype(np.float32) / 255
    return np.round(image * share + colour * (1 - share)).astype(np.uint8)


def _recolour(image: np.ndarray, change: ReferenceChange) -> np.ndarray:
    if (change.brightness, change.contrast, change.saturation) == (1, 1, 1):
        return image
    values = image.astype(np.float32)
    grey = values @ np.array([0.299, 0.587, 0.114], np.float32)
    values = grey[..., None] + (values - grey[..., None]) * np.float32(change.saturation)
    values = (values - _MID_GREY) * np.float32(change.contrast) + _MID_GREY
    return np.clip(np.round(values * np.float32(change.brightness)), 0, 255).astype(np.uint8)


def _extent(shape: tuple[int, int], degrees: float) -> tuple[float, float]:
    """Return (width, height) of the upright box around a turned picture."""
    height, width = shape
    angle = np.deg2rad(degrees)
    cosine, sine = abs(np.cos(angle)), abs(np.sin(angle))
    return width * cosine + height * sine, width * sine + height * cosine


def _turn(image: np.ndarray, size: tuple[int, int], degrees: float) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    matrix[:, 2] += ((size[1] - width) / 2, (size[0] - height) / 2)
    return cv2.warpAffine(
        image,
        matrix,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(NEUTRAL,) * 3,
    )
