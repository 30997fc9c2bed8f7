"""How one small picture differs from another: measures for whoever looks for cuts.

All pictures are `SMALL`: coloured ones (36, 64, 3) BGR, grey ones (36, 64), uint8.
"""

import math

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided

SMALL = (64, 36)  # width, height: enough to tell shots apart, too little for noise
_BLOCK = (9, 8)  # height, width; 4 x 8 blocks fill a small picture
_REACH = (4, 8)  # pixels down and across that a block may have moved: an eighth of the picture
_STEP = 2  # pixels between the places tried; the pictures are blurred by that much
_SAME_SCENE = 0.85  # correlation
_BINS = 8  # of a colour histogram, a channel


def small_picture(picture: np.ndarray) -> np.ndarray:
    """Shrink a BGR picture of any size."""
    return cv2.resize(picture, SMALL, interpolation=cv2.INTER_AREA)


def grey_picture(small: np.ndarray) -> np.ndarray:
    """Return a small picture in grey, blurred so that steps of two pixels find any motion."""
    return cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (3, 3), 0)


def colours(small: np.ndarray) -> np.ndarray:
    """Return a small picture's colour histogram, of sum 1."""
    counts = cv2.calcHist([small], [0, 1, 2], None, [_BINS] * 3, [0, 256] * 3).ravel()
    return counts / counts.sum()


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean absolute difference, of 255."""
    return float(cv2.norm(one, other, cv2.NORM_L1)) / one.size


def unexplained(before: np.ndarray, after: np.ndarray) -> float:
    """Return the mean difference of grey pictures, of 255, that no motion of blocks explains.

    Every block of the later picture is looked for in the earlier one around its place; the best
    match counts. A moving camera leaves little, a cut leaves most of the difference.
    """
    down, across = _REACH
    wide = cv2.copyMakeBorder(before, down, down, across, across, cv2.BORDER_REPLICATE)
    wide = wide.astype(np.float32)
    rows, columns = 2 * down // _STEP + 1, 2 * across // _STEP + 1
    row, column = wide.strides
    places = as_strided(
        wide, (rows, columns, *after.shape), (_STEP * row, _STEP * column, row, column)
    )
    height, width = after.shape
    apart = np.abs(places - after).reshape(-1, height // _BLOCK[0], _BLOCK[0], width)
    bands = apart.sum(axis=2).reshape(len(apart), -1, width // _BLOCK[1], _BLOCK[1])
    best = bands.sum(axis=3).min(axis=0)  # of whole numbers: exact on every machine
    return float(best.mean()) / (_BLOCK[0] * _BLOCK[1])


def shape(flat: np.ndarray) -> np.ndarray:
    """Return a picture less its mean, of length 1; nought where it is flat.

    The product of two is their correlation.
    """
    centred = flat - flat.mean()
    length = math.sqrt(float(centred @ centred))
    return centred / length if length > 0 else centred


def only_light(first: np.ndarray, second: np.ndarray, share: float) -> bool:
    """Whether gain and offset explain a change of pictures, as rows, but for a share of it.

    The pictures must be alike: a gain of nought explains any change to black.
    """
    if float(shape(first) @ shape(second)) < _SAME_SCENE:
        return False
    centred = first - first.mean()
    gain = float(centred @ (second - second.mean())) / float(centred @ centred)
    left = second - second.mean() - gain * centred
    return float(np.abs(left).mean()) < share * float(np.abs(second - first).mean())
