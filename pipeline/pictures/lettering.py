"""Where a picture shows lettering."""

import cv2
import numpy as np

from pipeline.media.images import Picture

SHORT_SIDE = 256  # pixels at which lettering, sharpness and motion are measured
_TEXT_CONTRAST = 70  # of 255, between a stroke and its ground; lettering is made to be read
_TEXT_LEAST = 0.002  # share of the picture in strokes, below which it is not searched


def text_mask(small: np.ndarray) -> np.ndarray:
    """Return where a grey picture looks like lettering: rows of thin strokes of high contrast.

    A heuristic: it finds subtitles and captions of usual size, and misses text that is large,
    faint or in perspective.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (9, 9))
    light = cv2.morphologyEx(small, cv2.MORPH_TOPHAT, kernel)
    dark = cv2.morphologyEx(small, cv2.MORPH_BLACKHAT, kernel)
    mask = np.zeros(small.shape, bool)
    for strokes in (light, dark):
        strong = (strokes > _TEXT_CONTRAST).astype(np.uint8)
        if cv2.countNonZero(strong) < _TEXT_LEAST * small.size:
            continue
        joined = cv2.morphologyEx(strong, cv2.MORPH_CLOSE, np.ones((3, 11), np.uint8))
        mask |= _text_lines(strong, joined)
    return mask


def small_grey(picture: Picture) -> np.ndarray:
    """Return an RGB picture as lettering is looked for in it."""
    height, width = picture.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.cvtColor(cv2.resize(picture, size, interpolation=method), cv2.COLOR_RGB2GRAY)


def lettering_on(picture: Picture, inside: np.ndarray) -> float:
    """Return the share of a part of an RGB picture, (H, W) bool, in lettering; 0 of an empty one.

    Stripes of cloth have 0.017 at most in 1,146 pictures of people; subtitles over them, 0.03 up.
    """
    small = small_grey(picture)
    part = cv2.resize(inside.astype(np.uint8), small.shape[::-1], interpolation=cv2.INTER_NEAREST)
    here = text_mask(small)[part > 0]
    return float(here.mean()) if here.size else 0.0


def _text_lines(strong: np.ndarray, joined: np.ndarray) -> np.ndarray:
    """Keep the joined strokes that have the shape of a line of text."""
    number, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
    strokes = np.bincount(labels[strong > 0], minlength=number)
    width, height, area = stats[:, 2], stats[:, 3], stats[:, 4]
    line = (height >= 5) & (height <= 32) & (width >= 2.5 * height) & (width >= 24)
    filled = (area >= 0.5 * width * height) & (strokes <= 0.7 * area) & (strokes >= 0.2 * area)
    keep = line & filled
    keep[0] = False  # the ground
    return np.take(keep, np.asarray(labels, np.intp))
