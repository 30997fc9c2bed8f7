"""Say where a head turns and leans, and what it does meanwhile, from two looks a second."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.tables import FaceBox, Track

# Degrees, and lengths in widths of the face. Landmarks of one still face waver by 3 degrees and a
# twentieth of its width. Between two thresholds nothing is said.
FEWEST_FACES, FACE_RATE = 3, 0.8  # from which on it is known where the face turns
AHEAD = 12.0  # of yaw, up to which a face looks ahead
ASIDE, LEAST_ASIDE = 20.0, 12.0  # median of a face that is turned a little, and nearly all of it
ASLANT, PROFILE = 35.0, 65.0
JUMPING = 55.0  # on both sides, from one look to the next: no head is so quick
TURNING, TURNING_A_LITTLE = 45.0, 25.0  # between the extremes of a head that turns
ONE_WAY = 0.7  # of them, from the clip's first third to its last: a turn to one side
BACK = 25.0  # a turn that is taken back
LEVEL = (0.5, 0.66)  # height of the nose between eyes and mouth; bent or raised beyond
TILTED, LEAST_TILTED = 10.0, 6.0  # median of a tilted head's roll, and of nearly all of it
TILTING = 18.0  # between the extremes of one that tilts
STILL_FACES = 5
STILL_YAW, STILL_ROLL, STILL_PATH = 12.0, 7.0, 0.08  # up to which a head keeps still

STILL = "keeping the head still"


@dataclass(frozen=True)
class HeadPath:
    """Angles of a head at the moments at which its landmarks are known.

    yaw (N,) grows as the face turns to the right of the picture, roll (N,) as the head leans
    there; level (N,) is how far down from the eyes to the mouth the nose is, eyes (N, 2) the
    middle between the eyes in widths of the face.
    """

    yaw: np.ndarray
    roll: np.ndarray
    level: np.ndarray
    eyes: np.ndarray

    @classmethod
    def of(cls, faces: Sequence[FaceBox]) -> "HeadPath":
        known = [face for face in faces if len(face.landmarks) == 10 and np.isfinite(face.yaw)]
        points = np.array([face.landmarks for face in known], float).reshape(-1, 5, 2)
        boxes = np.array([face.box for face in known], float).reshape(-1, 4)
        across = points[:, 1] - points[:, 0]
        roll = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
        down = np.stack([-np.sin(np.radians(roll)), np.cos(np.radians(roll))], axis=1)
        eyes, mouth = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)
        length = np.maximum(((mouth - eyes) * down).sum(axis=1), 1e-3)
        level = ((points[:, 2] - eyes) * down).sum(axis=1) / length
        width = max(float(np.median(boxes[:, 2] - boxes[:, 0])), 1.0) if len(boxes) else 1.0
        yaw = _without_flips(np.array([face.yaw for face in known], float))
        return cls(yaw, roll, level, eyes / width)


def _without_flips(yaw: np.ndarray) -> np.ndarray:
    """Mend single profiles in which the two eyes were taken for each other."""
    before, after = yaw[:-2], yaw[2:]
    flipped = (np.minimum(before * after, -before * yaw[1:-1]) > 0) & (
        np.abs([before, yaw[1:-1], after]).min(axis=0) > ASLANT
    )
    mended = yaw.copy()
    mended[1:-1][flipped] *= -1
    return mended


def head_phrases(track: Track) -> list[str]:
    """Return what is sure of the head, as phrases with "a person" before them."""
    path = HeadPath.of(track.faces)
    if len(path.yaw) < FEWEST_FACES or track.face_rate < FACE_RATE:
        return []
    phrases = [_turn(path), _tilt(path), STILL if _still(path) else ""]
    return [phrase for phrase in phrases if phrase]


def _turn(path: HeadPath) -> str:
    low, middle, high = np.percentile(path.yaw, (5, 50, 95))
    if _jumps(path.yaw):
        return ""  # in profile the two eyes may be taken for each other
    if high - low >= TURNING:
        return _turning(path.yaw, float(high - low))
    least = min(abs(low), abs(high)) if low * high > 0 else 0.0
    side = _side(float(middle))
    if abs(middle) >= PROFILE and least >= ASLANT:
        return f"in profile, facing the {side} of the picture"
    if least >= ASLANT:
        return f"half turned to the {side} of the picture"
    if high - low >= TURNING_A_LITTLE:
        return "turning the head a little"
    if least >= LEAST_ASIDE and abs(middle) >= ASIDE:
        return f"turned a little to the {side} of the picture"
    level = float(np.median(path.level))
    ahead = max(abs(low), abs(high)) <= AHEAD and LEVEL[0] <= level <= LEVEL[1]
    return "facing the camera" if ahead else ""


def _jumps(yaw: np.ndarray) -> bool:
    """Whether a face goes from one side to the other in half a second, past the camera."""
    before, after = yaw[:-1], yaw[1:]
    far = np.minimum(np.abs(before), np.abs(after)) >= JUMPING
    return bool((far & (before * after < 0)).any())


def _turning(yaw: np.ndarray, span: float) -> str:
    third = max(1, len(yaw) // 3)
    net = float(np.median(yaw[-third:]) - np.median(yaw[:third]))
    if abs(net) >= ONE_WAY * span and _turns(yaw) == 1:
        return f"turning the head to the {_side(net)} of the picture"
    if yaw.min() <= -AHEAD and yaw.max() >= AHEAD and _turns(yaw) >= 2:
        return "turning the head from side to side"
    return "turning the head"


def _turns(yaw: np.ndarray) -> int:
    """Return how often the head turns by more than `BACK` before it turns back by as much."""
    turns, way, extreme = 0, 0, yaw[0]
    lowest = highest = yaw[0]
    for value in yaw:
        if way == 0:
            lowest, highest = min(lowest, value), max(highest, value)
            if highest - lowest >= BACK:
                way, extreme, turns = (1 if value == highest else -1), value, 1
        elif (value - extreme) * way > 0:
            extreme = value
        elif abs(value - extreme) >= BACK:
            way, extreme, turns = -way, value, turns + 1
    return turns


def _tilt(path: HeadPath) -> str:
    roll = path.roll[np.abs(path.yaw) <= ASLANT]  # from the side, eyes do not tell it
    if len(roll) < max(FEWEST_FACES, 0.6 * len(path.roll)):
        return ""
    low, least, middle, most, high = np.percentile(roll, (5, 15, 50, 85, 95))
    if high - low >= TILTING:
        return "tilting the head"
    nearly = least if middle > 0 else -most
    if abs(middle) >= TILTED and nearly >= LEAST_TILTED:
        return f"with the head tilted to the {_side(float(middle))}"
    return ""


def _still(path: HeadPath) -> bool:
    if len(path.yaw) < STILL_FACES:
        return False
    travelled = np.ptp(path.eyes, axis=0).max()
    return bool(
        travelled <= STILL_PATH
        and np.ptp(path.yaw) <= STILL_YAW
        and np.ptp(path.roll) <= STILL_ROLL
    )


def _side(angle: float) -> str:
    return "right" if angle > 0 else "left"
