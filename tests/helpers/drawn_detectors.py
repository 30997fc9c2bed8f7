"""Detectors for drawn figures: faces are discs of skin, people stand below them."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.engines.interfaces import Detections, EngineInfo, Faces, PersonImage, Picture

_SKIN = np.array((224, 172, 140))
_LEAST = 9  # pixels of a side


def _discs(picture: Picture) -> np.ndarray:
    """Return the boxes (K, 4) of the discs, from left to right."""
    skin = (np.abs(picture.astype(int) - _SKIN).max(axis=2) < 30).astype(np.uint8)
    skin = cv2.morphologyEx(skin, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))  # over what is drawn
    _, _, stats, _ = cv2.connectedComponentsWithStats(skin)
    found = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:] if min(w, h) >= _LEAST]
    return np.array(sorted(found), np.float32).reshape(-1, 4)


class DrawnFaces:
    """Finds every disc."""

    info = EngineInfo("drawn-faces/1", "face_detection", "Apache-2.0", True)

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        return [self._faces(_discs(picture)) for picture in pictures]

    def _faces(self, boxes: np.ndarray) -> Faces:
        number = len(boxes)
        points = np.full((number, 5, 2), np.nan, np.float32)
        return Faces(boxes, np.full(number, 0.9, np.float32), points, np.full(number, np.nan))


class NoFaces(DrawnFaces):
    """Finds nobody's face, as where everybody is seen from behind."""

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        return [self._faces(np.zeros((0, 4), np.float32)) for _ in pictures]


class DrawnPeople:
    """Finds the figure below every disc."""

    info = EngineInfo("drawn-people/1", "person_detection", "Apache-2.0", True)

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        return [self._people(_discs(picture)) for picture in pictures]

    def _people(self, discs: np.ndarray) -> Detections:
        middle = (discs[:, 0] + discs[:, 2]) / 2
        tall = (discs[:, 3] - discs[:, 1]) / 0.24
        boxes = np.stack(
            [middle - 0.21 * tall, discs[:, 1], middle + 0.21 * tall, discs[:, 1] + tall], axis=1
        )
        return Detections(boxes.astype(np.float32), np.full(len(discs), 0.9, np.float32))


class DrawnMasks:
    """Takes all that differs from the picture's corner for the person, within the box."""

    info = EngineInfo("drawn-masks/1", "segmentation", "Apache-2.0", True)

    def segment(self, people: Sequence[PersonImage]) -> list[np.ndarray]:
        return [self._mask(person) for person in people]

    def _mask(self, person: PersonImage) -> np.ndarray:
        other = np.abs(person.picture.astype(int) - person.picture[0, 0]).max(axis=2) > 12
        x0, y0, x1, y1 = np.maximum(np.round(person.box), 0).astype(int)
        mask = np.zeros(other.shape, np.uint8)
        mask[y0:y1, x0:x1] = other[y0:y1, x0:x1] * 255
        return mask
