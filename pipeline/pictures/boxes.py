"""Arithmetic on boxes: xyxy, float32, in pixels."""

import numpy as np


def area(boxes: np.ndarray) -> np.ndarray:
    """Return the area of every box; boxes turned inside out have none."""
    sides = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None)
    return sides[..., 0] * sides[..., 1]


def intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the (N, M) shared areas of N and M boxes."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    opposite = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.clip(opposite - corner, 0, None)
    return sides[..., 0] * sides[..., 1]


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the (N, M) intersections over unions of N and M boxes."""
    shared = intersection(first, second)
    union = area(first)[:, None] + area(second)[None, :] - shared
    return shared / np.maximum(union, 1e-6)


def inside(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Return, (N, M), the share of each inner box that lies in each outer box."""
    return intersection(inner, outer) / np.maximum(area(inner)[:, None], 1e-6)


def clip_to(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """Cut boxes off at the picture's edge."""
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(boxes, 0, limits).astype(np.float32)


def suppress(boxes: np.ndarray, scores: np.ndarray, limit: float) -> list[int]:
    """Return the indices kept by non-maximum suppression, best first.

    A box is dropped when it shares more than `limit` of the smaller of the two with a better one,
    so that a part never survives beside the whole. Ties are broken by position, not by order.
    """
    order = sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), *map(float, boxes[i])))
    kept: list[int] = []
    for index in order:
        box = boxes[index : index + 1]
        others = boxes[kept].reshape(-1, 4)
        smaller = np.minimum(area(box)[:, None], area(others)[None, :])
        shared = intersection(box, others) / np.maximum(smaller, 1e-6)
        if not len(kept) or float(shared.max()) <= limit:
            kept.append(index)
    return kept


def padded_crop(picture: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut a box out, scaled to (width, height); what lies outside repeats the picture's edge."""
    import cv2

    x0, y0, x1, y1 = (float(value) for value in box)
    fx, fy = size[0] / max(x1 - x0, 1e-6), size[1] / max(y1 - y0, 1e-6)
    warp = np.array(
        [[fx, 0, -x0 * fx + 0.5 * fx - 0.5], [0, fy, -y0 * fy + 0.5 * fy - 0.5]], np.float32
    )
    if min(fx, fy) < 0.5:  # far smaller: warpAffine would alias, so average first
        left, top = max(int(x0), 0), max(int(y0), 0)
        part = picture[top : max(int(np.ceil(y1)), top + 1), left : max(int(np.ceil(x1)), left + 1)]
        inside_picture = x1 <= picture.shape[1] and y1 <= picture.shape[0]
        if part.size and left == int(x0) and top == int(y0) and inside_picture:
            return cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return cv2.warpAffine(
        picture, warp, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
