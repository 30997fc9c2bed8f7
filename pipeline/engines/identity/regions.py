"""Where the parts of a person are in a picture: face, hair, upper and lower garment.

Lengths are in sides of the face's box (see `body_fit`). Without a face a tall box is taken for a
standing person of 7.3 sides; a lower one has no parts but a trunk in its middle.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.engines.interfaces import PersonImage
from pipeline.pictures.boxes import area, clip_to

_STANDING = 2.0  # height over width from which a box without a face is a whole person
_BODY_SIDES = 7.3
_HAIR = 0.35
_VISIBLE = 0.35  # share of a part that must be inside the picture and the person's box
_MIN_PX = 3.0

# (left, top, right, bottom) from the middle of the face's upper edge
_PARTS = {
    "face": (-0.5, 0.0, 0.5, 1.0),
    "hair": (-0.6, -0.4, 0.6, 0.05),
    "hair_left": (-0.9, -0.1, -0.55, 1.1),
    "hair_right": (0.55, -0.1, 0.9, 1.1),
    "top": (-0.85, 1.55, 0.85, 3.0),
    "bottom": (-0.55, 4.6, 0.55, 6.2),
}


@dataclass(frozen=True)
class Region:
    """A part of a person, in pixels of the picture, and the share of it that can be seen."""

    box: np.ndarray
    visible: float


def regions_of(person: PersonImage) -> dict[str, Region]:
    """Return the parts that can be seen; face and hair only when the face is known."""
    box = np.asarray(person.box, np.float32)
    known = person.face is not None
    face = np.asarray(person.face, np.float32) if known else _guessed_face(box)
    if face is None:
        return {"top": Region(_trunk(box), 1.0)}
    height, width = person.picture.shape[:2]
    names = [name for name in _PARTS if known or name in ("top", "bottom")]
    parts = {}
    for name in names:
        region = _place(_PARTS[name], face, box, width, height, within=name in ("top", "bottom"))
        if region is not None:
            parts[name] = region
    return parts


def _guessed_face(box: np.ndarray) -> np.ndarray | None:
    width, height = box[2] - box[0], box[3] - box[1]
    if height < _STANDING * width:
        return None
    side = height / (_BODY_SIDES + _HAIR)
    middle, top = (box[0] + box[2]) / 2, box[1] + _HAIR * side
    return np.array([middle - side / 2, top, middle + side / 2, top + side], np.float32)


def _trunk(box: np.ndarray) -> np.ndarray:
    size = np.tile(box[2:] - box[:2], 2)
    return np.tile(box[:2], 2) + np.array([0.3, 0.4, 0.7, 0.8], np.float32) * size


def _place(
    part: tuple[float, float, float, float],
    face: np.ndarray,
    person: np.ndarray,
    width: int,
    height: int,
    within: bool,
) -> Region | None:
    side = float(face[2] - face[0])
    origin = np.array([(face[0] + face[2]) / 2, face[1]] * 2, np.float32)
    whole = origin + np.array(part, np.float32) * side
    seen = clip_to(whole, width, height)
    if within:  # garments end where the person's box ends
        seen = np.concatenate([np.maximum(seen[:2], person[:2]), np.minimum(seen[2:], person[2:])])
    visible = float(area(seen) / max(float(area(whole)), 1e-6))
    if visible < _VISIBLE or min(seen[2] - seen[0], seen[3] - seen[1]) < _MIN_PX:
        return None
    return Region(seen, visible)
