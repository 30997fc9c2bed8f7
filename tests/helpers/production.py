"""Real weights and stills for the tests of the production engines."""

import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from places import ROOT

from pipeline.engines.registry import load_engine


def weights_root() -> Path | None:
    """Return the folder with the test weights, or None."""
    for place in (os.environ.get("CONTEXTANYONE_MODELS"), ROOT.parent / "shared" / "models"):
        if place and (Path(place) / "scrfd_500m_bnkps.onnx").is_file():
            return Path(place)
    return None


@cache
def engine(task: str, name: str):
    """Build an engine once for all tests."""
    return load_engine(task, name)


def frames(media: Path, name: str, indices) -> list[np.ndarray]:
    """Return some pictures of a test video, RGB."""
    capture = cv2.VideoCapture(str(media / "videos" / name))
    pictures = []
    for index in indices:
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        read, frame = capture.read()
        assert read, f"{name} has no frame {index}"
        pictures.append(np.ascontiguousarray(frame[..., ::-1]))
    return pictures


def image(path: Path) -> np.ndarray:
    """Return a picture, RGB."""
    decoded = cv2.imread(str(path))
    assert decoded is not None, f"{path} cannot be read"
    return np.ascontiguousarray(decoded[..., ::-1])


def six_people() -> np.ndarray:
    """Return the group photograph that InsightFace ships: six people, six faces."""
    import insightface

    return image(Path(insightface.__file__).parent / "data" / "images" / "t1.jpg")
