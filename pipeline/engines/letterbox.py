"""What detectors share: pictures fitted into a square, overlapping boxes thinned out."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.engines.interfaces import Picture
from pipeline.pictures.boxes import clip_to, iou


@dataclass(frozen=True)
class Letterboxed:
    """A picture in the upper left corner of a square, and the way back."""

    square: Picture
    scale: float  # pixels of the square per pixel of the picture
    width: int
    height: int

    def back(self, boxes: np.ndarray) -> np.ndarray:
        """Return (K, 4) boxes of the square in pixels of the picture, cut off at its edge."""
        return clip_to(boxes.reshape(-1, 4) / self.scale, self.width, self.height)


def letterbox(picture: Picture, side: int, fill: int = 114, enlarge: bool = True) -> Letterboxed:
    """Fit a picture into a square of `side` pixels; what is left is filled with `fill`."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if not enlarge:
        scale = min(1.0, scale)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    square = np.full((side, side, 3), fill, np.uint8)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=method)
    return Letterboxed(square, scale, width, height)


def thin_out(boxes: np.ndarray, scores: np.ndarray, limit: float) -> list[int]:
    """Return the indices kept by non-maximum suppression on intersection over union, best first.

    People who stand before each other overlap far more of the smaller box than of the union;
    `boxes.suppress` would take one of them for a part of the other.
    """
    order = sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), *map(float, boxes[i])))
    kept: list[int] = []
    for index in order:
        others = boxes[kept].reshape(-1, 4)
        if not kept or float(iou(boxes[index : index + 1], others).max()) <= limit:
            kept.append(index)
    return kept
