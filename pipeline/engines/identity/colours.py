"""Name the colour of a garment, as a person would in one word."""

from collections.abc import Sequence

import cv2
import numpy as np

_COLOURLESS = 40  # HSV saturation (0-255) below which a colour is black, white or grey
_PALE = 82  # below it a light teal, blue or purple may as well be grey under a cool light
_MIN_SHARE = 0.35  # of the pixels: below it the garment has no one colour
_MIN_PIXELS = 40
_BLACK, _WHITE = 52, 190  # HSV value
_CELLS = (12, 32, 32)  # of the Lab histogram: light varies in folds, hue less
_NEAR = np.array([45, 14, 14])  # Lab distances from the peak that are the same cloth
# Hues in OpenCV's degrees / 2, with the first name from 0 on; red closes the circle.
_HUES = (
    (6, "red"),
    (20, "orange"),
    (33, "yellow"),
    (78, "green"),
    (96, "teal"),
    (130, "blue"),
    (150, "purple"),
    (169, "pink"),
    (180, "red"),
)


def colour_name(picture: np.ndarray, box: np.ndarray, mask: np.ndarray | None = None) -> str:
    """Return the name of the dominant colour in a box, '' if there is none."""
    name, share = named_share(picture, box, mask)
    return name if share >= _MIN_SHARE else ""


def named_share(
    picture: np.ndarray, box: np.ndarray, mask: np.ndarray | None = None
) -> tuple[str, float]:
    """Return the name of the dominant colour in a box, and its share of the pixels there.

    `mask` is (H, W) uint8 of the picture, 255 where the person is; other pixels do not count.
    The dominant colour is the peak of the Lab histogram and what lies near it.
    """
    x0, y0 = np.maximum(np.floor(box[:2]), 0).astype(int)
    x1, y1 = np.ceil(box[2:]).astype(int)
    pixels = picture[y0:y1, x0:x1].reshape(-1, 3)
    if mask is not None:
        pixels = pixels[mask[y0:y1, x0:x1].reshape(-1) > 127]
    if len(pixels) < _MIN_PIXELS:
        return "", 0.0
    colour, share = dominant_colour(pixels)
    return name_of(colour), share


def dominant_colour(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the dominant one of RGB pixels (N, 3), and the share of them that is near it."""
    lab = cv2.cvtColor(pixels.reshape(-1, 1, 3), cv2.COLOR_RGB2LAB).reshape(-1, 3)
    near = (np.abs(lab - _peak(lab)) <= _NEAR).all(axis=1)
    return np.median(pixels[near], axis=0).astype(np.uint8), float(near.mean())


def _peak(lab: np.ndarray) -> np.ndarray:
    """Return the centre of the fullest cell of the Lab histogram, blurred over its neighbours."""
    cells = (256 / np.array(_CELLS)).astype(np.float32)
    places = (lab / cells).astype(int)
    counts = np.zeros([size + 2 for size in _CELLS], np.float32)  # a border, so that blur fits
    np.add.at(counts, tuple(places.T + 1), 1)
    blurred = counts.copy()
    for axis in range(3):
        blurred += np.roll(counts, 1, axis) + np.roll(counts, -1, axis)
    best = np.array(np.unravel_index(int(blurred.argmax()), blurred.shape)) - 1
    return (best + 0.5) * cells


def most_named(names: Sequence[str]) -> str:
    """Return the name given by more than half of those who saw a colour, else ''."""
    seen = sorted(name for name in names if name)
    best = max(seen, key=seen.count, default="")
    return best if best and seen.count(best) * 2 > len(seen) else ""


def name_of(colour: np.ndarray) -> str:
    """Name one RGB colour; '' for one between two names."""
    converted = cv2.cvtColor(colour.reshape(1, 1, 3), cv2.COLOR_RGB2HSV)[0, 0]
    hue, saturation, value = (int(part) for part in converted)
    # The darker a colour, the less its hue means: a compressed black coat is never quite grey.
    if value < _BLACK or (value < 1.5 * _BLACK and saturation < 90):
        return "black"
    if saturation < _COLOURLESS:
        return "white" if value >= _WHITE else "grey"
    if saturation < _PALE and 78 <= hue < 169 and value >= 130:
        return ""
    if 5 <= hue <= 32 and saturation < 95 and value >= 140:
        return "beige"
    if 4 <= hue <= 22 and value < 150 and not _is_mustard(hue, saturation, value):
        return "brown"
    if (hue < 5 or hue >= 168) and saturation < 130 and value >= 140:
        return "pink"
    if _is_mustard(hue, saturation, value):
        return "yellow"
    return next(name for end, name in _HUES if hue < end)


def _is_mustard(hue: int, saturation: int, value: int) -> bool:
    """Tell a strong yellow in the shade from brown: cloth of RGB (149, 95, 6) is no brown."""
    return 17 <= hue <= 22 and saturation >= 200 and value >= 110
