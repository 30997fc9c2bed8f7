"""Say who is seen, how large, where in the picture, and how the person moves through it."""

import numpy as np

from pipeline.engines.captions.head_motion import FEWEST_FACES
from pipeline.engines.captions.scene_words import STATIC_ZOOM
from schemas.tables import Clip, Track

SHOT_SIZES = {
    "close-up": "close-up",
    "medium": "medium shot",
    "full": "full shot",
    "wide": "wide shot",
}

# Thresholds of words. Ours; between two of them nothing is said.
STILL_PERSON = 0.02  # of the picture's diagonal per second
MOVING_PERSON = 0.04
FAST_PERSON = 0.15
UNDER_WAY = 0.2  # of the way that is made, or left, in the middle of the time
LEANING = 0.17  # of the picture's diagonal: a head that strays further leans to and fro
APPROACH = 0.35  # log2 growth of the box's height per second
MIN_SECONDS = 1.0  # of track; a shorter one shows no direction
MIN_COVERAGE = 0.8  # of the clip; of less, it is not known what the person does in the rest
FEET = 0.98  # of the picture's height; a box that ends below it is cut by the picture
ASIDE = 0.36  # of the picture's width: a middle further out is to the left or right
OFF_CENTRE = 0.42  # of the picture's width: a face further out is not in the middle
MOST_ASIDE = 0.5  # of the picture's width; a wider person is nowhere in particular
TIGHT = 0.72  # of the picture's height: a face that fills it
BODY_FACES = 5.5  # heights of the face that a body with its feet is high

STAYS = "staying in place"

_SAFE = {"black": "dark"}  # dark blue, brown and green are taken for black


def worn(character: Track) -> str:
    """Return hair and clothes, for example "with dark hair wearing a red top"; '' if unknown."""
    hair = f"with {character.hair_colour} hair" if character.hair_colour else ""
    return " ".join(part for part in (hair, clothes(character)) if part)


def clothes(character: Track) -> str:
    """Return for example "wearing a red top and blue bottoms"; '' if nothing is known."""
    garments = []
    if character.top_colour:
        colour = _SAFE.get(character.top_colour, character.top_colour)
        garments.append(f"{article(colour)} {colour} top")
    if character.bottom_colour:
        garments.append(f"{_SAFE.get(character.bottom_colour, character.bottom_colour)} bottoms")
    return f"wearing {' and '.join(garments)}" if garments else ""


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def shot_size(track: Track, clip: Clip) -> str:
    """Return the size of the shot; '' for a full one that does not show the feet."""
    if track.shot_size == "full" and len(track.boxes):
        boxes = np.asarray(track.boxes, dtype=float)
        faces = [face.box[3] - face.box[1] for face in track.faces]
        tall = float(np.median(boxes[:, 3] - boxes[:, 1]))
        hidden = bool(faces) and tall < BODY_FACES * float(np.median(faces))  # behind a table
        if hidden or float(np.median(boxes[:, 3])) > FEET * clip.height:
            return ""
    size = SHOT_SIZES.get(track.shot_size, "")
    if size == "close-up" and _face_height(track, clip) >= TIGHT:
        return "tight close-up"
    return size


def _face_height(track: Track, clip: Clip) -> float:
    """Return the median height of the face over the picture's, 0 where no face is known."""
    heights = [face.box[3] - face.box[1] for face in track.faces]
    return float(np.median(heights)) / clip.height if heights else 0.0


def place(character: Track, clip: Clip) -> str:
    """Say on which side the person is, of one who fills the picture the face; '' in the middle."""
    width = max(clip.width, 1)
    if not len(character.boxes) or character.coverage < MIN_COVERAGE:
        return ""
    boxes = np.asarray(character.boxes, dtype=float)
    if float(np.median(boxes[:, 2] - boxes[:, 0])) > MOST_ASIDE * width:
        return _off_centre(character, width)
    middles = (boxes[:, 0] + boxes[:, 2]) / 2 / width
    if middles.max() < ASIDE:
        return "on the left of the picture"
    return "on the right of the picture" if middles.min() > 1 - ASIDE else ""


def _off_centre(character: Track, width: int) -> str:
    middles = [(face.box[0] + face.box[2]) / 2 / width for face in character.faces]
    if len(middles) < FEWEST_FACES:
        return ""
    if max(middles) < OFF_CENTRE:
        return "left of the centre"
    return "right of the centre" if min(middles) > 1 - OFF_CENTRE else ""


def person_motion(track: Track, clip: Clip) -> str:
    """Say how the person's box travels through the picture; '' when it is not sure."""
    seconds = (len(track.boxes) - 1) / clip.fps
    if seconds < MIN_SECONDS or track.coverage < MIN_COVERAGE:
        return ""
    boxes = np.asarray(track.boxes, dtype=float)
    edge = max(1, round(0.25 * len(boxes)))
    before, after = np.median(boxes[:edge], axis=0), np.median(boxes[-edge:], axis=0)
    seconds *= 0.75  # between the middles of the first and the last quarter
    path = (after[:2] + after[2:] - before[:2] - before[2:]) / 2
    diagonal = float(np.hypot(clip.width, clip.height))
    speed = float(np.hypot(*path)) / diagonal / seconds
    growths = np.log2(np.maximum(after[2:] - after[:2], 1) / np.maximum(before[2:] - before[:2], 1))
    growth = float(np.abs(growths).min()) / seconds  # arms that are raised make one side grow
    if growth >= APPROACH and growths.prod() > 0:
        if not abs(clip.camera_zoom) < STATIC_ZOOM:  # also where it is unknown
            return ""
        return "coming closer" if growths[0] > 0 else "moving away"
    if speed < STILL_PERSON:
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        strayed = np.hypot(*np.ptp(middles, axis=0)) / diagonal
        stays = strayed < 2 * MOVING_PERSON and _head_strays(track) < LEANING * diagonal
        return STAYS if stays else ""
    if speed < MOVING_PERSON or abs(path[0]) < abs(path[1]):  # boxes lose feet, and find them
        return ""
    if not _head_follows(track, float(path[0])):
        return ""
    pace = "quickly " if speed >= FAST_PERSON else ""
    return f"moving {pace}{_direction(path)} {_when(boxes, float(path[0]))}"


def _when(boxes: np.ndarray, shift: float) -> str:
    """Say whether a way is made all the time, or before or after somebody stands."""
    middles = (boxes[:, 0] + boxes[:, 2]) / 2
    edge = max(1, round(0.25 * len(boxes)))
    halfway = float(np.median(middles[edge:-edge]) - np.median(middles[:edge])) / shift
    if halfway < UNDER_WAY:
        return "at the end"
    return "at first" if halfway > 1 - UNDER_WAY else "across the picture"


def _head_strays(track: Track) -> float:
    """Return how far apart the face is seen, in pixels; 0 where no face is known."""
    faces = np.array([face.box for face in track.faces], dtype=float).reshape(-1, 4)
    middles = (faces[:, :2] + faces[:, 2:]) / 2
    return float(np.hypot(*np.ptp(middles, axis=0))) if len(middles) else 0.0


def _head_follows(track: Track, shift: float) -> bool:
    """Whether the head goes where the box goes: an arm that is stretched out moves the box too."""
    middles = np.array([(face.box[0] + face.box[2]) / 2 for face in track.faces])
    if len(middles) < FEWEST_FACES:
        return True
    half = len(middles) // 2
    return float(np.median(middles[-half:]) - np.median(middles[:half])) * shift > 0


def _direction(path: np.ndarray) -> str:
    return "to the right" if path[0] > 0 else "to the left"
