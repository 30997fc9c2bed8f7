"""Open a network with OpenCV, which is always there: small ones need no other runtime."""

from pathlib import Path
from typing import Any

import cv2


def read_network(path: Path) -> Any:
    """Return a network of an ONNX or TFLite file. ValueError where OpenCV cannot read it."""
    readers = {".onnx": cv2.dnn.readNetFromONNX, ".tflite": cv2.dnn.readNetFromTFLite}
    try:
        return readers[path.suffix](str(path))
    except (cv2.error, KeyError) as error:
        raise ValueError(f"OpenCV {cv2.__version__} cannot read {path}") from error
