"""People by YOLOX (2107.08430) through OpenCV: permissive code and weights, no other runtime."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

from pipeline.engines.interfaces import Detections, EngineInfo, EngineNeeds, Picture
from pipeline.engines.letterbox import Letterboxed, letterbox, thin_out
from pipeline.engines.opencv_network import read_network
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

    needs = EngineNeeds(weights=(("yolox", "person_detection"),), memory_mib=40)
    sure = 0.5

    def __init__(self) -> None:
        found = find_for("yolox", "person_detection")
        self._network = read_network(found.path)
        self.info = EngineInfo(
            id=f"yolox-{found.weights.name}/3",
            task="person_detection",
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
        )

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        return [self._detect_one(picture) for picture in pictures]

    def _detect_one(self, picture: Picture) -> Detections:
        fitted = letterbox(picture, _SIDE)
        shown = filled(fitted)
        # YOLOX was trained on BGR from 0 to 255.
        self._network.setInput(cv2.dnn.blobFromImage(shown, swapRB=True))
        return people_in(self._network.forward()[0], fitted, shown.shape[:2])


def filled(fitted: Letterboxed) -> Picture:
    """Return the square without the rows or columns below and beside the picture.

    A picture of 16:9 then costs 0.62 of the square.
    """
    step = STRIDES[-1]
    sides = (round(side * fitted.scale) for side in (fitted.height, fitted.width))
    height, width = (-(-max(1, side) // step) * step for side in sides)
    return fitted.square[:height, :width]


def people_in(raw: np.ndarray, fitted: Letterboxed, shape: tuple[int, int]) -> Detections:
    """Decode the (cells, 5 + classes) output for an input of a shape into people, best first."""
    scores = raw[:, 4] * raw[:, 5 + PERSON]
    best = scores >= _SCORE
    corner, stride = grid(*shape)
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
