"""Who is in a video, frame by frame: likeness to the reference, and whether it drifts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Cosines = Sequence[float | None]  # one a frame, None where no face was found


@dataclass(frozen=True)
class Identity:
    """A video's likeness to a reference. None where nothing could be measured."""

    num_frames: int
    num_detected: int
    detection_rate: float
    mean_detected: float | None  # over frames with a face
    mean_zero_if_missing: float  # a frame without a face counts as 0
    least: float | None
    p10: float | None  # the tenth percentile
    drift_per_s: float | None  # slope of a line through the cosines over time
    late_minus_early: float | None  # mean of the last third less that of the first


def summarise(cosines: Cosines, times_s: Sequence[float]) -> Identity:
    """Summarise one cosine a frame."""
    if len(cosines) != len(times_s) or not cosines:
        raise ValueError(f"{len(cosines)} cosines come with {len(times_s)} times, none is too few")
    seen = np.array([c is not None for c in cosines])
    values = np.array([c for c in cosines if c is not None], np.float64)
    times = np.asarray(times_s, np.float64)[seen]
    found = len(values) > 0
    return Identity(
        num_frames=len(cosines),
        num_detected=len(values),
        detection_rate=float(seen.mean()),
        mean_detected=float(values.mean()) if found else None,
        mean_zero_if_missing=float(values.sum() / len(cosines)),
        least=float(values.min()) if found else None,
        p10=float(np.percentile(values, 10)) if found else None,
        drift_per_s=_slope(times, values),
        late_minus_early=_late_minus_early(times, values),
    )


def _slope(times: np.ndarray, values: np.ndarray) -> float | None:
    centred = times - times.mean() if len(times) else times
    spread = float(centred @ centred)
    return float(centred @ values / spread) if spread > 1e-9 else None


def _late_minus_early(times: np.ndarray, values: np.ndarray) -> float | None:
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    third = (times[-1] - times[0]) / 3
    early, late = values[times <= times[0] + third], values[times >= times[-1] - third]
    return float(late.mean() - early.mean())


def cosine(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return the cosine of two vectors, None where one has no length."""
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths > 1e-9 else None


def self_consistency(vectors: np.ndarray) -> float | None:
    """Return VBench's subject consistency of unit vectors (F, D): no reference is looked at.

    The mean over all frames but the first of the mean of two cosines, to the frame before and to
    the first frame, neither below 0.
    """
    if len(vectors) < 2:
        return None
    before = np.clip((vectors[1:] * vectors[:-1]).sum(1), 0, None)
    first = np.clip(vectors[1:] @ vectors[0], 0, None)
    return float(((before + first) / 2).mean())
