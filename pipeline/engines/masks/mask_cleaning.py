"""Make a segmenter's raw mask one person: one piece, no pinholes, a smooth outline."""

from collections.abc import Sequence

import cv2
import numpy as np

LARGEST_HOLE = 0.004  # of the person's box; larger ones are arms akimbo, not noise
BEYOND_BOX = 0.12  # of the box's longer side: how far a person may reach out of the box
_SMOOTH = 0.006  # standard deviation of the outline's blur over the box's longer side


def clean_mask(
    mask: np.ndarray, box: np.ndarray, points: Sequence[tuple[float, float]] = ()
) -> np.ndarray:
    """Return (H, W) uint8, 255 on the person, from a (H, W) bool mask.

    The piece that holds most of `points` is kept, among equals the largest.
    """
    inside = _within(mask, box)
    piece = main_piece(inside, points)
    if not piece.any():
        return piece * 255
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    filled = _without_pinholes(piece, LARGEST_HOLE * float(np.prod(box[2:] - box[:2])))
    soft = cv2.GaussianBlur(filled.astype(np.float32), (0, 0), max(0.6, _SMOOTH * longer))
    smooth = main_piece(soft >= 0.5, points)
    return (smooth if smooth.any() else filled) * np.uint8(255)


def agreement(mask: np.ndarray, other: np.ndarray) -> float:
    """Return the overlap (IoU) of two masks, 0 to 1; 0 where both are empty."""
    shared, either = ((mask > 0) & (other > 0)).sum(), ((mask > 0) | (other > 0)).sum()
    return float(shared) / max(float(either), 1.0)


def box_fit(mask: np.ndarray, box: np.ndarray) -> float:
    """Return the overlap (IoU) of the mask's bounding box with the person's box, 0 to 1."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0.0
    own = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
    sides = np.clip(np.minimum(own[2:], box[2:]) - np.maximum(own[:2], box[:2]), 0, None)
    shared = float(sides.prod())
    union = float((own[2:] - own[:2]).prod() + (box[2:] - box[:2]).prod()) - shared
    return shared / max(union, 1e-6)


def _within(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Cut off what lies far outside the box."""
    margin = BEYOND_BOX * float(max(box[2] - box[0], box[3] - box[1]))
    height, width = mask.shape
    x0, y0 = np.maximum(np.floor(box[:2] - margin), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(box[2:] + margin), [width, height]).astype(int)
    kept = np.zeros(mask.shape, np.uint8)
    kept[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    return kept


def main_piece(mask: np.ndarray, points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return (H, W) uint8, 1 on the piece that holds most of `points`, among equals the largest."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return np.zeros(mask.shape, np.uint8)
    held = np.zeros(count, int)
    for x, y in points:
        column, row = min(int(x), mask.shape[1] - 1), min(int(y), mask.shape[0] - 1)
        held[labels[row, column]] += 1
    order = sorted(range(1, count), key=lambda k: (-held[k], -stats[k, cv2.CC_STAT_AREA], k))
    return (labels == order[0]).astype(np.uint8)


def _without_pinholes(piece: np.ndarray, largest: float) -> np.ndarray:
    _, holes, stats, _ = cv2.connectedComponentsWithStats(1 - piece, connectivity=4)
    height, width = piece.shape
    filled = piece.copy()
    for label, (left, top, wide, high, size) in enumerate(stats):
        touches = left == 0 or top == 0 or left + wide == width or top + high == height
        if label and size <= largest and not touches:
            filled[holes == label] = 1
    return filled
