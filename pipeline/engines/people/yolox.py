"""People by YOLOX (2107.08430) through onnxruntime: permissive code and weights."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from pipeline.engines.interfaces import Detections, EngineInfo, EngineNeeds, Picture
from pipeline.engines.letterbox import Letterboxed, letterbox, thin_out
from pipeline.engines.onnx_session import open_session, wants_gpu
from pipeline.engines.weights import find_for

PERSON = 0  # of the COCO classes
STRIDES = (8, 16, 32)
_SCORE = 0.35
_OVERLAP = 0.6  # boxes of one person overlap more
_BATCH = 16


class YoloxPeople:
    """Person boxes by YOLOX; the size of the input is the model's own."""

    needs = EngineNeeds(
        packages=("onnxruntime",), weights=(("yolox", "person_detection"),), gpu=True, memory_mib=58
    )

    def __init__(self) -> None:
        found = find_for("yolox", "person_detection")
        self._session = open_session(found.path)
        self._input = self._session.get_inputs()[0]
        batch, _, self._side, _ = self._input.shape
        self._batch = batch if isinstance(batch, int) else _BATCH
        self.info = EngineInfo(
            id=f"yolox-{found.weights.name}/1",
            task="person_detection",
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
            gpu=wants_gpu(),
        )

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        found: list[Detections] = []
        for first in range(0, len(pictures), self._batch):
            fitted = [letterbox(each, self._side) for each in pictures[first : first + self._batch]]
            # YOLOX was trained on BGR from 0 to 255.
            batch = np.stack([each.square[..., ::-1].transpose(2, 0, 1) for each in fitted])
            [raw] = self._session.run(None, {self._input.name: batch.astype(np.float32)})
            found += [people_in(*pair) for pair in zip(raw, fitted, strict=True)]
        return found


def people_in(raw: np.ndarray, fitted: Letterboxed) -> Detections:
    """Decode one picture's (cells, 5 + classes) output into people, best first."""
    scores = raw[:, 4] * raw[:, 5 + PERSON]
    best = scores >= _SCORE
    corner, stride = grid(fitted.square.shape[0])
    centre = (raw[best, :2] + corner[best]) * stride[best]
    half = np.exp(raw[best, 2:4]) * stride[best] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    kept = thin_out(boxes, scores[best], _OVERLAP)
    return Detections(fitted.back(boxes[kept]), scores[best][kept].astype(np.float32))


@cache
def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every cell's (x, y) and its stride: (cells, 2), (cells, 1), rows before columns."""
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: side // stride, : side // stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)
