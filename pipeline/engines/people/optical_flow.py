"""Follow a box from one picture to the next by the flow of points in its middle.

Source: median flow, Kalal et al., "Forward-backward error" (ICPR 2010): points that do not come
back to where they started are dropped, the median of the rest moves the box.
"""

import cv2
import numpy as np

from pipeline.media.pixels import full_range_levels

FOLLOW_PX = 240  # short side of the pictures that are followed on; 2 ms a box
_GRID = 8  # points per side
_MIDDLE = (0.25, 0.06, 0.75, 0.70)  # of the box: head and trunk, not the ground beside the legs
_BACK_ERROR = 1.0  # pixels at FOLLOW_PX
_ENOUGH = 0.35  # share of points that come back
_MAX_SCALE = 1.15  # per step; more is a mistake, not a person coming closer
_WINDOW, _LEVELS = (15, 15), 3


def small_grey(luma: np.ndarray) -> tuple[np.ndarray, float]:
    """Return luma of limited range as followed on, in full range; its pixels per pixel of luma."""
    scale = min(1.0, FOLLOW_PX / min(luma.shape))
    size = (max(16, round(luma.shape[1] * scale)), max(16, round(luma.shape[0] * scale)))
    return cv2.LUT(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), full_range_levels()), scale


def follow(before: np.ndarray, after: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Return where a box of `before` is in `after`, or None when its points are lost.

    Both pictures are grey and of one size; boxes are in their pixels.
    """
    start = _grid_in(box, before.shape)
    if start is None:
        return None
    there, found = _flow(before, after, start)
    back, returned = _flow(after, before, there)
    error = np.linalg.norm((back - start).reshape(-1, 2), axis=1)
    good = (found.ravel() > 0) & (returned.ravel() > 0) & (error <= _BACK_ERROR)
    if good.mean() < _ENOUGH:
        return None
    first, second = start.reshape(-1, 2)[good], there.reshape(-1, 2)[good]
    scale = float(np.clip(_growth(first, second), 1 / _MAX_SCALE, _MAX_SCALE))
    centre = (box[:2] + box[2:]) / 2 + np.median(second - first, axis=0)
    half = (box[2:] - box[:2]) / 2 * scale
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def _flow(before: np.ndarray, after: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, ...]:
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, points.copy(), winSize=_WINDOW, maxLevel=_LEVELS
    )
    return moved, found


def _grid_in(box: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    size = np.tile(box[2:] - box[:2], 2)
    middle = np.tile(box[:2], 2) + np.array(_MIDDLE) * size
    limits = np.array([shape[1] - 2, shape[0] - 2] * 2)
    x0, y0, x1, y1 = np.clip(middle, 1, limits)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return None
    columns, rows = np.linspace(x0, x1, _GRID), np.linspace(y0, y1, _GRID)
    points = np.stack(np.meshgrid(columns, rows), axis=-1)
    return points.reshape(-1, 1, 2).astype(np.float32)


def _growth(first: np.ndarray, second: np.ndarray) -> float:
    """Return how much further apart the points are than they were."""
    before = np.linalg.norm(first[:, None] - first[None], axis=2)
    after = np.linalg.norm(second[:, None] - second[None], axis=2)
    apart = before > 3
    return float(np.median(after[apart] / before[apart])) if apart.any() else 1.0
