"""People by what OpenCV ships: a face means a person, an upright body means one too.

Faces (see `opencv_faces`) are trusted; the histogram-of-gradients detector of Dalal and Triggs
(2005) adds people seen from behind, and is trusted only where it is very sure: on real video it
sees people in kettles and doors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np

from pipeline.engines.faces.opencv_faces import CASCADE_LICENCE, OpencvFaces
from pipeline.engines.interfaces import Detections, EngineInfo, EngineNeeds, Picture
from pipeline.engines.people.body_fit import person_around
from pipeline.pictures.boxes import clip_to, inside, suppress

_HOG_MARGINS = np.array([0.17, 0.08, -0.17, -0.06], np.float32)  # 16 of 64 and 16 of 128 px
_BODY_SCORE = (0.0, 3.0)  # SVM distances seen on real pedestrians reached 3.6
_SAME_PERSON = 0.6  # share of the smaller of two boxes
_FACE_IN_BODY = 0.9  # the body's box contains the face
_HEAD_SHARE = 0.3  # a face belongs into the upper part of its body's box


@cache
def _people_descriptor() -> cv2.HOGDescriptor:
    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector(), np.float32))
    return hog


@dataclass
class OpencvPeople:
    """Person boxes from faces and from whole upright bodies, fused.

    The score of a person with a face is 0.5 + half the face's; without, half the body's: so
    0.5 divides people confirmed by a face from people who merely look upright.
    """

    needs = EngineNeeds(memory_mib=19)

    faces: OpencvFaces = field(default_factory=OpencvFaces)
    body_px: int = 360  # short side that bodies are searched at: people from 100 px up
    min_body: float = 1.0  # SVM distance; a kettle had 1.6 once, a door 0.9 in every frame
    info: EngineInfo = field(
        default=EngineInfo(
            id="opencv-hog-haar/1",
            task="person_detection",
            licence=CASCADE_LICENCE,
            commercial=True,
            weights_digest=f"opencv-{cv2.__version__}",
        ),
        repr=False,
    )

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        return [
            self._detect_one(picture, faces.boxes, faces.scores)
            for picture, faces in zip(pictures, self.faces.detect(pictures), strict=True)
        ]

    def _detect_one(
        self, picture: Picture, faces: np.ndarray, face_scores: np.ndarray
    ) -> Detections:
        bodies, body_scores = self._bodies(picture)
        people, scores = [], []
        for index, face in enumerate(faces):
            owner = _owner(face, bodies)
            if owner is None:
                box = person_around(picture, face, np.delete(faces, index, axis=0))
            else:
                box = _union(bodies[owner], face)
            people.append(box)
            scores.append(0.5 + 0.5 * float(face_scores[index]))
        people.extend(bodies)
        scores.extend(0.5 * body_scores)
        boxes = np.array(people, np.float32).reshape(-1, 4)
        kept = self._distinct(boxes, np.array(scores, np.float32), len(faces))
        return Detections(boxes[kept], np.array(scores, np.float32)[kept])

    def _distinct(self, boxes: np.ndarray, scores: np.ndarray, num_faces: int) -> list[int]:
        """Drop bodies that repeat a person with a face; two faces are always two people."""
        with_face = sorted(range(num_faces), key=lambda i: -float(scores[i]))
        rest = [num_faces + i for i in suppress(boxes[num_faces:], scores[num_faces:], 0.6)]
        kept = list(with_face)
        for index in rest:
            box = boxes[index : index + 1]
            known = boxes[with_face].reshape(-1, 4)
            overlap = np.maximum(inside(box, known), inside(known, box).T)
            if not len(known) or float(overlap.max()) <= _SAME_PERSON:
                kept.append(index)
        return kept

    def _bodies(self, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
        height, width = picture.shape[:2]
        scale = min(1.0, self.body_px / min(height, width))
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        size = (max(64, round(width * scale)), max(128, round(height * scale)))
        searched = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        found, weights = _people_descriptor().detectMultiScale(
            searched,
            hitThreshold=0.0,
            winStride=(8, 8),
            padding=(16, 16),
            scale=1.07,
            groupThreshold=1,
        )
        boxes, scores = [], []
        for (x, y, w, h), weight in zip(found, np.ravel(np.asarray(weights)), strict=True):
            if weight >= self.min_body:
                window = np.array([x, y, x + w, y + h], np.float32)
                boxes.append((window + _HOG_MARGINS * np.array([w, h, w, h])) / scale)
                scores.append((weight - _BODY_SCORE[0]) / (_BODY_SCORE[1] - _BODY_SCORE[0]))
        placed = clip_to(np.array(boxes, np.float32).reshape(-1, 4), width, height)
        order = sorted(range(len(placed)), key=lambda i: (-scores[i], *placed[i].tolist()))
        return placed[order], np.clip(np.array(scores, np.float32)[order], 0, 1)


def _owner(face: np.ndarray, bodies: np.ndarray) -> int | None:
    """Return the body whose head this face is, the best scored of several."""
    for index, body in enumerate(bodies):
        middle = (face[1] + face[3]) / 2
        upper = middle < body[1] + _HEAD_SHARE * (body[3] - body[1])
        if upper and float(inside(face[None], body[None])[0, 0]) >= _FACE_IN_BODY:
            return index
    return None


def _union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    corners = np.minimum(first[:2], second[:2]), np.maximum(first[2:], second[2:])
    return np.concatenate(corners)
