"""Name a garment's colour only where it is sure: on the person, and the same in every image."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.engines.identity.colours import dominant_colour, name_of, named_share
from pipeline.engines.identity.regions import regions_of
from pipeline.engines.interfaces import PersonImage
from pipeline.pictures.lettering import SHORT_SIDE, text_mask

_FEWEST = 2  # images that must name one colour, where there are as many
_BELIEVABLE = (0.25, 0.92)  # share of the person's box that a mask of a person covers
_COVERED = 0.6  # share of the garment's place that must be the person
_WRITTEN = 0.02  # share of it in lettering: then it may be a subtitle
_VISIBLE = 0.6  # share of its place that must be in the picture
_LIKE_SKIN = 12.0  # of Lab's a and b (8 bits): as near to the face's colour as skin is
_FACE_RANGE = (0.1, 0.9)  # of its pixels, in a and b
_MOST_BARE = 0.5  # share of the garment's place in the colour of the face: then it may be bare
_INSIDE = 0.02  # of the short side: the outline may be mixed with what is behind
_STANDING = 2.0  # height over width of a box from which garments are placed without a face
# (left, top, right, bottom) from the middle of the face's upper edge, in sides of the face
_SHOULDERS = (-1.7, 1.5, 1.7, 2.6)
_BESIDE_CHIN = ((-0.95, 0.75, -0.65, 1.2), (0.65, 0.75, 0.95, 1.2))
_LEAST_SHOULDERS = 0.12  # of the face's side squared: cloth and skin that must be seen
_LEAST_CLOTH = 0.4  # share of that which is no skin
_ONE_CLOTH, _ONE_DYE = 0.8, 0.65  # share of the cloth in one colour: without and with a hue
# Share of a garment's place; a pattern of black and white is seen as grey where lines are thin.
_LEAST_DYE, _LEAST_SHARE = 0.35, {"black": 0.5, "white": 0.5, "grey": 0.66}
_LONG_HAIR = 0.3  # share of the place beside the chin: then dark shoulders may be hair
_PALE = 120  # HSV value from which grey may as well be white or cream in the shade
_OF_HAIR_OR_SKIN = ("beige", "brown", "orange", "pink", "yellow")
_DAYLIGHT = 120  # of 255, reached by a tenth of the picture around a person in black


def garment_colour(part: str, people: Sequence[PersonImage], masks: Sequence[np.ndarray]) -> str:
    """Return the colour of `part` (top | bottom) that all images agree on, else ''."""
    seen = [_seen_colour(part, person, mask) for person, mask in zip(people, masks, strict=True)]
    names = [name for name in seen if name is not None]
    if len(names) < min(_FEWEST, len(people)) or len(set(names)) != 1:
        return ""
    return names[0]


def _seen_colour(part: str, person: PersonImage, mask: np.ndarray) -> str | None:
    """Return the colour of the garment's own place, or, of a top, of what shoulders show."""
    name = _colour_of(part, person, mask)
    return _shoulder_colour(person, mask) if name is None and part == "top" else name


def _shoulder_colour(person: PersonImage, mask: np.ndarray) -> str | None:
    """Return the colour of what is below a face and no skin; None where it may be hair.

    So a portrait that ends below the collar has a colour too.
    """
    if person.face is None:
        return None
    place = _from_face(person.face, _SHOULDERS)
    pixels = _cut(person.picture, place)[_cut(_inner(mask), place) > 127]
    cloth = pixels[~_like_skin(person, pixels)]
    side = float(person.face[2] - person.face[0])
    if len(pixels) < _LEAST_SHOULDERS * side**2 or len(cloth) < _LEAST_CLOTH * len(pixels):
        return None
    colour, share = dominant_colour(cloth)
    name = name_of(colour)
    if share < (_ONE_CLOTH if name in ("black", "grey", "white") else _ONE_DYE):
        return None
    if name in _OF_HAIR_OR_SKIN and _skin_in_some_light(person, cloth):
        return None
    if name == "grey" and colour.max() >= _PALE:
        return None
    beside = [_cut(mask, _from_face(person.face, side)) > 127 for side in _BESIDE_CHIN]
    long_hair = any(part.size and part.mean() > _LONG_HAIR for part in beside)
    return None if name == "black" and long_hair else name


def _from_face(face: np.ndarray, part: tuple[float, float, float, float]) -> np.ndarray:
    origin = np.array([(face[0] + face[2]) / 2, face[1]] * 2, float)
    return origin + np.array(part) * float(face[2] - face[0])


def _colour_of(part: str, person: PersonImage, mask: np.ndarray) -> str | None:
    """Return the colour, '' where there is no single one, None where the garment is not seen."""
    region = regions_of(person).get(part)
    if region is None or region.visible < _VISIBLE:
        return None
    if person.face is None and (part == "bottom" or not _stands(person)):
        return None  # under a coat seen from behind, stockings are no bottoms
    inner = _inner(mask)
    here, whole = _cut(inner, region.box), _cut(mask, np.asarray(person.box))
    low, high = _BELIEVABLE
    if not here.size or not low <= float((whole > 127).mean()) <= high:
        return None
    if float((here > 127).mean()) < _COVERED or _written(person.picture, region.box):
        return None
    if person.face is not None and _bare(person, region.box, inner):
        return None
    name, share = named_share(person.picture, region.box, inner)
    if share < _LEAST_SHARE.get(name, _LEAST_DYE):
        return ""
    # from behind hair may hang over it, and skin may be bare
    return name if person.face is not None or name not in _OF_HAIR_OR_SKIN else None


def well_lit(person: PersonImage) -> bool:
    """Whether the place around a person is light, whatever the person wears."""
    grey = cv2.cvtColor(person.picture, cv2.COLOR_RGB2GRAY)
    return float(np.quantile(grey, 0.9)) >= _DAYLIGHT


def _stands(person: PersonImage) -> bool:
    width, height = np.asarray(person.box)[2:] - np.asarray(person.box)[:2]
    return bool(height >= _STANDING * width) and well_lit(person)


def _bare(person: PersonImage, box: np.ndarray, inner: np.ndarray) -> bool:
    """Whether a garment's place has the colour of the face: shoulders above a low neckline."""
    skin = _like_skin(person, _cut(person.picture, box)[_cut(inner, box) > 127])
    return bool(len(skin)) and float(skin.mean()) > _MOST_BARE


def _like_skin(person: PersonImage, pixels: np.ndarray) -> np.ndarray:
    """Return (N,) bool: which RGB pixels have the colour of the person's face."""
    face = _face_colours(person)
    if not len(face) or not len(pixels):
        return np.zeros(len(pixels), bool)
    apart = np.linalg.norm(_colours(pixels) - np.median(face, axis=0), axis=1)
    return apart < _LIKE_SKIN


def _skin_in_some_light(person: PersonImage, pixels: np.ndarray) -> bool:
    """Whether the colour is one that the face has somewhere: lamps of two colours dye both."""
    face = _face_colours(person)
    if not len(face):
        return False
    low, high = np.quantile(face, _FACE_RANGE, axis=0)
    seen = np.median(_colours(pixels), axis=0)
    return float(np.linalg.norm(seen - np.clip(seen, low, high))) < _LIKE_SKIN


def _face_colours(person: PersonImage) -> np.ndarray:
    """Return Lab's a and b of the middle of the face, (N, 2)."""
    assert person.face is not None, "garments are placed by the face"
    middle = (person.face[:2] + person.face[2:]) / 2
    half = (person.face[2:] - person.face[:2]) / 4
    return _colours(_cut(person.picture, np.concatenate([middle - half, middle + half])))


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
