"""Where the characters of a video are to be: boxes that a user gives."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.sampling.model_folder import VideoSize
from trainer.saving.complete import read_json

Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of the picture
MAX_BOXES = 1000


def read_boxes(path: Path) -> dict[str, tuple[Box, ...]]:
    """Read {"anna": [[left, top, right, bottom], …], …}. Raises ValueError."""
    content = read_json(path)
    if not all(isinstance(boxes, list) for boxes in content.values()):
        raise ValueError(f"{path} must hold a list of boxes for each name")
    return {name: check_boxes(name, boxes) for name, boxes in content.items()}


def check_boxes(name: str, boxes: Sequence[Any]) -> tuple[Box, ...]:
    """Return boxes as numbers. Raises ValueError for those that are no part of a picture."""
    if not 1 <= len(boxes) <= MAX_BOXES:
        raise ValueError(f"{name} needs 1 to {MAX_BOXES} boxes, got {len(boxes)}")
    checked = []
    for box in boxes:
        try:
            left, top, right, bottom = map(float, box)
        except (TypeError, ValueError):
            raise ValueError(
                f"a box of {name} must be four numbers, left, top, right and bottom, got {box!r}"
            ) from None
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(
                f"a box of {name} must be left < right and top < bottom, as shares of the picture "
                f"from 0 to 1, got {list(box)}"
            )
        checked.append((left, top, right, bottom))
    return tuple(checked)


def check_layout(boxes: Mapping[str, Sequence[Box]], names: Sequence[str], marked: int) -> None:
    """Raise ValueError for boxes of some characters alone, or for a model that reads none.

    marked: characters that the model can mark.
    """
    if not boxes:
        return
    unknown, without = sorted(boxes.keys() - set(names)), sorted(set(names) - boxes.keys())
    if unknown:
        raise ValueError(f"boxes of {', '.join(unknown)}, the characters are {', '.join(names)}")
    if without:
        raise ValueError(f"give boxes of all characters or of none: {', '.join(without)} has none")
    if marked < len(names):
        raise ValueError(
            "the model was trained without marks, so it reads no boxes: leave them out, or train "
            "with data.characters above 1 and model.marks=true"
        )


def track(boxes: Sequence[Box], size: VideoSize) -> np.ndarray:
    """Return the box in every frame, (F, 4) float32 xyxy in px.

    Boxes are spread evenly over the video; between two it moves in a straight line.
    """
    known = np.asarray(boxes, np.float64) * ([size.width, size.height] * 2)
    places = np.linspace(0, len(known) - 1, size.frames)
    columns = [np.interp(places, np.arange(len(known)), column) for column in known.T]
    return np.stack(columns, 1).astype(np.float32)
