"""Faces with five landmarks by YuNet through OpenCV: permissive code and weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.engines.faces.landmarks import yaw_of
from pipeline.engines.interfaces import EngineInfo, EngineNeeds, Faces, Picture
from pipeline.engines.letterbox import letterbox
from pipeline.engines.weights import find_for
from pipeline.pictures.boxes import clip_to, suppress

_SCORE = 0.7  # below it cups and knees begin; the authors show 0.9 on close-ups
_SIDE = 640  # longer pictures are searched at this size
_SHRUNK, _ROOM = 160, 1.25  # faces that fill the picture are found on a small one with a rim
_ONE_FACE = 0.4
_MULTIPLE = 32


class YunetFaces:
    """Faces at every size: each picture is searched once as it is and once shrunk with a rim."""

    needs = EngineNeeds(weights=(("yunet", "face_detection"),), memory_mib=45)

    def __init__(self) -> None:
        found = find_for("yunet", "face_detection")
        # one for each search: laying the network out for another size costs half a search
        self._as_it_is, self._shrunk = (_open(found.path) for _ in range(2))
        self.info = EngineInfo(
            id=f"opencv-yunet-{found.weights.name}/1",
            task="face_detection",
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
        )

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        return [self._detect_one(picture) for picture in pictures]

    def _detect_one(self, picture: Picture) -> Faces:
        long_side = min(_SIDE, max(picture.shape[:2]))
        side = -(-long_side // _MULTIPLE) * _MULTIPLE
        rows = _search(self._as_it_is, picture, side, 1.0)
        if side > _SHRUNK:
            rows = np.concatenate([rows, _search(self._shrunk, picture, _SHRUNK, _ROOM)])
        kept = suppress(rows[:, :4], rows[:, 14], _ONE_FACE)
        height, width = picture.shape[:2]
        landmarks = rows[kept, 4:14].reshape(-1, 5, 2)
        return Faces(
            boxes=clip_to(rows[kept, :4], width, height),
            scores=rows[kept, 14],
            landmarks=landmarks,
            yaw=yaw_of(landmarks),
        )


def _open(path: Path) -> Any:
    try:
        return cv2.FaceDetectorYN.create(str(path), "", (_SIDE, _SIDE), _SCORE, 0.3, 200)
    except cv2.error as error:
        raise ValueError(f"OpenCV {cv2.__version__} cannot read {path}") from error


def _search(detector: Any, picture: Picture, side: int, room: float) -> np.ndarray:
    """Search at one size; return (K, 15): box, five points, score, in pixels of the picture."""
    inner = round(side / room)
    fitted = letterbox(picture, inner, fill=0, enlarge=False)
    margin = (side - inner) // 2
    square = np.zeros((side, side, 3), np.uint8)
    square[margin : margin + inner, margin : margin + inner] = fitted.square[..., ::-1]
    detector.setInputSize((side, side))
    _, found = detector.detect(square)
    rows = np.zeros((0, 15), np.float32) if found is None else np.array(found, np.float32)
    rows[:, 2:4] += rows[:, :2]
    rows[:, :14] = (rows[:, :14] - margin) / fitted.scale
    return rows
