"""Face vectors by SFace (2205.12010) through OpenCV: permissive code and weights."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.engines.faces.landmarks import complete
from pipeline.engines.interfaces import EngineInfo, EngineNeeds, PersonImage, Picture
from pipeline.engines.weights import find_for

_SIDE = 112


class SFace:
    """Unit vectors of aligned faces; zeros for a person whose five landmarks are not known."""

    needs = EngineNeeds(weights=(("sface", "face_recognition"),), landmarks=True)

    def __init__(self) -> None:
        found = find_for("sface", "face_recognition")
        try:
            self._recogniser = cv2.FaceRecognizerSF.create(str(found.path), "")
        except cv2.error as error:
            raise ValueError(f"OpenCV {cv2.__version__} cannot read {found.path}") from error
        self.windows = found.windows
        self.info = EngineInfo(
            id=f"opencv-sface-{found.weights.name}/1",
            task="recognition",
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
        )
        blank = np.zeros((_SIDE, _SIDE, 3), np.uint8)
        self.size = int(self._recogniser.feature(blank).size)

    def embed(self, people: Sequence[PersonImage]) -> np.ndarray:
        """Return (N, D) float32, rows of unit length or zero."""
        vectors = np.zeros((len(people), self.size), np.float32)
        for row, person in zip(vectors, people, strict=True):
            if person.landmarks is not None and complete(person.landmarks):
                row[:] = self._feature(person.picture, person.landmarks)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, 1e-6)

    def _feature(self, picture: Picture, landmarks: np.ndarray) -> np.ndarray:
        # alignCrop reads the five points only, from the fifth number on
        face = np.concatenate([np.zeros(4), np.ravel(landmarks), [1.0]]).astype(np.float32)
        bgr = np.ascontiguousarray(picture[..., ::-1])
        aligned = self._recogniser.alignCrop(bgr, face[None])
        return self._recogniser.feature(aligned).ravel()
