"""Faces by OpenCV's Haar cascades, each one checked a second time.

One cascade alone finds faces in footballs, bottles and cables. A face is believed here when the
first look is strong, or weaker looks agree: the colour of skin, a second cascade on the
enlarged crop, an eye where an eye belongs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np

from pipeline.engines.faces.skin import is_grey, may_hold_face, skin_mask, skin_share
from pipeline.engines.interfaces import EngineInfo, EngineNeeds, Faces, Picture
from pipeline.pictures.boxes import clip_to, padded_crop, suppress

FRONTAL, PROFILE, EYE = "frontalface_alt2", "profileface", "eye"
CASCADE_LICENCE = "Apache-2.0 AND Intel-License-Agreement-for-OpenCV (BSD-like)"

# The numbers below were read off 402 candidates from 31 real videos, looked at one by one:
# wrong ones (bottle, football, cables, leaves, legs, a drawn face) against right ones.
_SKIN = 0.5  # share of skin in the middle of the box; right ones had 0.6 to 1.0
_SURE_FRONTAL = 55.9  # level weight that needs no eye; wrong ones with skin reached 55.8
_LOW_FRONTAL = 55.0  # with an eye found; below it bottles and leaves begin
_FRONTAL_RANGE = (54.0, 58.0)  # weights seen, mapped to 0..1
_SURE_PROFILE = 2.4  # a nose seen by the profile cascade reached 2.2
_LOW_PROFILE = 1.2  # with an eye; sleeves and legs reached 1.6 without one
_PROFILE_RANGE = (0.0, 4.0)
_PROFILE_YAW = 60.0  # the profile cascade fires from about 45 to 90 degrees
_CROP_PX = 96
_CROP_MARGIN = 1.5
_EYE_CROP_PX = 120


@cache
def cascade(name: str) -> cv2.CascadeClassifier:
    """Load one of the cascades that OpenCV ships, once per process."""
    path = f"{cv2.data.haarcascades}haarcascade_{name}.xml"  # type: ignore[attr-defined]
    classifier = cv2.CascadeClassifier(path)
    if classifier.empty():
        raise ValueError(f"OpenCV has no cascade {path}; install opencv-python, not a stripped one")
    return classifier


@dataclass(frozen=True)
class _Found:
    box: np.ndarray
    score: float
    yaw: float
    landmarks: np.ndarray


@dataclass
class OpencvFaces:
    """Frontal and profile faces, on a picture scaled to `search_px` on its short side.

    Scores run from 0 to 1: 0.5 is about where one look alone is believed. Faces smaller than
    `smallest` of the searched short side are not looked for.
    """

    needs = EngineNeeds(memory_mib=17)

    search_px: int = 480
    smallest: float = 0.065  # 31 px at 480: the cascades were trained at 20 px
    scale_step: float = 1.2  # with 1.25, 400 px and 0.075: 43 % cheaper, 3 of 66 faces lost
    info: EngineInfo = field(
        default=EngineInfo(
            id="opencv-haar/1",
            task="face_detection",
            licence=CASCADE_LICENCE,
            commercial=True,
            weights_digest=f"opencv-{cv2.__version__}",
        ),
        repr=False,
    )

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        return [self._detect_one(picture) for picture in pictures]

    def _detect_one(self, picture: Picture) -> Faces:
        height, width = picture.shape[:2]
        scale = min(self.search_px / min(height, width), 1.0)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        searched = cv2.resize(picture, size, interpolation=method)
        found = self._search(searched)
        if not found:
            return _as_faces([], 1.0)
        kept = suppress(
            np.array([face.box for face in found]), np.array([face.score for face in found]), 0.4
        )
        return _as_faces([found[i] for i in kept], scale, width, height)

    def _search(self, picture: Picture) -> list[_Found]:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        smallest = max(20, round(self.smallest * min(grey.shape)))
        skin = None if is_grey(picture) else skin_mask(picture)
        masked, corner = grey, np.zeros(2, np.float32)
        if skin is not None:
            region = may_hold_face(skin, smallest, _SKIN)
            if not region.any():
                return []
            masked, corner = _only(grey, region)
        if min(masked.shape) < smallest:
            return []
        found = []
        for box, weight in _run(FRONTAL, masked, self.scale_step, smallest):
            found.append(_check_frontal(grey, skin, box + np.tile(corner, 2), weight))
        for mirrored in (False, True):
            for box, weight in _run(PROFILE, masked, self.scale_step, smallest, mirrored):
                placed = box + np.tile(corner, 2)
                found.append(_check_profile(grey, skin, placed, weight, mirrored))
        return [face for face in found if face is not None]


def _only(grey: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut to the region's bounds and flatten the rest: cascades skip flat windows at once."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    masked = np.where(region[part] > 0, grey[part], np.uint8(128))
    return np.ascontiguousarray(masked), np.array([columns[0], rows[0]], np.float32)


def _run(
    name: str,
    grey: np.ndarray,
    step: float,
    smallest: int,
    mirrored: bool = False,
    neighbours: int = 2,
) -> list[tuple[np.ndarray, float]]:
    """Run a cascade; return (box, level weight), in an order that threads cannot change."""
    searched = np.ascontiguousarray(grey[:, ::-1]) if mirrored else grey
    boxes, _, weights = cascade(name).detectMultiScale3(
        searched, step, neighbours, 0, (smallest, smallest), outputRejectLevels=True
    )
    found = []
    for (x, y, width, height), weight in zip(boxes, weights, strict=True):
        left = grey.shape[1] - x - width if mirrored else x
        found.append((np.array([left, y, left + width, y + height], np.float32), float(weight)))
    return sorted(found, key=lambda pair: (-pair[1], *pair[0].tolist()))


def _check_frontal(
    grey: np.ndarray, skin: np.ndarray | None, box: np.ndarray, weight: float
) -> _Found | None:
    if weight < _LOW_FRONTAL or (skin is not None and skin_share(skin, box) < _SKIN):
        return None
    if not _run(FRONTAL, _enlarged(grey, box), 1.05, _CROP_PX // 2, neighbours=1):
        return None
    eyes = _eyes(grey, box)
    seen = bool(np.isfinite(eyes).any())
    if not seen and (weight < _SURE_FRONTAL or skin is None):
        return None
    return _Found(box, _score(weight, _FRONTAL_RANGE, seen), 0.0, eyes)


def _check_profile(
    grey: np.ndarray, skin: np.ndarray | None, box: np.ndarray, weight: float, mirrored: bool
) -> _Found | None:
    if skin is not None and skin_share(skin, box) < _SKIN:
        return None
    again = _run(PROFILE, _enlarged(grey, box), 1.05, 44, mirrored, neighbours=1)
    if not again:
        return None
    best = max(weight, again[0][1])
    seen = bool(np.isfinite(_eyes(grey, box)).any())
    if best < _LOW_PROFILE or (not seen and (best < _SURE_PROFILE or skin is None)):
        return None
    # The cascade was trained on faces that look to the picture's left.
    yaw = _PROFILE_YAW if mirrored else -_PROFILE_YAW
    return _Found(box, _score(best, _PROFILE_RANGE, seen), yaw, _no_landmarks())


def _score(weight: float, spread: tuple[float, float], eyes: bool) -> float:
    share = (weight - spread[0]) / (spread[1] - spread[0])
    return float(np.clip(0.8 * share + 0.2 * eyes, 0.05, 1.0))


def _enlarged(grey: np.ndarray, box: np.ndarray) -> np.ndarray:
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * _CROP_MARGIN / 2
    return padded_crop(grey, np.concatenate([centre - half, centre + half]), (_CROP_PX, _CROP_PX))


def _eyes(grey: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Look for eyes in the upper part of a face; return (5, 2) landmarks, NaN where unknown.

    Landmark 0 is the eye on the picture's left, 1 the one on its right.
    """
    top = padded_crop(grey, box, (_EYE_CROP_PX, _EYE_CROP_PX))[: round(0.62 * _EYE_CROP_PX)]
    found = _run(EYE, np.ascontiguousarray(top), 1.1, 18, neighbours=3)
    landmarks = _no_landmarks()
    to_picture = (box[2] - box[0]) / _EYE_CROP_PX
    for eye, _ in found:
        centre, side = (eye[:2] + eye[2:]) / 2, eye[2] - eye[0]
        slot = 0 if centre[0] < _EYE_CROP_PX / 2 else 1
        if side <= 50 and np.isnan(landmarks[slot, 0]):
            landmarks[slot] = box[:2] + centre * to_picture
    return landmarks


def _no_landmarks() -> np.ndarray:
    return np.full((5, 2), np.nan, np.float32)


def _as_faces(found: list[_Found], scale: float, width: int = 0, height: int = 0) -> Faces:
    boxes = np.array([face.box for face in found], np.float32).reshape(-1, 4) / scale
    return Faces(
        boxes=clip_to(boxes, width, height),
        scores=np.array([face.score for face in found], np.float32),
        landmarks=np.array([f.landmarks for f in found], np.float32).reshape(-1, 5, 2) / scale,
        yaw=np.array([face.yaw for face in found], np.float32),
    )
