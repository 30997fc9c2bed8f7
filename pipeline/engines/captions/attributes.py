"""A captioner without a model: it says in plain English what was measured, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.engines.interfaces import CaptionFacts, CaptionParts, CheckedAnswer, EngineInfo
from schemas.tables import Clip, Track

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SHOT_SIZES = {
    "close-up": "close-up",
    "medium": "medium shot",
    "full": "full shot",
    "wide": "wide shot",
}

# Thresholds of words. Ours; flow is in pixels a frame at 256 px short side and 16 to 30 frames a
# second, so 0.5 crosses such a picture in about half a minute. Between two thresholds nothing is
# said: what a caption claims has to be true.
STATIC_CAMERA = 0.12  # px/frame of the ground's flow; below, only noise of the measurement
STATIC_ZOOM = 0.015  # relative growth per second
SHAKY_CAMERA = 0.6  # px/frame; above, whoever holds it is felt
TRAVEL = 0.5  # px/frame of net flow of the ground
GROWTH = 0.06  # relative growth of the ground per second
STEADY, WAVERING = 0.75, 0.4  # net over total flow: one way all the time; to and fro
STILL_PERSON = 0.02  # of the picture's diagonal per second
MOVING_PERSON = 0.04
FAST_PERSON = 0.15
APPROACH = 0.35  # log2 growth of the box's height per second
DARK, BRIGHT = 0.18, 0.75  # mean luma
MIN_SECONDS = 1.0  # of track; a shorter one shows no direction
MIN_COVERAGE = 0.8  # of the clip; of less, it is not known what the person does in the rest
FEET = 0.98  # of the picture's height; a box that ends below it is cut by the picture
ASIDE = 0.36  # of the picture's width: a middle further out is to the left or right
MOST_ASIDE = 0.5  # of the picture's width; a wider person is nowhere in particular
FEWEST_FACES, FACE_RATE = 3, 0.8  # from which on it is known where the face turns
ASLANT, PROFILE = 35.0, 65.0  # degrees of yaw; nobody knows whether a head is bent
TURNING = 45.0  # degrees between the extremes of a head that turns
BODY_FACES = 5.5  # heights of the face that a body with its feet is high
GROUP = 4  # people, from which on it is a group

_SAFE = {"black": "dark"}  # dark blue, brown and green are taken for black

INFO = EngineInfo(id="attributes/3", task="captioning", licence="Apache-2.0", commercial=True)


@dataclass(frozen=True)
class AttributeCaptioner:
    """Builds sentences from clip and track columns; what is unknown is left out."""

    info: EngineInfo = INFO

    def caption(self, facts: Sequence[CaptionFacts]) -> list[tuple[str, str]]:
        """Return (caption of the clip, description of the character) per input."""
        return [(each.text, each.description) for each in self.outcomes(facts)]

    def outcomes(self, facts: Sequence[CaptionFacts]) -> list[CheckedAnswer]:
        """Return both texts and the caption's parts per input."""
        return [
            CheckedAnswer(
                clip_caption(row), describe(row.character), self.info.id, "", caption_parts(row)
            )
            for row in facts
        ]


def clip_caption(facts: CaptionFacts) -> str:
    """Return for example "A medium shot of a person wearing a red top. The camera is static."."""
    sentences = [action(facts), _sentence(light(facts.clip)), _sentence(camera_motion(facts.clip))]
    return " ".join(_closed(text) for text in sentences if text)


def caption_parts(facts: CaptionFacts) -> CaptionParts:
    """Return the caption by what it speaks of; the action without clothes."""
    bare = facts
    if facts.character is not None:
        bare = replace(facts, character=replace(facts.character, top_colour="", bottom_colour=""))
    texts = (action(bare), _sentence(light(facts.clip)), _sentence(camera_motion(facts.clip)))
    return CaptionParts(*(_closed(text) if text else "" for text in texts))


def action(facts: CaptionFacts) -> str:
    """Return who is seen and what the main person does, '' for nobody."""
    character = facts.character
    does = []
    if character is not None:
        does = [_place(facts), facing(character), person_motion(character, facts.clip)]
    first, told_apart = _who(facts)
    if not told_apart or character is None:
        return ", ".join(part for part in (first, *does) if part)
    about = ", ".join(part for part in (_clothes(character), *does) if part)
    return f"{_closed(first)} One of them is {about}" if about else first


def describe(character: Track | None) -> str:
    """Return what the person wears, '' when nothing is known."""
    if character is None:
        return ""
    clothes = _clothes(character)
    return _closed(f"A person {clothes}") if clothes else ""


def _who(facts: CaptionFacts) -> tuple[str, bool]:
    """Return the people of the clip, and whether the main one is still to be told from others."""
    number, character = facts.clip.num_people, facts.character
    size = _shot_size(character, facts.clip) if character else ""
    followed = sum(track.coverage >= MIN_COVERAGE for track in facts.tracks)
    if number == 0 and character is None:
        return "", False
    counted = 1 < number < GROUP and followed == number
    if counted:
        people = f"{count_word(number)} people"
    else:
        people = f"a person {_clothes(character) if character else ''}".strip()
        people += ", among others" if number >= GROUP else ""
    text = f"a {size} of {people}" if size else people
    return text[0].upper() + text[1:], counted


def _shot_size(track: Track, clip: Clip) -> str:
    """Return the size of the shot; '' for a full one that does not show the feet."""
    if track.shot_size == "full" and len(track.boxes):
        boxes = np.asarray(track.boxes, dtype=float)
        faces = [face.box[3] - face.box[1] for face in track.faces]
        tall = float(np.median(boxes[:, 3] - boxes[:, 1]))
        hidden = bool(faces) and tall < BODY_FACES * float(np.median(faces))  # behind a table
        if hidden or float(np.median(boxes[:, 3])) > FEET * clip.height:
            return ""
    return SHOT_SIZES.get(track.shot_size, "")


def _place(facts: CaptionFacts) -> str:
    """Say on which side the person is, '' in the middle and for one who fills the picture."""
    character, width = facts.character, facts.clip.width
    if character is None or not len(character.boxes) or character.coverage < MIN_COVERAGE:
        return ""
    boxes = np.asarray(character.boxes, dtype=float)
    if float(np.median(boxes[:, 2] - boxes[:, 0])) > MOST_ASIDE * width:
        return ""
    middles = (boxes[:, 0] + boxes[:, 2]) / 2 / max(width, 1)
    if middles.max() < ASIDE:
        return "on the left of the picture"
    return "on the right of the picture" if middles.min() > 1 - ASIDE else ""


def facing(track: Track) -> str:
    """Say where the face turns, '' where it is seen too seldom or its angle is unknown."""
    yaw = np.array([face.yaw for face in track.faces if len(face.landmarks)], dtype=float)
    yaw = yaw[np.isfinite(yaw)]
    if len(yaw) < FEWEST_FACES or track.face_rate < FACE_RATE:
        return ""
    low, middle, high = np.percentile(yaw, (5, 50, 95))
    if (low <= -ASLANT and high >= PROFILE) or (low <= -PROFILE and high >= ASLANT):
        return ""  # in profile the two eyes may be taken for each other
    if high - low >= TURNING:
        return "turning the head"
    if abs(middle) >= PROFILE and min(abs(low), abs(high)) >= ASLANT:
        return "in profile"
    return "half turned away" if min(abs(low), abs(high)) >= ASLANT and low * high > 0 else ""


def count_word(number: int) -> str:
    """Return the number as a word up to ten, as digits above."""
    return NUMBERS[number] if 0 <= number < len(NUMBERS) else str(number)


def _clothes(character: Track) -> str:
    worn = []
    if character.top_colour:
        colour = _SAFE.get(character.top_colour, character.top_colour)
        worn.append(f"{_article(colour)} {colour} top")
    if character.bottom_colour:
        worn.append(f"{_SAFE.get(character.bottom_colour, character.bottom_colour)} bottoms")
    return f"wearing {' and '.join(worn)}" if worn else ""


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


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
        return "staying in place" if strayed < 2 * MOVING_PERSON else ""
    if speed < MOVING_PERSON or abs(path[0]) < abs(path[1]):  # boxes lose feet, and find them
        return ""
    if not _head_follows(track, float(path[0])):
        return ""
    pace = "quickly " if speed >= FAST_PERSON else ""
    return f"moving {pace}{_direction(path)} across the picture"


def _head_follows(track: Track, shift: float) -> bool:
    """Whether the head goes where the box goes: an arm that is stretched out moves the box too."""
    middles = np.array([(face.box[0] + face.box[2]) / 2 for face in track.faces])
    if len(middles) < FEWEST_FACES:
        return True
    half = len(middles) // 2
    return float(np.median(middles[-half:]) - np.median(middles[:half])) * shift > 0


def _direction(path: np.ndarray) -> str:
    return "to the right" if path[0] > 0 else "to the left"


def camera_motion(clip: Clip) -> str:
    """Say what the camera does, from the flow of the ground; '' where that is unknown or not sure.

    `camera_pan` is how the picture moves: when it moves to the right, the camera goes left. Flow
    does not tell a turn of the camera from a journey, nor a zoom from a walk, so neither is named.
    """
    pan = np.asarray(clip.camera_pan, dtype=float)
    if not np.isfinite([clip.camera_motion, clip.camera_zoom, *pan]).all():
        return ""
    if clip.camera_motion < STATIC_CAMERA and abs(clip.camera_zoom) < STATIC_ZOOM:
        return "the camera is static"
    if abs(clip.camera_zoom) >= GROWTH:
        return "the view closes in" if clip.camera_zoom > 0 else "the view widens"
    net = float(np.hypot(*pan))
    if net >= TRAVEL and net >= STEADY * clip.camera_motion:
        x, y = pan
        if abs(x) >= abs(y):
            return f"the camera moves {'left' if x > 0 else 'right'}"
        return f"the camera moves {'up' if y > 0 else 'down'}"
    shaky = clip.camera_motion >= SHAKY_CAMERA and net < WAVERING * clip.camera_motion
    return "the camera is handheld" if shaky else ""


def light(clip: Clip) -> str:
    """Say that the picture is dark or bright; ordinary light is not mentioned."""
    if clip.brightness <= DARK:
        return "the scene is dark"
    return "the scene is bright" if clip.brightness >= BRIGHT else ""


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] if text else ""


def _closed(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
