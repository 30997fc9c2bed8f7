"""Make parts of a picture unrecognisable, for good: a few cells are all that is left of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

# A face of six cells is known by nobody and by no network, and what is between cells is gone:
# unlike a blur, nothing of it can be sharpened again.
_CELLS = 6
_SOFT = 0.08  # of the region's shorter side: the rim in which it fades into the picture
_FACE_ROOM = (0.35, 0.45)  # of a face's sides, beyond each of them: hair, ears, chin
_OWN_FACE_ROOM = (0.12, 0.2)


@dataclass(frozen=True)
class Region:
    """A part of a picture to be hidden.

    Attributes:
        box: (4,) xyxy in pixels of the picture.
        oval: an oval in the box; else all of the box.
        sure: (4,) a face in it, which is hidden even where somebody else's mask lies; or None.
    """

    box: np.ndarray
    oval: bool = True
    sure: np.ndarray | None = None


@dataclass(frozen=True)
class Kept:
    """What must not be touched.

    Attributes:
        mask: (height, width) bool, or None
        faces: (4,) boxes whose ovals nothing may reach into
    """

    mask: np.ndarray | None = None
    faces: tuple[np.ndarray, ...] = ()


def grown(box: np.ndarray, across: float, along: float) -> np.ndarray:
    """Return a box with this share of its width and height added at each of its sides."""
    room = np.array([across * (box[2] - box[0]), along * (box[3] - box[1])])
    return np.concatenate([box[:2] - room, box[2:] + room])


def head_of(face: np.ndarray) -> np.ndarray:
    """Return the box of the head around a face."""
    return grown(face, *_FACE_ROOM)


def hide(planes: Sequence[np.ndarray], regions: Sequence[Region], kept: Kept = Kept()) -> None:
    """Hide regions in the planes of a picture, in place.

    planes: (height, width) or (height, width, 3) uint8; the first has the picture's size, others,
    as those of chroma, may be smaller by a whole factor.
    """
    height, width = planes[0].shape[:2]
    for region in regions:
        cut = _rectangle(region.box, width, height)
        if cut is None:
            continue
        weights = _weights(region, kept, cut)
        if not weights.any():
            continue
        for plane in planes:
            _hide_in(plane, cut, weights, height // plane.shape[0], width // plane.shape[1])


def _rectangle(box: np.ndarray, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Return the pixels around a box and its rim, in pairs; None outside of the picture."""
    rim = _rim(box) * 2
    x0, y0 = (max(0, int(np.floor(side - rim)) // 2 * 2) for side in box[:2])
    x1 = min(width, int(np.ceil(box[2] + rim)) // 2 * 2 + 2)
    y1 = min(height, int(np.ceil(box[3] + rim)) // 2 * 2 + 2)
    return (x0, y0, x1, y1) if x1 - x0 >= 2 and y1 - y0 >= 2 else None


def _rim(box: np.ndarray) -> float:
    return max(1.0, _SOFT * float(min(box[2] - box[0], box[3] - box[1])))


def _weights(region: Region, kept: Kept, cut: tuple[int, int, int, int]) -> np.ndarray:
    """Return, 0 to 1, how much of each pixel of the rectangle is hidden."""
    x0, y0, x1, y1 = cut
    shape, corner = (y1 - y0, x1 - x0), (x0, y0)
    hidden = _drawn(region.box, shape, corner, region.oval)
    if kept.mask is not None:
        hidden[kept.mask[y0:y1, x0:x1]] = 0
    if region.sure is not None:
        hidden |= _drawn(region.sure, shape, corner, oval=True)
    rim = _rim(region.box)
    around = cv2.dilate(hidden, np.ones((2 * round(rim) + 1,) * 2, np.uint8))  # the rim is outside
    soft = cv2.GaussianBlur(around.astype(np.float32), (0, 0), rim / 2)
    soft = np.maximum(soft, hidden)
    if kept.mask is not None:
        soft[kept.mask[y0:y1, x0:x1] & (hidden == 0)] = 0
    for face in kept.faces:
        soft[_drawn(grown(face, *_OWN_FACE_ROOM), shape, corner, oval=True) > 0] = 0
    return soft


def _drawn(
    box: np.ndarray, shape: tuple[int, int], corner: tuple[int, int], oval: bool
) -> np.ndarray:
    """Return (height, width) uint8, 1 in the box or its oval."""
    x0, y0, x1, y1 = np.asarray(box, float) - np.tile(corner, 2)
    rows = np.arange(shape[0])[:, None] + 0.5
    columns = np.arange(shape[1])[None, :] + 0.5
    if not oval:
        inside = (rows >= y0) & (rows <= y1) & (columns >= x0) & (columns <= x1)
    else:
        high, wide = max((y1 - y0) / 2, 0.5), max((x1 - x0) / 2, 0.5)
        away = ((columns - (x0 + x1) / 2) / wide) ** 2 + ((rows - (y0 + y1) / 2) / high) ** 2
        inside = away <= 1
    return inside.astype(np.uint8)


def _hide_in(
    plane: np.ndarray, cut: tuple[int, int, int, int], weights: np.ndarray, down: int, across: int
) -> None:
    x0, x1 = cut[0] // across, -(-cut[2] // across)
    part = plane[cut[1] // down : -(-cut[3] // down), x0:x1]
    high, wide = part.shape[:2]
    cells = (
        max(1, round(_CELLS * wide / max(wide, high))),
        max(1, round(_CELLS * high / max(wide, high))),
    )
    small = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(small, (wide, high), interpolation=cv2.INTER_LINEAR)
    share = cv2.resize(weights, (wide, high), interpolation=cv2.INTER_AREA)
    if part.ndim == 3:
        share = share[..., None]
    part[:] = np.clip(part * (1 - share) + coarse * share + 0.5, 0, 255).astype(np.uint8)
