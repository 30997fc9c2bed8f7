"""A picture of two people: both references, the real clip, and what the model makes of them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.characters.pair_items import Scene

_TALL, _WIDE, _GAP, _NAME, _HEAD = 96, 144, 6, 150, 24  # pixels
_BANDS = {
    "real": "real clip",
    "step_boxes": "one step, boxes",
    "noise_boxes": "from noise, boxes",
    "sampled_words": "sampled, words",
    "sampled_boxes": "sampled, boxes",
    "sampled_exchanged": "boxes, exchanged",
}
_SHOWN = (0, 8)  # frames


def write_pair_strips(scenes: Sequence[Scene], frames: Path, path: Path, number: int = 4) -> None:
    """Write one column per scene, of films that follow each other."""
    chosen = list(range(0, len(scenes), max(len(scenes) // number, 1)))[:number]
    column = len(_SHOWN) * _WIDE + 2 * _GAP
    tall = _HEAD + (len(_BANDS) + 1) * (_TALL + _GAP)
    page = np.full((tall, _NAME + number * column, 3), 255, np.uint8)
    with np.load(frames) as kept:
        videos = {way: kept[way][chosen] for way in _BANDS}
    _write(page, "references", 4, _HEAD + 50)
    for band, title in enumerate(_BANDS.values(), start=1):
        _write(page, title, 4, _HEAD + band * (_TALL + _GAP) + 50)
    for place, at in enumerate(chosen):
        left = _NAME + place * column
        people = sorted(scenes[at].people, key=lambda person: person.boxes[0][0])
        for side, person in enumerate(people):
            where = ("left", "right")[side]
            _write(page, f"{person.name} ({where})", left + side * _WIDE, 16)
            _put(page, _framed(person.reference), left + side * _WIDE, _HEAD)
        for band, way in enumerate(_BANDS, start=1):
            for step, shown in enumerate(_SHOWN):
                large = cv2.resize(videos[way][place][shown], (_WIDE, _TALL))
                _put(page, large, left + step * _WIDE, _HEAD + band * (_TALL + _GAP))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), page[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def _framed(picture: np.ndarray) -> np.ndarray:
    scale = min(_TALL / picture.shape[0], _WIDE / picture.shape[1])
    small = cv2.resize(picture, None, fx=scale, fy=scale)
    framed = np.full((_TALL, _WIDE, 3), 128, np.uint8)
    top, left = (_TALL - small.shape[0]) // 2, (_WIDE - small.shape[1]) // 2
    framed[top : top + small.shape[0], left : left + small.shape[1]] = small
    return framed


def _put(page: np.ndarray, picture: np.ndarray, x: int, y: int) -> None:
    page[y : y + picture.shape[0], x : x + picture.shape[1]] = picture


def _write(page: np.ndarray, text: str, x: int, y: int) -> None:
    ink = (40, 40, 40)
    cv2.putText(page, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, ink, 1, cv2.LINE_AA)
