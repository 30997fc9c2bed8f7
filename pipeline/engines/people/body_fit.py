"""From a face to the whole person: how far the body reaches, by GrabCut on a thumbnail.

Lengths are in sides of the face's box. A Haar face box is about as wide as the head and five
sixths as high; a standing person is about 7.5 heads, some 7 box sides below its upper edge.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.engines.interfaces import Picture
from pipeline.pictures.boxes import clip_to, padded_crop

_FACE_PX = 10  # side of the face in the thumbnail: a body is then 44 x 86 pixels, about 5 ms
_ABOVE, _BELOW, _BESIDE = 0.75, 8.4, 2.2  # of the thumbnail, from the face's box
_ROUNDS = 3
_CLOSE_UP = 2.2  # less than this below the face's upper edge: no body to fit, only shoulders
_PLAIN_BELOW = 4.0  # half body: where the box ends when GrabCut tells nothing
_SHOULDERS = 1.3  # half the width of a person seen from the front: shoulders are about 2.5 sides
_HAIR = 0.35  # of hair and skull above the box
_SPILLED, _COLLAPSED = 0.75, 0.12  # shares of the thumbnail that no upright person covers
_APART = 12.0  # distance in 8-bit Lab: plainly another colour
_UNLIKE = 0.3  # share of the middle that must be unlike its sides: two legs with a gap
_LONGEST_GAP = 0.8  # rows alike that are bridged: a hand, a ball
_MIN_ROW = 0.35  # a body row narrower than this is a stray pixel


@dataclass(frozen=True)
class _Frame:
    """The thumbnail's place: origin and scale (thumbnail pixels per picture pixel)."""

    left: float
    top: float
    scale: float
    width: int
    height: int


def person_around(picture: Picture, face: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the box of the person with this face; `others` are the other faces, (K, 4)."""
    height, width = picture.shape[:2]
    side = float(face[2] - face[0])
    plain = _plain_box(face, min(_PLAIN_BELOW, _BELOW))
    if face[1] + _CLOSE_UP * side >= height:
        return clip_to(plain, width, height)
    frame = _frame_around(face, width, height)
    box = np.array([frame.left, frame.top, 0, 0], np.float32)
    box[2:] = box[:2] + np.array([frame.width, frame.height]) / frame.scale
    thumbnail = padded_crop(picture, box, (frame.width, frame.height))
    mask = _cut(thumbnail, face, others, frame)
    fitted = _bounds(mask, face, frame) if mask is not None else None
    fitted = plain if fitted is None else fitted
    fitted[3] = max(fitted[3], frame.top + _contrast_end(thumbnail, face, frame) / frame.scale)
    return clip_to(fitted, width, height)


def _plain_box(face: np.ndarray, below: float) -> np.ndarray:
    side, middle = float(face[2] - face[0]), float(face[0] + face[2]) / 2
    reach = _SHOULDERS * side
    top = face[1] - _HAIR * side
    return np.array([middle - reach, top, middle + reach, face[1] + below * side], np.float32)


def _frame_around(face: np.ndarray, width: int, height: int) -> _Frame:
    side, middle = float(face[2] - face[0]), float(face[0] + face[2]) / 2
    left, right = max(0.0, middle - _BESIDE * side), min(float(width), middle + _BESIDE * side)
    top = max(0.0, float(face[1]) - _ABOVE * side)
    bottom = min(float(height), float(face[1]) + _BELOW * side)
    scale = _FACE_PX / side
    return _Frame(left, top, scale, round((right - left) * scale), round((bottom - top) * scale))


def _contrast_end(thumbnail: Picture, face: np.ndarray, frame: _Frame) -> int:
    """Return the row down to which the middle differs from what lies left and right of it.

    GrabCut gives up at a belt when the trousers look like the shade under trees; trousers and
    grass beside them still differ row by row. A table or a meadow goes on to both sides.
    """
    lab = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2LAB).astype(np.float32)
    column, chest = _place(
        np.array([(face[0] + face[2]) / 2, face[1] + 2.0 * (face[3] - face[1])]), frame
    )
    inner, outer = round(0.8 * _FACE_PX), round(1.4 * _FACE_PX)
    end = chest
    for row in range(chest, min(frame.height, chest + round(6.2 * _FACE_PX))):
        near = slice(max(row - 1, 0), row + 2)
        beside = np.concatenate(
            [lab[near, : max(column - outer, 0)], lab[near, column + outer :]], axis=1
        ).reshape(-1, 3)
        if len(beside) < _FACE_PX:
            break
        middle = lab[row, max(column - inner, 0) : column + inner + 1]
        apart = np.linalg.norm(middle[:, None] - beside[None], axis=2).min(1)
        if float((apart > _APART).mean()) >= _UNLIKE:
            end = row + 1
        elif row - end > _LONGEST_GAP * _FACE_PX:
            break
    return end


def _cut(
    thumbnail: Picture, face: np.ndarray, others: np.ndarray, frame: _Frame
) -> np.ndarray | None:
    """Return the person in the thumbnail, 0 or 1, or None when GrabCut spilled or collapsed."""
    seeds = _seeds(face, others, frame)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(thumbnail, seeds, (0, 0, 0, 0), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    mask = np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    _, labels = cv2.connectedComponents(mask)
    x, y = _place((face[:2] + face[2:]) / 2, frame)
    mask = (labels == labels[y, x]).astype(np.uint8) if mask[y, x] else np.zeros_like(mask)
    return mask if _COLLAPSED < mask.mean() < _SPILLED else None


def _place(point: np.ndarray, frame: _Frame) -> tuple[int, int]:
    x, y = (point - np.array([frame.left, frame.top])) * frame.scale
    return int(np.clip(x, 0, frame.width - 1)), int(np.clip(y, 0, frame.height - 1))


def _seeds(face: np.ndarray, others: np.ndarray, frame: _Frame) -> np.ndarray:
    """Say what is surely, probably or surely not the person, in GrabCut's four values."""
    seeds = np.full((frame.height, frame.width), cv2.GC_PR_BGD, np.uint8)
    side, middle = float(face[2] - face[0]), float(face[0] + face[2]) / 2

    def paint(left: float, top: float, right: float, bottom: float, value: int) -> None:
        corners = np.array([[left, top], [right, bottom]]) * side + np.array([middle, face[1]])
        x0, y0 = _place(corners[0], frame)
        x1, y1 = _place(corners[1], frame)
        seeds[y0 : y1 + 1, x0 : x1 + 1] = value

    paint(-0.9, 1.15, 0.9, 7.2, cv2.GC_PR_FGD)  # body
    paint(-0.7, -0.35, 0.7, 1.15, cv2.GC_PR_FGD)  # head
    for left, right in ((-9.0, -1.9), (1.9, 9.0)):
        paint(left, -1.0, right, 9.0, cv2.GC_BGD)  # beyond the elbows
    for left, right in ((-9.0, -1.0), (1.0, 9.0)):
        paint(left, -1.0, right, 0.4, cv2.GC_BGD)  # beside the head
    paint(-0.35, 0.1, 0.35, 1.0, cv2.GC_FGD)  # face
    paint(-0.45, 1.5, 0.45, 2.4, cv2.GC_FGD)  # chest
    for other in others:
        first, last = _place(other[:2], frame), _place(other[2:], frame)
        seeds[first[1] : last[1], first[0] : last[0]] = cv2.GC_BGD
    return seeds


def _bounds(mask: np.ndarray, face: np.ndarray, frame: _Frame) -> np.ndarray | None:
    """Return the box around head, trunk and legs; arms that stick out are cut at 2 % of rows."""
    middle = _place((face[:2] + face[2:]) / 2, frame)[0]
    near = mask[:, max(0, middle - _FACE_PX) : middle + _FACE_PX + 1]
    wide = near.sum(1) >= _MIN_ROW * _FACE_PX
    chest = min(_place(face[:2] + 2.0 * (face[3] - face[1]), frame)[1], frame.height - 1)
    rows = np.flatnonzero(~wide[chest:])
    last = chest + int(rows[0]) if len(rows) else frame.height
    columns = np.flatnonzero(mask[:last].sum(0) >= max(2, 0.02 * last))
    first = np.flatnonzero(mask.any(1))
    if not len(columns) or not len(first):
        return None
    corners = np.array([[columns[0], first[0]], [columns[-1] + 1, last]], np.float32)
    box = (corners / frame.scale + np.array([frame.left, frame.top])).ravel()
    least = _plain_box(face, _CLOSE_UP)
    least[[0, 2]] += np.array([0.3, -0.3]) * (face[2] - face[0])  # never narrower than the head
    return np.concatenate([np.minimum(box[:2], least[:2]), np.maximum(box[2:], least[2:])])
