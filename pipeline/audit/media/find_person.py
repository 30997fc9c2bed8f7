"""Find a reference's person in a frame of the clip: the same picture there is a copy."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

TALL = 64  # pixels of the person's height at which pictures are compared
_COARSE = 2  # times smaller, where all frames are gone through
_SCALES = (0.87, 0.93, 1.0, 1.07, 1.15)  # the mask and the tracker see a person of other height
_FINER = (0.96, 0.98, 1.0, 1.02, 1.04)  # of the coarse scale
_REFINED = 3  # frames that are searched again, finer
_GROUND_SCALES = (0.94, 0.97, 1.0, 1.03)  # besides that at which the person was found
_AROUND = 0.22  # of the person's size, that is compared around him
_MARGIN = 0.35  # of the box, that is searched around it
_LEAST_SPREAD = 6.0  # levels; a flatter ground is like any other
_LEAST_GROUND = 150  # pixels


@dataclass(frozen=True)
class CharacterSurroundings:
    """The surroundings of the character in one frame, so scaled that the box is TALL high."""

    frame_index: int
    grey: np.ndarray

    @classmethod
    def of(cls, frame_index: int, picture: np.ndarray, box: np.ndarray) -> "CharacterSurroundings":
        width, height = box[2] - box[0], box[3] - box[1]
        left, top = box[0] - _MARGIN * width, box[1] - _MARGIN * height
        right, bottom = box[2] + _MARGIN * width, box[3] + _MARGIN * height
        tall, wide = picture.shape[:2]
        x0, y0 = max(0, int(left)), max(0, int(top))
        x1, y1 = min(wide, int(right) + 1), min(tall, int(bottom) + 1)
        grey = cv2.cvtColor(np.ascontiguousarray(picture[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
        return cls(frame_index, _resized(grey, TALL / max(height, 1)))


@dataclass(frozen=True)
class Template:
    """A reference, so scaled that the person is TALL high."""

    grey: np.ndarray
    mask: np.ndarray  # bool
    box: tuple[int, int, int, int]  # the person's, xyxy


@dataclass(frozen=True)
class Located:
    """Where the person of a template is most alike in a frame."""

    shown: CharacterSurroundings
    likeness: float  # normalised correlation, -1 to 1
    scale: float
    left: int
    top: int


def _resized(grey: np.ndarray, scale: float) -> np.ndarray:
    size = (max(2, round(grey.shape[1] * scale)), max(2, round(grey.shape[0] * scale)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def person_of(picture: np.ndarray, mask: np.ndarray) -> Template:
    """Return the template of a reference; the mask must hold something."""
    rows = np.flatnonzero((mask > 127).any(axis=1))
    scale = TALL / max(1, int(rows.max() - rows.min()) + 1)
    grey = _resized(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), scale)
    small = cv2.resize(mask, grey.shape[::-1], interpolation=cv2.INTER_AREA) > 127
    found = np.nonzero(small)
    if not len(found[0]):
        return Template(grey, small, (0, 0, grey.shape[1], grey.shape[0]))
    top, bottom = int(found[0].min()), int(found[0].max()) + 1
    left, right = int(found[1].min()), int(found[1].max()) + 1
    return Template(grey, small, (left, top, right, bottom))


def nearest(template: Template, shown: Sequence[CharacterSurroundings]) -> list[Located]:
    """Return where the person is most alike, in the few frames that fit best, best first."""
    coarse = [
        located
        for frame in shown
        if (located := _locate(template, frame, _SCALES, 1 / _COARSE)) is not None
    ]
    best = sorted(coarse, key=lambda found: -found.likeness)[:_REFINED]
    finer = [
        located
        for rough in best
        if (located := _locate(template, rough.shown, [rough.scale * f for f in _FINER], 1.0))
        is not None
    ]
    return sorted(finer, key=lambda found: -found.likeness)


def _locate(
    template: Template, shown: CharacterSurroundings, scales: Sequence[float], zoom: float
) -> Located | None:
    left, top, right, bottom = template.box
    person = template.grey[top:bottom, left:right]
    frame = shown.grey if zoom == 1 else _resized(shown.grey, zoom)
    best = None
    for scale in scales:
        piece = _resized(person, scale * zoom)
        fits = piece.shape[0] <= frame.shape[0] and piece.shape[1] <= frame.shape[1]
        if not fits or piece.std() < _LEAST_SPREAD:
            continue
        likeness = cv2.matchTemplate(frame, piece, cv2.TM_CCOEFF_NORMED)
        _, value, _, (x, y) = cv2.minMaxLoc(likeness)
        if np.isfinite(value) and (best is None or value > best.likeness):
            best = Located(shown, float(value), scale, round(x / zoom), round(y / zoom))
    return best


def background_likeness(
    template: Template, shown: Sequence[CharacterSurroundings], zoom: float
) -> float:
    """Return how well what surrounds the person fits somewhere in one of the frames, NaN unknown.

    The person itself is left out, who may stand otherwise; `zoom` is the scale at which the person
    was found. Frames are those in which the person was most alike.
    """
    left, top, right, bottom = template.box
    wide, tall = round(_AROUND * (right - left)), round(_AROUND * (bottom - top))
    rows = slice(max(0, top - tall), bottom + tall)
    columns = slice(max(0, left - wide), right + wide)
    likeness = [float("nan")]
    for scale in sorted({*_GROUND_SCALES, round(zoom, 2)}):
        piece = _resized(template.grey[rows, columns], scale)
        outside = ~_grown(template.mask[rows, columns], piece.shape)
        if outside.sum() < _LEAST_GROUND or piece[outside].std() < _LEAST_SPREAD:
            continue
        likeness += [_ground_in(frame.grey, piece, outside) for frame in shown]
    return float(np.nanmax(likeness)) if np.isfinite(likeness).any() else float("nan")


def _ground_in(frame: np.ndarray, piece: np.ndarray, outside: np.ndarray) -> float:
    """Return the best correlation of the pixels outside the person, wherever the piece fits."""
    if piece.shape[0] > frame.shape[0] or piece.shape[1] > frame.shape[1]:
        return float("nan")
    weights = outside.astype(np.float32)
    frame, piece = frame.astype(np.float32), piece.astype(np.float32)
    found = cv2.matchTemplate(frame, piece, cv2.TM_CCOEFF_NORMED, mask=weights)
    place = np.unravel_index(int(np.argmax(np.nan_to_num(found, nan=-1, posinf=-1))), found.shape)
    row, column = int(place[0]), int(place[1])
    there = frame[row : row + piece.shape[0], column : column + piece.shape[1]][outside]
    if there.std() < _LEAST_SPREAD:
        return float("nan")
    return float(np.corrcoef(piece[outside], there)[0, 1])


def _grown(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the mask at another size, two pixels larger: edges belong to the person."""
    small = cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
    return cv2.dilate(small, np.ones((5, 5), np.uint8)) > 0
