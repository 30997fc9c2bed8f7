"""Is a mask where the person is? Measured by how well its outline lies on edges of the picture."""

import cv2
import numpy as np

SIDE = 96  # pixels of the long side at which outlines are compared
REACH = 0.3  # share of the side by which a mask may have slipped


def soft_share(mask: np.ndarray) -> float:
    """Return the share of a mask's pixels that are neither on nor off: a halo around the person."""
    some = mask > 8
    return float(((mask > 24) & (mask < 231)).sum() / max(1, some.sum()))


def mask_fit(grey: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Return (fit, shift): edge strength under the outline over that at the best other place.

    1 where the outline lies best where it is; `shift` is the way to the best place as a share of
    the long side. Outlines on the picture's border say nothing and are left out.
    """
    edges, outline = _edges(grey), _outline(mask)
    if outline.sum() < SIDE / 2:
        return 1.0, 0.0
    reach = round(REACH * SIDE)
    padded = cv2.copyMakeBorder(edges, reach, reach, reach, reach, cv2.BORDER_CONSTANT)
    inside = cv2.copyMakeBorder(
        np.ones_like(edges), reach, reach, reach, reach, cv2.BORDER_CONSTANT
    )
    strength = cv2.matchTemplate(padded, outline, cv2.TM_CCORR)
    counted = cv2.matchTemplate(inside, outline, cv2.TM_CCORR)
    mean = strength / np.maximum(counted, 1)
    mean[counted < 0.7 * outline.sum()] = 0  # most of it must still lie in the picture
    own = float(mean[reach, reach])
    row, column = np.unravel_index(int(np.argmax(mean)), mean.shape)
    best = float(mean[row, column])
    distance = float(np.hypot(row - reach, column - reach)) / SIDE
    return (own / best if best > 0 else 1.0), distance


def _edges(grey: np.ndarray) -> np.ndarray:
    scale = SIDE / max(grey.shape)
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small.astype(np.float32), (0, 0), 0.8)
    edges = np.hypot(cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1))
    # One strong edge must not outweigh all others, and an outline may be a pixel off.
    edges = np.minimum(edges, np.quantile(edges, 0.95) + 1e-3)
    return cv2.dilate(edges, np.ones((3, 3), np.uint8))


def _outline(mask: np.ndarray) -> np.ndarray:
    scale = SIDE / max(mask.shape)
    small = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    person = (small > 127).astype(np.uint8)
    outline = person - cv2.erode(person, np.ones((3, 3), np.uint8), borderValue=1)
    outline[[0, -1]] = 0
    outline[:, [0, -1]] = 0
    return outline.astype(np.float32)
