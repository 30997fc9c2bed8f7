"""How good an image of a person is as a reference: each measure alone, and all in one number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.media.images import Picture
from pipeline.pictures.boxes import padded_crop

_SHARP_PX = 224  # sharpness is compared at one size: NeMo Curator's 100 holds at 112 to 224
_GOOD_SIZE_PX = 256.0  # a person this large is large enough
_GOOD_SHARPNESS = 150.0  # NeMo Curator's threshold is 100
_BLACK, _WHITE = 0.04, 0.97  # luma beyond which nothing is left to see
_DARK, _BRIGHT = (0.05, 0.20), (0.95, 0.85)  # mean luma: useless, good
_LEAST_REACH = 0.75  # of the box's height: below it legs or head were lost
_WEIGHTS = {
    "size": 1.0,
    "sharp": 1.0,
    "exposure": 1.0,
    "frontal": 1.5,
    "whole": 1.0,
    "free": 2.0,
    "mask": 1.0,
}


@dataclass(frozen=True)
class Measured:
    """What is measured on an image of a person; see `schemas.tables.Candidate`."""

    size_px: float
    sharpness: float
    exposure: float
    frontal: float
    face_seen: bool
    occlusion: float
    truncation: float
    mask_quality: float | None = None  # None before the person is cut out
    mask_reach: float = 1.0  # share of the box's height that the mask reaches over


def combined_quality(measured: Measured) -> float:
    """Return all measures in one number, 0 to 1: their weighted geometric mean.

    Geometric, because a reference is as bad as its worst side: sharp does not make up for hidden.
    """
    face = 0.55 + 0.45 * measured.frontal if measured.face_seen else 0.35
    scores = {
        "size": min(1.0, measured.size_px / _GOOD_SIZE_PX),
        "sharp": min(1.0, measured.sharpness / _GOOD_SHARPNESS),
        "exposure": measured.exposure,
        "frontal": face,
        "whole": 1 - 0.5 * measured.truncation,
        "free": 1 - measured.occlusion,
        "mask": _mask_score(measured),
    }
    total = sum(_WEIGHTS[name] * math.log(max(score, 0.01)) for name, score in scores.items())
    return math.exp(total / sum(_WEIGHTS.values()))


def _mask_score(measured: Measured) -> float:
    if measured.mask_quality is None:
        return 1.0
    return measured.mask_quality * min(1.0, measured.mask_reach / _LEAST_REACH)


def sharpness_of(picture: Picture, box: np.ndarray) -> float:
    """Return the variance of the Laplacian of a box, scaled to 224 px on its long side."""
    size = box[2:] - box[:2]
    width, height = np.maximum(np.round(size * _SHARP_PX / max(size)), 8).astype(int)
    patch = padded_crop(picture, box, (int(width), int(height)))
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def exposure_of(picture: Picture, box: np.ndarray) -> float:
    """Return 1 for a well exposed box, 0 for a black or blown out one.

    Asked of the face where it is known: a black coat is not a dark picture.
    """
    grey = cv2.cvtColor(padded_crop(picture, box, (64, 64)), cv2.COLOR_RGB2GRAY) / 255.0
    mean = float(grey.mean())
    light = np.interp(mean, [*_DARK, *_BRIGHT[::-1]], [0.0, 1.0, 1.0, 0.0])
    lost = float(((grey < _BLACK) | (grey > _WHITE)).mean())
    return float(light * (1 - min(1.0, 2 * max(0.0, lost - 0.2))))


def occlusion_of(box: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """Return the share of a box that other people's boxes cover, on a grid of 64 x 64 points."""
    grid = (np.arange(64) + 0.5) / 64
    x = box[0] + grid * (box[2] - box[0])
    y = box[1] + grid * (box[3] - box[1])
    covered = np.zeros((64, 64), bool)
    for other in others:
        columns = (x >= other[0]) & (x <= other[2])
        rows = (y >= other[1]) & (y <= other[3])
        covered |= rows[:, None] & columns[None]
    return float(covered.mean())


def truncation_of(box: np.ndarray, width: int, height: int, edge: float) -> float:
    """Return the share of a box's outline that lies on the picture's edge."""
    wide, tall = float(box[2] - box[0]), float(box[3] - box[1])
    on_edge = 0.0
    on_edge += tall * (box[0] <= edge * width) + tall * (box[2] >= (1 - edge) * width)
    on_edge += wide * (box[1] <= edge * height) + wide * (box[3] >= (1 - edge) * height)
    return float(on_edge / max(2 * (wide + tall), 1e-6))
