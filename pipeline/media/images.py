"""Pictures as files: decoded upright and within limits, encoded the same way everywhere."""

import io

import cv2
import numpy as np

from pipeline.media.limits import ProbeConfig

Picture = np.ndarray  # RGB, uint8, (height, width, 3)

cv2.setNumThreads(1)  # a worker is one core; results do not depend on the machine


def encode_jpeg(rgb: np.ndarray, quality: int = 92) -> bytes:
    """Encode an RGB picture as JPEG."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return _encode_picture(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_png_mask(mask: np.ndarray) -> bytes:
    """Encode a (height, width) uint8 mask as PNG, losslessly."""
    return _encode_picture(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 6])


def _encode_picture(kind: str, picture: np.ndarray, options: list[int]) -> bytes:
    done, encoded = cv2.imencode(kind, picture, options)
    assert done, f"cannot encode {picture.shape} {picture.dtype} as {kind}"
    return encoded.tobytes()


def decode_image(content: bytes, max_pixels: int = ProbeConfig.max_pixels) -> np.ndarray:
    """Decode a JPEG, PNG or WebP to RGB, upright as its metadata says; ValueError if bad."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP")) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"image of {len(content)} bytes cannot be opened") from error
    if width * height > max_pixels:
        raise ValueError(f"image is {width}x{height}, at most {max_pixels} pixels are allowed")
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    if decoded is None:
        raise ValueError(f"image of {len(content)} bytes cannot be decoded")
    return decoded
