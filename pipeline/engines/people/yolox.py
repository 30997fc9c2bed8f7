"""People by YOLOX (2107.08430) through onnxruntime: permissive code and weights."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

from pipeline.engines.interfaces import Detections, EngineInfo, EngineNeeds, Picture
from pipeline.engines.letterbox import Letterboxed, letterbox, thin_out
from pipeline.engines.onnx_session import open_session
from pipeline.engines.weights import find_for

PERSON = 0  # of the COCO classes
STRIDES = (8, 16, 32)
_SIDE = 416  # of YOLOX-nano and -tiny
_SCORE = 0.30
_OVERLAP = 0.5  # boxes of one person overlap more; 0.6 finds nobody else, and more of nobody


class YoloxPeople:
    """Person boxes by YOLOX-nano.

    Weak boxes and one strong one are a person, as in ByteTrack (2110.06864): on the people of
    `tuned_on` in the truth 173 boxes of 175 are found whether 0.30 or 0.35 is the least score; of
    29 or 25 on nobody 10 or 6 are of paths that never reach 0.5, of those on somebody none.
    """

    needs = EngineNeeds(weights=(("yolox", "person_detection"),), memory_mib=68)
    sure = 0.5
    looks_per_s = 4.0

    def __init__(self) -> None:
        found = find_for("yolox", "person_detection")
        self._session = open_session(found.path, gpu=False)
        self._input = self._session.get_inputs()[0].name
        self.info = EngineInfo(
            id=f"yolox-{found.weights.name}/4",
            task="person_detection",
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
        )

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        return [self._detect_one(picture) for picture in pictures]

    def _detect_one(self, picture: Picture) -> Detections:
        fitted = letterbox(picture, _SIDE)
        # YOLOX was trained on BGR from 0 to 255.
        shown = cv2.dnn.blobFromImage(fitted.square, swapRB=True)
        [raw] = self._session.run(None, {self._input: shown})[0]
        return people_in(raw, fitted)


def people_in(raw: np.ndarray, fitted: Letterboxed) -> Detections:
    """Decode the (cells, 5 + classes) output into people, best first."""
    scores = raw[:, 4] * raw[:, 5 + PERSON]
    best = scores >= _SCORE
    corner, stride = grid(*fitted.square.shape[:2])
    centre = (raw[best, :2] + corner[best]) * stride[best]
    half = np.exp(raw[best, 2:4]) * stride[best] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    kept = thin_out(boxes, scores[best], _OVERLAP)
    return Detections(fitted.back(boxes[kept]), scores[best][kept].astype(np.float32))


@cache
def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every cell's (x, y) and its stride: (cells, 2), (cells, 1), rows before columns."""
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)
