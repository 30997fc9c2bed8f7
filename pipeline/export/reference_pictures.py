"""References as a trainer wants them: with their background or on white, in any shape."""

import cv2
import numpy as np

from pipeline.pictures.cutout import composite, cut_out

_QUALITY = 95


def reference_jpeg(
    image: bytes, mask: bytes, background: str, shape: tuple[int, int] | None = None
) -> bytes:
    """Return the reference as JPEG.

    background: `keep`, or `white` where the mask shows no person. A picture whose mask is missing
    keeps its background. shape: (width, height) whose proportions the picture is padded to with
    white, so that a trainer that crops to its clip's shape crops nothing of the person.
    """
    if background == "keep" and shape is None:
        return image
    picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a reference is no picture; run `audit` on the dataset")
    if background == "white" and mask:
        picture = _on_white(picture, mask)
    if shape is not None:
        picture = _padded(picture, shape)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def _on_white(picture: np.ndarray, mask: bytes) -> np.ndarray:
    person = cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_GRAYSCALE)
    if person is None or person.shape != picture.shape[:2] or not (person > 127).any():
        return picture
    laid = composite(*cut_out(picture, person), np.ones(picture.shape, np.float32))
    return np.clip(laid * 255 + 0.5, 0, 255).astype(np.uint8)


def _padded(picture: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the picture in the middle of the smallest white one of the proportions."""
    height, width = picture.shape[:2]
    scale = max(width / shape[0], height / shape[1])
    wide, high = max(width, round(shape[0] * scale)), max(height, round(shape[1] * scale))
    left, top = (wide - width) // 2, (high - height) // 2
    sides = (top, high - height - top, left, wide - width - left)
    return cv2.copyMakeBorder(picture, *sides, cv2.BORDER_CONSTANT, value=(255, 255, 255))
