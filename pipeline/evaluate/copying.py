"""Whether a video copies its reference instead of showing the person anew.

Similarity alone rewards a frozen picture, so it is reported beside these metrics.
"""

import cv2
import numpy as np

from pipeline.pictures.boxes import padded_crop

_SIDE = 48  # px of the crops that are compared
_WIDE = (1.4, 1.2, 1.4, 2.2)  # of the face's side, left, up, right and down of the face's middle
_ANGLE_FLOOR = 1e-3  # radians between two pictures of one person; a smaller one divides nothing


def copy_paste(to_truth: float, to_reference: float, truth_to_reference: float) -> float:
    """Return M_CP in [-1, 1] from three cosines; above 0 is nearer to the reference than to truth.

    (angle to the true clip - angle to the reference) / angle between those two.
    Source: WithAnyone, arXiv 2510.14975.
    """
    cosines = np.clip([to_truth, to_reference, truth_to_reference], -1.0, 1.0)
    truth, reference, apart = np.arccos(cosines)
    return float(np.clip((truth - reference) / max(float(apart), _ANGLE_FLOOR), -1.0, 1.0))


def head_and_shoulders(picture: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return the grey crop around a face, (48, 48) float, of zero mean and unit length."""
    side = max(float(face[2] - face[0]), 1.0)
    middle = (face[:2] + face[2:]) / 2
    reach = np.array([-_WIDE[0], -_WIDE[1], _WIDE[2], _WIDE[3]], np.float32) * side
    crop = padded_crop(picture, np.tile(middle, 2) + reach, (_SIDE, _SIDE))
    grey = cv2.GaussianBlur(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    centred = grey - grey.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-6)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two such crops: 1 is a copy, at any brightness."""
    return float((first * second).sum())


def pose_change(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return how differently two heads are held, from five points of each: 0 is not at all.

    Root mean square of the residual after moving, turning and scaling one onto the other, in
    units of the second's spread. None where points are unknown.
    """
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    one, other = (points[:, 0] + 1j * points[:, 1] for points in (first, second))
    one, other = one - one.mean(), other - other.mean()
    spread = float(np.vdot(other, other).real)
    if spread < 1e-9 or float(np.vdot(one, one).real) < 1e-9:
        return None
    factor = np.vdot(one, other) / np.vdot(one, one).real
    residual = other - factor * one
    return float(np.sqrt(np.vdot(residual, residual).real / spread))
