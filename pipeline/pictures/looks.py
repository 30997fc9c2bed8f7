"""What a picture of a person looks like at a glance: whether two are copies, and of one place.

A look is the low frequencies of the person's box in grey, without its mean and of one length: light
that changes as a whole, colour, recompression and a box a few pixels off leave it nearly the same;
another pose does not. A place is the colours of what surrounds the person.
"""

from collections.abc import Iterable

import cv2
import numpy as np

from pipeline.media.images import Picture
from pipeline.pictures.boxes import padded_crop

LOOK_SIZE = 143  # numbers of a look
_SIDE = 48  # pixels that the box is scaled to
_WAVES = 12  # per side: details below a twelfth of the box say nothing of the pose
_PLACE_BINS = (4, 8, 8)  # L, a, b
_PLACE_RANGES = [0, 256, 88, 168, 88, 168]  # Lab; hardly a colour in a film is further from grey
_LEAST_PLACE = 0.03  # share of the picture that must be background to say anything of the place


def look_of(picture: Picture, box: np.ndarray) -> bytes:
    """Return 143 signed bytes; '' for a box in which there is nothing to see."""
    patch = padded_crop(picture, np.asarray(box, np.float32), (_SIDE, _SIDE))
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(np.float32)
    waves = cv2.dct(cv2.GaussianBlur(grey, (5, 5), 0))[:_WAVES, :_WAVES].ravel()[1:]
    length = float(np.linalg.norm(waves))
    if length < 1.0:
        return b""
    # the square root weakens the few slowest waves, which nearly all portraits share
    shape = np.sign(waves) * np.sqrt(np.abs(waves) / length)
    shape = shape / np.abs(shape).max()
    return np.round(127 * shape).astype(np.int8).tobytes()


def looks_array(looks: Iterable[bytes]) -> np.ndarray:
    """Return (N, 143) float32 unit rows; NaN where there is no look."""
    rows = [
        np.frombuffer(look, np.int8).astype(np.float32)
        if len(look) == LOOK_SIZE
        else np.full(LOOK_SIZE, np.nan, np.float32)
        for look in looks
    ]
    stacked = np.array(rows, np.float32).reshape(len(rows), LOOK_SIZE)
    return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)


def place_of(picture: Picture, person: np.ndarray) -> bytes:
    """Return 256 bytes, the square roots of the background's colour histogram; '' for none.

    `person` is (H, W), not 0 where the person is; its surroundings take part nowhere.
    """
    outside = (cv2.dilate((person > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) == 0).astype(
        np.uint8
    )
    if outside.mean() < _LEAST_PLACE:
        return b""
    lab = cv2.cvtColor(cv2.GaussianBlur(picture, (3, 3), 0), cv2.COLOR_RGB2LAB)
    lab[..., 1:] = np.clip(lab[..., 1:], _PLACE_RANGES[2], _PLACE_RANGES[3] - 1)
    counts = cv2.calcHist([lab], [0, 1, 2], outside * 255, list(_PLACE_BINS), _PLACE_RANGES)
    soft = cv2.GaussianBlur(counts.reshape(_PLACE_BINS[0], -1), (3, 3), 0).ravel()
    return np.round(255 * np.sqrt(soft / max(float(soft.sum()), 1e-6))).astype(np.uint8).tobytes()


def places_array(places: Iterable[bytes]) -> np.ndarray:
    """Return (N, 256) float32 unit rows; NaN where there is no place."""
    size = int(np.prod(_PLACE_BINS))
    rows = [
        np.frombuffer(place, np.uint8).astype(np.float32)
        if len(place) == size
        else np.full(size, np.nan, np.float32)
        for place in places
    ]
    stacked = np.array(rows, np.float32).reshape(len(rows), size)
    return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
