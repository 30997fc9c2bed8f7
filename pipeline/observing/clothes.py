"""Name a garment's colour only where it is sure: on the person, and the same in every image."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.engines.identity.colours import colour_name
from pipeline.engines.identity.regions import regions_of
from pipeline.engines.interfaces import PersonImage
from pipeline.pictures.lettering import SHORT_SIDE, text_mask

_FEWEST = 2  # images that must name one colour, where there are as many
_BELIEVABLE = (0.25, 0.92)  # share of the person's box that a mask of a person covers
_COVERED = 0.6  # share of the garment's place that must be the person
_WRITTEN = 0.02  # share of it in lettering: then it may be a subtitle
_VISIBLE = 0.6  # share of its place that must be in the picture
_LIKE_SKIN = 12.0  # of Lab's a and b (8 bits): as near to the face's colour as skin is
_MOST_BARE = 0.5  # share of the garment's place in the colour of the face: then it may be bare
_INSIDE = 0.02  # of the short side: the outline may be mixed with what is behind
_STANDING = 2.0  # height over width of a box from which garments are placed without a face
_DAYLIGHT = 120  # of 255, reached by a tenth of the picture around a person in black


def garment_colour(part: str, people: Sequence[PersonImage], masks: Sequence[np.ndarray]) -> str:
    """Return the colour of `part` (top | bottom) that all images agree on, else ''."""
    seen = [_colour_of(part, person, mask) for person, mask in zip(people, masks, strict=True)]
    names = [name for name in seen if name is not None]
    if len(names) < min(_FEWEST, len(people)) or len(set(names)) != 1:
        return ""
    return names[0]


def _colour_of(part: str, person: PersonImage, mask: np.ndarray) -> str | None:
    """Return the colour, '' where there is no single one, None where the garment is not seen."""
    region = regions_of(person).get(part)
    if region is None or region.visible < _VISIBLE:
        return None
    if person.face is None and not _stands(person):
        return None
    inner = _inner(mask)
    here, whole = _cut(inner, region.box), _cut(mask, np.asarray(person.box))
    low, high = _BELIEVABLE
    if not here.size or not low <= float((whole > 127).mean()) <= high:
        return None
    if float((here > 127).mean()) < _COVERED or _written(person.picture, region.box):
        return None
    if person.face is not None and _bare(person, region.box, inner):
        return None
    name = colour_name(person.picture, region.box, inner)
    # from behind hair may hang over it, and skin may be bare; neither is black in good light
    return name if person.face is not None or name in ("", "black") else None


def well_lit(person: PersonImage) -> bool:
    """Whether the place around a person is light, whatever the person wears."""
    grey = cv2.cvtColor(person.picture, cv2.COLOR_RGB2GRAY)
    return float(np.quantile(grey, 0.9)) >= _DAYLIGHT


def _stands(person: PersonImage) -> bool:
    width, height = np.asarray(person.box)[2:] - np.asarray(person.box)[:2]
    return bool(height >= _STANDING * width) and well_lit(person)


def _bare(person: PersonImage, box: np.ndarray, inner: np.ndarray) -> bool:
    """Whether a garment's place has the colour of the face: shoulders above a low neckline."""
    assert person.face is not None, "garments are placed by the face"
    middle = (person.face[:2] + person.face[2:]) / 2
    half = (person.face[2:] - person.face[:2]) / 4
    face = _colours(_cut(person.picture, np.concatenate([middle - half, middle + half])))
    place = _colours(_cut(person.picture, box)[_cut(inner, box) > 127])
    if not len(face) or not len(place):
        return False
    apart = np.linalg.norm(place - np.median(face, axis=0), axis=1)
    return float((apart < _LIKE_SKIN).mean()) > _MOST_BARE


def _colours(pixels: np.ndarray) -> np.ndarray:
    """Return Lab's a and b of RGB pixels, (N, 2)."""
    flat = np.ascontiguousarray(pixels.reshape(-1, 1, 3))
    if not len(flat):
        return np.zeros((0, 2))
    return cv2.cvtColor(flat, cv2.COLOR_RGB2LAB).reshape(-1, 3)[:, 1:].astype(float)


def _inner(mask: np.ndarray) -> np.ndarray:
    side = max(1, round(_INSIDE * min(mask.shape)))
    return cv2.erode(mask, np.ones((2 * side + 1, 2 * side + 1), np.uint8))


def _written(picture: np.ndarray, box: np.ndarray) -> bool:
    """Whether there is lettering on a box, as subtitles over somebody's legs are."""
    scale = SHORT_SIDE / min(picture.shape[:2])
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    text = text_mask(cv2.cvtColor(cv2.resize(picture, size), cv2.COLOR_RGB2GRAY))
    here = _cut(text, np.asarray(box) * scale)
    return bool(here.size) and float(here.mean()) > _WRITTEN


def _cut(values: np.ndarray, box: np.ndarray) -> np.ndarray:
    x0, y0 = np.maximum(np.floor(box[:2]), 0).astype(int)
    x1, y1 = np.ceil(box[2:]).astype(int)
    return values[y0:y1, x0:x1]
