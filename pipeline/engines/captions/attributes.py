"""A captioner without a model: it says in plain English what was measured, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.engines.interfaces import CaptionFacts, EngineInfo
from schemas.tables import Clip, Track

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SHOT_SIZES = {
    "close-up": "close-up",
    "medium": "medium shot",
    "full": "full shot",
    "wide": "wide shot",
}

# Thresholds of words. Ours; flow is in pixels a frame at 256 px short side and 16 to 30 frames a
# second, so 0.5 crosses such a picture in about half a minute.
STATIC_CAMERA = 0.15  # px/frame of global flow; below, only noise of the measurement
PAN = 0.4  # px/frame of net global flow
ZOOM = 0.04  # relative growth per second
STEADY = 0.5  # net over total global flow; below, the camera wavers rather than travels
STILL_PERSON = 0.02  # of the picture's diagonal per second
FAST_PERSON = 0.15
APPROACH = 0.25  # log2 growth of the box's height per second
DARK, BRIGHT = 0.22, 0.72  # mean luma
MIN_SECONDS = 0.5  # of track; a shorter one shows no direction

INFO = EngineInfo(id="attributes/1", task="captioning", licence="Apache-2.0", commercial=True)


@dataclass(frozen=True)
class AttributeCaptioner:
    """Builds sentences from clip and track columns; what is unknown is left out."""

    info: EngineInfo = INFO

    def caption(self, facts: Sequence[CaptionFacts]) -> list[tuple[str, str]]:
        """Return (caption of the clip, description of the character) per input."""
        return [(clip_caption(row), describe(row.character)) for row in facts]


def clip_caption(facts: CaptionFacts) -> str:
    """Return for example "A medium shot of two people, one in a red top. The camera pans left."""
    clip, character = facts.clip, facts.character
    parts = [_who(facts)]
    if character is not None:
        parts.append(person_motion(character, clip))
    first = ", ".join(part for part in parts if part)
    sentences = [first, _sentence(camera_motion(clip)), _sentence(light(clip))]
    return " ".join(_closed(text) for text in sentences if text)


def describe(character: Track | None) -> str:
    """Return what the person wears, '' when nothing is known."""
    if character is None:
        return ""
    clothes = _clothes(character)
    return _closed(f"A person {clothes}") if clothes else ""


def _who(facts: CaptionFacts) -> str:
    number, character = facts.clip.num_people, facts.character
    size = SHOT_SIZES.get(character.shot_size, "") if character else ""
    clothes = _clothes(character) if character else ""
    if number == 1 or (number == 0 and character is not None):
        people = f"one person {clothes}".strip()
    elif number == 0:
        return ""
    else:
        people = f"{count_word(number)} people" + (f", one of them {clothes}" if clothes else "")
    text = f"a {size} of {people}" if size else people
    return text[0].upper() + text[1:]


def count_word(number: int) -> str:
    """Return the number as a word up to ten, as digits above."""
    return NUMBERS[number] if 0 <= number < len(NUMBERS) else str(number)


def _clothes(character: Track) -> str:
    worn = []
    if character.top_colour:
        worn.append(f"{_article(character.top_colour)} {character.top_colour} top")
    if character.bottom_colour:
        worn.append(f"{character.bottom_colour} bottoms")
    return f"wearing {' and '.join(worn)}" if worn else ""


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def person_motion(track: Track, clip: Clip) -> str:
    """Say how the person's box travels through the picture; '' when it is too short to tell."""
    seconds = (len(track.boxes) - 1) / clip.fps
    if seconds < MIN_SECONDS:
        return ""
    boxes = np.asarray(track.boxes, dtype=float)
    edge = max(1, round(0.25 * len(boxes)))
    before, after = np.median(boxes[:edge], axis=0), np.median(boxes[-edge:], axis=0)
    seconds *= 0.75  # between the middles of the first and the last quarter
    path = (after[:2] + after[2:] - before[:2] - before[2:]) / 2
    speed = float(np.hypot(*path)) / np.hypot(clip.width, clip.height) / seconds
    heights = (after[3] - after[1], before[3] - before[1])
    growth = float(np.log2(max(heights[0], 1) / max(heights[1], 1))) / seconds
    if abs(growth) >= APPROACH and abs(clip.camera_zoom) < ZOOM:
        return "coming closer" if growth > 0 else "moving away"
    if speed < STILL_PERSON:
        return "staying in place"
    pace = "quickly " if speed >= FAST_PERSON else ""
    return f"moving {pace}{_direction(path)} across the picture"


def _direction(path: np.ndarray) -> str:
    x, y = path
    if abs(x) >= abs(y):
        return "to the right" if x > 0 else "to the left"
    return "down" if y > 0 else "up"


def camera_motion(clip: Clip) -> str:
    """Say what the camera does, from the global optical flow.

    `camera_pan` is how the picture moves: when it moves to the right, the camera pans left.
    """
    pan = np.asarray(clip.camera_pan, dtype=float)
    if not np.isfinite([clip.camera_motion, clip.camera_zoom, *pan]).all():
        return ""
    if abs(clip.camera_zoom) >= ZOOM:
        return "the camera zooms in" if clip.camera_zoom > 0 else "the camera zooms out"
    if clip.camera_motion < STATIC_CAMERA:
        return "the camera is static"
    net = float(np.hypot(*pan))
    if net >= PAN and net >= STEADY * clip.camera_motion:
        x, y = pan
        if abs(x) >= abs(y):
            return "the camera pans left" if x > 0 else "the camera pans right"
        return "the camera pans up" if y > 0 else "the camera pans down"
    return "the camera is handheld" if net < STEADY * clip.camera_motion else ""


def light(clip: Clip) -> str:
    """Say that the picture is dark or bright; ordinary light is not mentioned."""
    if clip.brightness <= DARK:
        return "the scene is dark"
    return "the scene is bright" if clip.brightness >= BRIGHT else ""


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] if text else ""


def _closed(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
