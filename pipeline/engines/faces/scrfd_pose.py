"""Faces by SCRFD, turned as InsightFace's 68 points in space say: 1k3d68 of its packs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.engines.faces.scrfd import ScrfdFaces
from pipeline.engines.interfaces import EngineInfo, EngineNeeds, Faces, Picture
from pipeline.engines.onnx_session import providers, session_options, wants_gpu
from pipeline.engines.weights import find_for


class ScrfdPoseFaces(ScrfdFaces):
    """As SCRFD, with the yaw of a head that was fitted to the points, in place of five points'."""

    needs = EngineNeeds(
        packages=("insightface", "onnxruntime"),
        weights=(("scrfd", "face_detection"), ("insightface", "face_pose")),
        gpu=True,
    )

    def __init__(self) -> None:
        from insightface.model_zoo import get_model

        super().__init__()
        found = find_for("insightface", "face_pose")
        self._pose: Any = get_model(
            str(found.path), providers=providers(), sess_options=session_options()
        )
        if not getattr(self._pose, "require_pose", False):
            raise ValueError(f"{found.path} finds no 68 points in space; take 1k3d68.onnx")
        pose = EngineInfo(
            id=f"{found.weights.name}/1",
            task="face_pose",
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
            gpu=wants_gpu(),
        )
        self.info = self.info.joined_with(pose)

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        found = zip(pictures, super().detect(pictures), strict=True)
        return [replace(faces, yaw=self._yaw(picture, faces)) for picture, faces in found]

    def _yaw(self, picture: Picture, faces: Faces) -> np.ndarray:
        flipped = np.ascontiguousarray(picture[..., ::-1])
        return np.array([self._yaw_of(flipped, box) for box in faces.boxes], np.float32)

    def _yaw_of(self, picture: np.ndarray, box: np.ndarray) -> float:
        face = _Face(box)
        self._pose.get(picture, face)
        _, yaw, _ = face["pose"]
        return float(yaw)


class _Face(dict):
    """What the library reads a box from, and writes the pose to."""

    def __init__(self, box: np.ndarray) -> None:
        super().__init__()
        self.bbox = box
