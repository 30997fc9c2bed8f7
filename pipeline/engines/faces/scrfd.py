"""Faces with five landmarks by InsightFace's SCRFD (2105.04714)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.engines.faces.landmarks import yaw_of
from pipeline.engines.interfaces import EngineInfo, EngineNeeds, Faces, Picture
from pipeline.engines.letterbox import letterbox
from pipeline.engines.onnx_session import providers, session_options, wants_gpu
from pipeline.engines.weights import find_for
from pipeline.pictures.boxes import clip_to, suppress

_SCORE = 0.5  # the library's own
_SIDES = (160, 320, 480, 640)  # multiples of 32; a picture is searched at the first that holds it
_SHRUNK = 128  # the anchors end below 640 px: larger faces are found only on a smaller picture
_ROOM = 1.25  # and those that fill the picture only with something around them
_ONE_FACE = 0.4  # share of the smaller box that two finds of one face share


class ScrfdFaces:
    """Faces at every size: each picture is searched once as it is and once shrunk with a rim."""

    needs = EngineNeeds(
        packages=("insightface", "onnxruntime"),
        weights=(("scrfd", "face_detection"),),
        gpu=True,
        memory_mib=98,
    )

    def __init__(self) -> None:
        from insightface.model_zoo import get_model

        found = find_for("scrfd", "face_detection")
        self._model: Any = get_model(
            str(found.path),
            providers=providers(),
            sess_options=session_options(),
            static_shape_sessions=False,  # one session for all sizes
        )
        if not getattr(self._model, "use_kps", False):
            raise ValueError(f"{found.path} is no SCRFD with landmarks; take one named bnkps")
        self._model.det_thresh = _SCORE
        self.info = EngineInfo(
            id=f"insightface-{found.weights.name}/1",
            task="face_detection",
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
            gpu=wants_gpu(),
        )

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        return [self._detect_one(picture) for picture in pictures]

    def _detect_one(self, picture: Picture) -> Faces:
        long_side = max(picture.shape[:2])
        side = next((each for each in _SIDES if each >= long_side), _SIDES[-1])
        found = [self._search(picture, side, 1.0)]
        if side > _SHRUNK:
            found.append(self._search(picture, _SHRUNK, _ROOM))
        boxes, scores, landmarks = (np.concatenate(part) for part in zip(*found, strict=True))
        kept = suppress(boxes, scores, _ONE_FACE)
        height, width = picture.shape[:2]
        return Faces(
            boxes=clip_to(boxes[kept], width, height),
            scores=scores[kept],
            landmarks=landmarks[kept],
            yaw=yaw_of(landmarks[kept]),
        )

    def _search(
        self, picture: Picture, side: int, room: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Search at one size; return boxes, scores, landmarks in pixels of the picture."""
        inner = round(side / room)
        fitted = letterbox(picture, inner, fill=0, enlarge=False)
        margin = (side - inner) // 2
        square = np.zeros((side, side, 3), np.uint8)
        square[margin : margin + inner, margin : margin + inner] = fitted.square[..., ::-1]
        found, landmarks = self._model.detect(square, input_size=(side, side))
        boxes = (found[:, :4] - margin) / fitted.scale
        points = (landmarks - margin) / fitted.scale
        return boxes.astype(np.float32), found[:, 4].astype(np.float32), points.astype(np.float32)
