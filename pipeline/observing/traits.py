"""What tells two good pictures of one person apart: light, colour, expression, place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.engines.faces.landmarks import complete
from pipeline.engines.interfaces import Faces, PersonImage
from pipeline.pictures.boxes import iou
from pipeline.pictures.lettering import lettering_on
from pipeline.pictures.looks import look_of, place_of

SEARCH_PX = 320  # short side that a crop is scaled down to before other faces are looked for
_SMALL = 0.4  # of the person's own face: smaller faces are of no consequence
_SAME_FACE = 0.2  # overlap from which a found face is the person's own


@dataclass(frozen=True)
class Traits:
    """See the columns of the same names in `schemas.tables.Candidate`."""

    look: bytes
    place: bytes
    brightness: float
    warmth: float
    chroma: float
    smile: float
    lettering: float


def traits_of(person: PersonImage, mask: np.ndarray) -> Traits:
    """Measure a picture of a person; `mask` is (H, W) uint8, 255 on the person."""
    inside = mask > 127
    if not inside.any():
        x0, y0, x1, y1 = np.round(person.box).astype(int)
        inside = np.zeros(mask.shape, bool)
        inside[max(y0, 0) : y1, max(x0, 0) : x1] = True
    mean = np.maximum(person.picture[inside].mean(axis=0, dtype=np.float64), 1.0)
    small = cv2.resize(person.picture, (64, 64), interpolation=cv2.INTER_AREA)
    colour = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.float32) - 128
    return Traits(
        look=look_of(person.picture, person.box),
        place=place_of(person.picture, inside),
        brightness=float(mean @ (0.299, 0.587, 0.114)) / 255,
        warmth=2.2 * math.log2(mean[0] / mean[2]),
        chroma=float(np.abs(colour).mean()),
        smile=smile_of(person.landmarks),
        lettering=lettering_on(person.picture, inside),
    )


def smile_of(landmarks: np.ndarray | None) -> float:
    """Return the mouth's width over the distance of the eyes; turning the head changes neither."""
    if landmarks is None or not complete(landmarks):
        return math.nan
    eyes, mouth = landmarks[1] - landmarks[0], landmarks[4] - landmarks[3]
    return float(np.linalg.norm(mouth) / max(float(np.linalg.norm(eyes)), 1e-3))


def search_size(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the picture as small as other faces are looked for in, and its scale."""
    scale = min(1.0, SEARCH_PX / min(picture.shape[:2]))
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), scale


def other_face_share(faces: Faces, scale: float, person: PersonImage, mask: np.ndarray) -> float:
    """Return the largest share of a face not the person's own that lies on the mask.

    `faces` were found in the person's picture scaled by `scale`. Without a known face of the
    person, the largest on the mask is taken for it.
    """
    boxes = faces.boxes / scale
    own = person.face
    shares = [_covered(box, mask) for box in boxes]
    if own is None:
        on_mask = [k for k, share in enumerate(shares) if share > 0.5]
        if len(on_mask) < 2:
            return 0.0
        own = boxes[max(on_mask, key=lambda k: boxes[k][2] - boxes[k][0])]
    least = _SMALL * float(own[2] - own[0])
    others = [
        share
        for box, share in zip(boxes, shares, strict=True)
        if box[2] - box[0] >= least
        and float(iou(box[None].astype(np.float32), np.asarray(own)[None])[0, 0]) < _SAME_FACE
    ]
    return max(others, default=0.0)


def _covered(box: Sequence[float] | np.ndarray, mask: np.ndarray) -> float:
    x0, y0, x1, y1 = np.maximum(np.round(box), 0).astype(int)
    inside = mask[y0:y1, x0:x1]
    return float((inside > 127).mean()) if inside.size else 0.0
