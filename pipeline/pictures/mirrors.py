"""Find where a picture continues as its own mirror image, as padding by reflection leaves it.

Beyond the line at which it was padded, all of such a picture mirrors what lies before, up to the
picture's side. So every line that could be one is judged by all that lies beyond it.
"""

import cv2
import numpy as np

from pipeline.media.images import Picture

_SIDE = 192  # longest side, pixels, at which mirrors are looked for
_LEAST_DEPTH, _MOST_DEPTH = 12, 40  # pixels beyond a line that are compared
_BLOCK = 16  # pixels along the line that are judged together with their neighbours
_POOLED = 4  # such blocks
_ALIKE = 0.92  # correlation of what lies before and behind the line
_OUTER = 0.32  # of the side: padding is at the rim, and a face mirrors itself at its middle
_DETAIL = 2.5  # grey levels in both directions: plain ground and straight edges mirror themselves


_TEXTURE = 0.6  # the same within each block


def mirrored_share(
    picture: Picture, person: np.ndarray | None = None, warp: np.ndarray | None = None
) -> float:
    """Return the longest mirrored stretch along a side, as a share of that side; 0 for none.

    `picture` is RGB (H, W, 3) uint8. `person` (H, W), not 0 where something was padded that may
    be mirrored: before a painted ground only the person is. `warp` is the 3x3 map by which the
    picture was moved when it was padded.
    """
    height, width = picture.shape[:2]
    scale = _SIDE / max(height, width)
    size = tuple(max(4 * _LEAST_DEPTH, round(side * scale)) for side in (width, height))
    grey = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    detail = grey.astype(np.float32) - cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 6)
    if person is not None:
        small = cv2.resize(person, size, interpolation=cv2.INTER_NEAREST)
        detail[small == 0] = np.nan
    if warp is not None:
        detail = _moved_back(detail, warp, np.array(size) / (width, height))
    sides = (detail, detail[::-1], detail.T, detail.T[::-1])
    return max(_longest(side) for side in sides)


def _moved_back(detail: np.ndarray, warp: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the picture as it lay before it was moved, all of it; NaN outside."""
    shrink = np.diag([*scale, 1.0])
    back = shrink @ np.linalg.inv(warp) @ np.linalg.inv(shrink)
    height, width = detail.shape
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ back.T
    placed = corners[:, :2] / corners[:, 2:]
    first = placed.min(axis=0)
    size = np.minimum(np.ceil(placed.max(axis=0) - first).astype(int), 3 * _SIDE)
    to_origin = np.array([[1, 0, -first[0]], [0, 1, -first[1]], [0, 0, 1]])
    return cv2.warpPerspective(detail, to_origin @ back, size.tolist(), borderValue=float("nan"))


def _longest(picture: np.ndarray) -> float:
    """Return the longest stretch beyond which the picture mirrors what is before, as a share."""
    height, width = picture.shape
    blocks = width // _BLOCK
    if blocks < _POOLED:
        return 0.0
    picture = picture[:, : blocks * _BLOCK]
    longest = 0
    for line in range(max(_LEAST_DEPTH, round((1 - _OUTER) * height)), height - _LEAST_DEPTH + 1):
        depth = min(height - line, line, _MOST_DEPTH)
        before, behind = picture[line - depth : line][::-1], picture[line : line + depth]
        longest = max(longest, _run(_alike(before, behind, blocks)))
    return (longest + _POOLED - 1) * _BLOCK / width if longest else 0.0


def _alike(before: np.ndarray, behind: np.ndarray, blocks: int) -> np.ndarray:
    """Say of every few blocks in a row whether they mirror what lies before the line."""
    known = np.isfinite(before) & np.isfinite(behind)
    number = _summed(known, blocks)
    before, behind = (_uneven(part, known, blocks) for part in (before, behind))
    shared = _summed(before * behind, blocks)
    own, other = _summed(before**2, blocks), _summed(behind**2, blocks)
    deep = number >= _LEAST_DEPTH * _BLOCK * _POOLED
    varied = np.minimum(own, other) >= _DETAIL**2 * np.maximum(number, 1)
    return (
        deep & varied & _textured(behind, known, blocks) & (shared >= _ALIKE * np.sqrt(own * other))
    )


def _textured(part: np.ndarray, known: np.ndarray, blocks: int) -> np.ndarray:
    """Say of every few blocks whether all of them have detail: drawings are flat between lines."""
    energy, number = (
        values.reshape(len(values), blocks, _BLOCK).sum(axis=(0, 2), dtype=np.float64)
        for values in (part**2, known)
    )
    detailed = energy >= _TEXTURE**2 * np.maximum(number, 1)
    return np.convolve(detailed, np.ones(_POOLED), "valid") >= _POOLED - 0.5


def _uneven(part: np.ndarray, known: np.ndarray, blocks: int) -> np.ndarray:
    """Return what varies in both directions within every block; 0 where unknown."""
    values = np.where(known, part, 0).reshape(len(part), blocks, _BLOCK)
    here = known.reshape(values.shape)
    for axes in (0, 2):
        number = np.maximum(here.sum(axis=axes, keepdims=True), 1)
        values = np.where(here, values - values.sum(axis=axes, keepdims=True) / number, 0)
    return values.reshape(part.shape)


def _summed(values: np.ndarray, blocks: int) -> np.ndarray:
    sums = values.reshape(len(values), blocks, _BLOCK).sum(axis=(0, 2), dtype=np.float64)
    return np.convolve(sums, np.ones(_POOLED), "valid")


def _run(flags: np.ndarray) -> int:
    """Return the length of the longest run of True."""
    longest = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest
