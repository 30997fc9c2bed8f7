"""How good a mask of a person is, from the mask, the picture and the boxes alone."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.media.images import Picture

_LEAST_COVERAGE, _FULL_COVERAGE, _MOST_COVERAGE = 0.10, 0.25, 0.97  # of the person's box
_FACE_COVERED = 0.6  # of a face's box that its oval fills
_HAIR, _HAIR_COVERED = 0.25, 0.6  # height of the hair over the face, of faces; share of it
_BESIDE = 0.12  # of the box's longer side: arms and hair may reach so far out of it
_EDGE_RATIO = 1.6  # gradients under a good outline over those a little inside and outside
_SIDE = 192  # longest side at which outlines are compared
_AWAY = 8  # pixels from the outline at which it is compared


@dataclass(frozen=True)
class MaskMeasures:
    """Each from 0 to 1, 1 is good."""

    coverage: float  # whether it covers as much of the box as a person does
    one_piece: float  # share of it that hangs together
    face: float  # whether face and hair are on it; 1 without a known face
    inside: float  # share of it in and just beside the box
    edges: float  # whether its outline lies on gradients of the picture

    @property
    def quality(self) -> float:
        """All in one number: a mask is as bad as its worst side."""
        sure = self.coverage * self.one_piece * self.face * self.inside
        return round(float(sure * (0.3 + 0.7 * self.edges)), 6)  # some grounds have no edges


def measure_mask(
    picture: Picture, mask: np.ndarray, box: np.ndarray, face: np.ndarray | None
) -> MaskMeasures:
    """Measure a mask (H, W) uint8, 255 on the person; `box` and `face` are xyxy in its pixels."""
    person = mask > 127
    if not person.any():
        return MaskMeasures(0.0, 0.0, 0.0, 0.0, 0.0)
    return MaskMeasures(
        _coverage(_part(person, box)),
        _one_piece(person),
        1.0 if face is None else _head(person, np.asarray(face, float)),
        _inside(person, box),
        _edges(picture, person),
    )


def _part(person: np.ndarray, box: np.ndarray) -> np.ndarray:
    x0, y0 = np.maximum(np.floor(box[:2]), 0).astype(int)
    x1, y1 = np.ceil(box[2:]).astype(int)
    return person[y0:y1, x0:x1]


def _share(part: np.ndarray) -> float:
    return float(part.mean()) if part.size else 0.0


def _coverage(part: np.ndarray) -> float:
    places = [0, _LEAST_COVERAGE, _FULL_COVERAGE, _MOST_COVERAGE, 1.0]
    return float(np.interp(_share(part), places, [0, 0, 1, 1, 0.3]))


def _head(person: np.ndarray, face: np.ndarray) -> float:
    """Return whether face and hair are on the mask; hair only where the picture shows its place."""
    covered = min(1.0, _share(_part(person, face)) / _FACE_COVERED)
    width, height = face[2:] - face[:2]
    hair = np.array(
        [face[0] + 0.2 * width, face[1] - _HAIR * height, face[2] - 0.2 * width, face[1]]
    )
    if hair[1] < 0:
        return covered
    return covered * min(1.0, _share(_part(person, hair)) / _HAIR_COVERED)


def _one_piece(person: np.ndarray) -> float:
    _, _, stats, _ = cv2.connectedComponentsWithStats(person.astype(np.uint8))
    return float(stats[1:, cv2.CC_STAT_AREA].max() / person.sum())


def _inside(person: np.ndarray, box: np.ndarray) -> float:
    margin = _BESIDE * float(max(box[2] - box[0], box[3] - box[1]))
    wider = np.asarray(box, float) + margin * np.array([-1, -1, 1, 1])
    return float(_part(person, wider).sum() / person.sum())


def _edges(picture: Picture, person: np.ndarray) -> float:
    """Compare gradients under the outline with those a few pixels inside and outside of it."""
    scale = min(1.0, _SIDE / max(person.shape))
    size = [max(8, round(side * scale)) for side in person.shape[::-1]]
    grey = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    soft = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 0.8)
    strength = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))
    small = cv2.resize(person.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    inner = cv2.distanceTransform(np.pad(small, 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    outer = cv2.distanceTransform(np.pad(1 - small, 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    away = np.maximum(inner, outer)
    on, beside = away <= 2, (away > 2) & (away <= _AWAY)
    if not on.any() or not beside.any():
        return 1.0  # all of the picture: no outline to be judged
    ratio = float(strength[on].mean()) / max(float(strength[beside].mean()), 1.0)
    return float(np.clip((ratio - 0.8) / (_EDGE_RATIO - 0.8), 0, 1))
