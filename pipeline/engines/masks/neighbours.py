"""Give a mask's pixels to the person whose they are, where people stand close or overlap."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.engines.interfaces import CutOut, PersonImage, Segmenter, TrustingSegmenter
from pipeline.engines.masks.mask_cleaning import main_piece
from pipeline.pictures.boxes import iou

_SAME_PERSON = 0.5  # overlap of two boxes, from which they are one person's
_WORK_PX = 256  # long side at which colours are compared
_ROUNDS = 4
_FACE_INSET = 0.2  # of a face's sides: its corners may show what is behind


def cut_people(segmenter: Segmenter, people: Sequence[PersonImage]) -> list[CutOut]:
    """Mask every person, without what lies in somebody else's box alone."""
    if isinstance(segmenter, TrustingSegmenter):
        cuts = segmenter.cut_out(people)
    else:
        cuts = [CutOut(mask) for mask in segmenter.segment(people)]
    return [
        CutOut(without_others(person, cut.mask), cut.trust)
        for person, cut in zip(people, cuts, strict=True)
    ]


def without_others(person: PersonImage, mask: np.ndarray) -> np.ndarray:
    """Return a mask, (H, W) uint8, without what lies in others' boxes and not in the own.

    Where boxes overlap nobody knows from them whose the pixels are: they stay. A box that overlaps
    the own by more than half is a second one of the same person.
    """
    theirs = _boxes_of_others(person, mask.shape)
    kept = (mask > 0) & (_filled(person.box, mask.shape) | ~theirs)
    if np.array_equal(kept, mask > 0):
        return mask
    return main_piece(kept, _points(person)) * np.uint8(255)


def without_neighbours(person: PersonImage, mask: np.ndarray) -> np.ndarray:
    """Return one person's part of a mask of everybody, (H, W) uint8.

    Where boxes overlap colours decide: those of what lies in the own box alone against those of
    what lies in another's, and of the ground.
    """
    own, theirs = _filled(person.box, mask.shape), _boxes_of_others(person, mask.shape)
    kept = (mask > 0) & (own | ~theirs)
    contested, other = kept & own & theirs, (mask > 0) & theirs & ~own
    if not contested.any() or not other.any():
        return without_others(person, mask)
    kept &= ~contested | _like_the_person(person, contested, kept & ~contested)
    return main_piece(kept, _points(person)) * np.uint8(255)


def _like_the_person(person: PersonImage, contested: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: which contested pixels GrabCut gives to the person, whose `own` are."""
    height, width = contested.shape
    scale = min(1.0, _WORK_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    seeds = np.full((size[1], size[0]), cv2.GC_BGD, np.uint8)
    seeds[_resized(own, size)] = cv2.GC_FGD
    seeds[_resized(contested, size)] = cv2.GC_PR_FGD
    seeds[_resized(_face(person, contested.shape), size)] = cv2.GC_FGD
    if not (seeds == cv2.GC_FGD).any():
        return contested
    picture = cv2.resize(person.picture, size, interpolation=cv2.INTER_AREA)
    cv2.setRNGSeed(0)  # GrabCut clusters colours from random centres
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, seeds, (0, 0, 0, 0), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    return contested & (cv2.resize(found, (width, height)) >= 0.5)


def _boxes_of_others(person: PersonImage, shape: tuple[int, ...]) -> np.ndarray:
    theirs, box = np.zeros(shape, bool), np.asarray(person.box, np.float32)
    for other in person.others:
        if float(iou(box[None], other[None])[0, 0]) <= _SAME_PERSON:
            theirs |= _filled(other, shape)
    return theirs


def _face(person: PersonImage, shape: tuple[int, ...]) -> np.ndarray:
    if person.face is None:
        return np.zeros(shape, bool)
    inset = _FACE_INSET * np.tile(person.face[2:] - person.face[:2], 2) * np.array([1, 1, -1, -1])
    return _filled(person.face + inset, shape)


def _points(person: PersonImage) -> list[tuple[float, float]]:
    box = person.box if person.face is None else person.face
    return [((float(box[0]) + float(box[2])) / 2, (float(box[1]) + float(box[3])) / 2)]


def _filled(box: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    filled = np.zeros(shape, bool)
    x0, y0, x1, y1 = np.maximum(np.round(box), 0).astype(int)
    filled[y0:y1, x0:x1] = True
    return filled


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
