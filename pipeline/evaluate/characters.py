"""Several characters in one video: who is who, and whether they change places."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CharacterAssignment:
    """How well a video keeps its characters apart."""

    matched: float | None  # mean cosine of matched faces, over characters and frames
    missing: float  # share of (character, frame) without a face
    swap_rate: float | None  # share of matches in which the face is nearer to another character


def match_cast(references: np.ndarray, frames: Sequence[np.ndarray]) -> CharacterAssignment:
    """Give every character (C, D) a face (K, D) of each frame, so that all together fit best.

    Vectors are of unit length. Each face goes to one character at most (Hungarian assignment).
    """
    from scipy.optimize import linear_sum_assignment

    if not len(references) or not frames:
        raise ValueError("matching needs at least one character and one frame")
    cosines: list[float] = []
    swaps = 0
    for faces in frames:
        if not len(faces):
            continue
        likeness = references @ faces.T  # (C, K)
        for character, face in zip(*linear_sum_assignment(-likeness), strict=True):
            cosines.append(float(likeness[character, face]))
            swaps += int(np.argmax(likeness[:, face]) != character)
    wanted = len(references) * len(frames)
    return CharacterAssignment(
        matched=float(np.mean(cosines)) if cosines else None,
        missing=1 - len(cosines) / wanted,
        swap_rate=swaps / len(cosines) if cosines else None,
    )
