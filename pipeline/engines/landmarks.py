"""What five points tell about a face: eyes, nose, corners of the mouth, left to right."""

import numpy as np

# Nose tip before the line between the eyes, in distances between the eyes: 27 of 63 mm in the
# generic head that `solvePnP` tutorials use.
_NOSE = 0.43


def yaw_of(landmarks: np.ndarray) -> np.ndarray:
    """Return (K,) degrees from (K, 5, 2) points, 0 frontal, negative to the picture's left.

    Seen from the side the nose moves along the line between the eyes while that line gets
    shorter; a tilted head changes neither. NaN where a point is unknown.
    """
    points = np.asarray(landmarks, np.float32).reshape(-1, 5, 2)
    across = points[:, 1] - points[:, 0]
    apart = np.linalg.norm(across, axis=1)
    direction = across / np.maximum(apart, 1e-6)[:, None]
    offset = np.sum((points[:, 2] - points[:, :2].mean(axis=1)) * direction, axis=1)
    degrees = np.degrees(np.arctan2(offset, _NOSE * np.maximum(apart, 1e-6)))
    return np.where(np.isfinite(degrees), degrees, np.nan).astype(np.float32)


def complete(landmarks: np.ndarray | None) -> bool:
    """Say whether all five points are known, as alignment needs."""
    return landmarks is not None and bool(np.isfinite(landmarks).all()) and len(landmarks) == 5
