"""Face vectors by networks in ArcFace form (1801.07698), through InsightFace."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from pipeline.engines.faces.landmarks import complete
from pipeline.engines.interfaces import EngineInfo, EngineNeeds, PersonImage
from pipeline.engines.onnx_session import providers, session_options, wants_gpu
from pipeline.engines.weights import find_for

_BATCH = 32
_SIDE = 112  # pixels of the networks' input, to which InsightFace's places of the points refer
# A face this much smaller than the network's is about 26 px wide. Faces shrunk to 24 px kept a
# cosine of 0.51 or more to themselves, to 20 px 0.45, to 16 px 0.23, when strangers had up to 0.34.
MOST_ENLARGED = 3.5


class ArcFace:
    """Unit vectors of aligned faces; zeros where the five points are unknown, or tiny."""

    needs = EngineNeeds(
        packages=("insightface", "onnxruntime"),
        weights=(("arcface", "face_recognition"),),
        landmarks=True,
        gpu=True,
        memory_mib=92,
    )

    def __init__(self) -> None:
        from insightface.model_zoo import get_model
        from insightface.utils import face_align

        found = find_for("arcface", "face_recognition")
        self._model: Any = get_model(
            str(found.path), providers=providers(), sess_options=session_options()
        )
        if getattr(self._model, "taskname", "") != "recognition":
            raise ValueError(f"{found.path} is no face network in ArcFace form (112 x 112)")
        batch = self._model.input_shape[0]
        self._batch = batch if isinstance(batch, int) else _BATCH
        self._places = np.asarray(face_align.arcface_dst, np.float64)
        self.size = int(self._model.output_shape[1])
        self.windows = found.windows
        self.info = EngineInfo(
            id=f"arcface-{found.weights.name}/1",
            task="recognition",
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
            gpu=wants_gpu(),
        )

    def embed(self, people: Sequence[PersonImage]) -> np.ndarray:
        """Return (N, D) float32, rows of unit length or zero."""
        faces = [self._aligned(person) for person in people]
        vectors = np.zeros((len(people), self.size), np.float32)
        seen = [index for index, face in enumerate(faces) if face is not None]
        for first in range(0, len(seen), self._batch):
            batch = seen[first : first + self._batch]
            vectors[batch] = self._model.get_feat([faces[index] for index in batch])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, 1e-6)

    def _aligned(self, person: PersonImage) -> np.ndarray | None:
        """Return the face, turned and scaled to the network's places of the five points, BGR."""
        if not complete(person.landmarks):
            return None
        side = int(self._model.input_size[0])
        warp = alignment(np.asarray(person.landmarks), self._places * (side / _SIDE))
        if float(np.hypot(*warp[:, 0])) > MOST_ENLARGED * side / _SIDE:
            return None
        aligned = cv2.warpAffine(person.picture, warp, (side, side), flags=cv2.INTER_LINEAR)
        return np.ascontiguousarray(aligned[..., ::-1])


def alignment(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the (2, 3) turn, scale and shift that takes (K, 2) points nearest to `places`.

    Least squares in complex numbers, the closed form of Umeyama (1991) without reflection.
    """
    source = points[:, 0] + 1j * points[:, 1]
    target = places[:, 0] + 1j * places[:, 1]
    centred = source - source.mean()
    factor = np.vdot(centred, target - target.mean()) / max(np.vdot(centred, centred).real, 1e-9)
    shift = target.mean() - factor * source.mean()
    real, imaginary = factor.real, factor.imag
    return np.array([[real, -imaginary, shift.real], [imaginary, real, shift.imag]])
