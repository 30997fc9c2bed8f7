"""Say whether a person's hair is dark or blond, where it is sure.

Looked at is what the mask holds above the forehead. Grey hair and caps are not told apart, nor red
hair and warm light, so nothing is said of them; a dark cap passes for dark hair.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.engines.interfaces import PersonImage

_FEWEST = 2  # images that must name one colour, where there are as many
_SMALLEST = 40.0  # pixels of a face's height
# (left, top, right, bottom) from the middle of the face's upper edge, in sides of the face
_PLACE = (-0.3, -0.3, 0.3, -0.08)
_SKIN = (0.25, 0.45, 0.75, 0.75)  # of the face's box: between eyes and mouth
_SHOWN = 0.15  # of the place that must be in the picture
_COVERED = 0.85  # share of the place that must be the person
_LIT = (70, 235)  # HSV value of the skin in which hair has its colour
_DARK, _DARKEST = 0.4, 85  # HSV value of dark hair, over the skin's and by itself
_BRIGHT = 120  # HSV value of blond hair
_DYED = (
    1.0  # HSV saturation of blond hair over the skin's; a warm lamp dyes grey hair less than skin
)
_OF_ONE_COLOUR = 0.7  # share of the place


def hair_colour(people: Sequence[PersonImage], masks: Sequence[np.ndarray]) -> str:
    """Return dark | blond where all images that show the hair agree, else ''."""
    seen = [_colour_of(person, mask) for person, mask in zip(people, masks, strict=True)]
    names = [name for name in seen if name is not None]
    if len(names) < min(_FEWEST, len(people)) or len(set(names)) != 1:
        return ""
    return names[0]


def _colour_of(person: PersonImage, mask: np.ndarray) -> str | None:
    """Return the colour, '' where there is no single one, None where the place is not seen."""
    if person.face is None or person.face[3] - person.face[1] < _SMALLEST:
        return None
    x0, y0, x1, y1 = np.asarray(person.face, float)
    side = x1 - x0
    place = np.array([(x0 + x1) / 2, y0] * 2) + side * np.array(_PLACE)
    here = _cut(mask, place) > 127
    if here.size < _SHOWN * np.prod(place[2:] - place[:2]) or here.mean() < _COVERED:
        return None
    size = np.array([x1 - x0, y1 - y0] * 2)
    skin = _median_hsv(_cut(person.picture, np.array([x0, y0] * 2) + size * np.array(_SKIN)))
    if not _LIT[0] <= skin[2] <= _LIT[1]:
        return None
    pixels = _cut(person.picture, place)[here]
    hsv = cv2.cvtColor(pixels.reshape(-1, 1, 3), cv2.COLOR_RGB2HSV).reshape(-1, 3).astype(int)
    hue, saturation, value = hsv.T
    if ((value < _DARK * skin[2]) & (value < _DARKEST)).mean() >= _OF_ONE_COLOUR:
        return "dark"
    yellow = (hue >= 11) & (hue <= 26) & (saturation >= 50) & (saturation <= 150)
    yellow &= saturation >= _DYED * skin[1]
    return "blond" if (yellow & (value >= _BRIGHT)).mean() >= _OF_ONE_COLOUR else ""


def _median_hsv(pixels: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2HSV)
    return np.median(hsv.reshape(-1, 3), axis=0) if hsv.size else np.zeros(3)


def _cut(values: np.ndarray, box: np.ndarray) -> np.ndarray:
    x0, y0 = np.maximum(np.round(box[:2]), 0).astype(int)
    x1, y1 = np.round(box[2:]).astype(int)
    return values[y0:y1, x0:x1]
