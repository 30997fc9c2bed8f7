"""What a person's clothes look like at a glance: enough to tell neighbours in one clip apart."""

import cv2
import numpy as np

from pipeline.engines.interfaces import Picture
from pipeline.pictures.boxes import padded_crop

_PATCH = (24, 36)
_TRUNK = (0.25, 0.10, 0.75, 0.75)  # of the person's box
_BINS = (4, 10, 10)
_RANGES = [0, 256, 88, 168, 88, 168]  # Lab; hardly a colour in a film is further from grey


def signature(picture: Picture, box: np.ndarray) -> np.ndarray:
    """Return (400,) float32, the square roots of a colour histogram, of unit length.

    The dot product of two is the Bhattacharyya coefficient: 1 alike, 0 nothing shared.
    """
    size = np.tile(box[2:] - box[:2], 2)
    patch = padded_crop(picture, np.tile(box[:2], 2) + np.array(_TRUNK) * size, _PATCH)
    lab = cv2.cvtColor(cv2.GaussianBlur(patch, (3, 3), 0), cv2.COLOR_RGB2LAB)
    lab[..., 1:] = np.clip(lab[..., 1:], _RANGES[2], _RANGES[3] - 1)
    counts = cv2.calcHist([lab], [0, 1, 2], None, list(_BINS), _RANGES)
    soft = cv2.GaussianBlur(counts.reshape(_BINS[0], -1), (1, 3), 0).ravel()
    return np.sqrt(soft / max(float(soft.sum()), 1e-6)).astype(np.float32)
