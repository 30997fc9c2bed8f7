"""Part a track where it goes over to another person, by clothes and faces."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.engines.identity.spaces import Space, deciding, worn_of
from pipeline.pictures.boxes import area
from schemas.ids import content_id
from schemas.tables import Clip, Track

_FEWEST = 2  # looks on each side of a change
_CHANGED = 0.2  # by which looks of one side are more alike than those of two
_SAME = 1e-4  # likenesses that differ by less are equal: processors add up in other orders


def change_in(vectors: np.ndarray, spaces: Sequence[Space]) -> int | None:
    """Return the first of the looks (N, D), in time order, that shows another person, or None.

    The clothes of two sides differ, or the faces do, which are no reference of each other then.
    Neither may contradict the other.
    """
    worn, windows = worn_of(spaces), spaces[0].windows
    if worn is None or len(vectors) < 2 * _FEWEST:
        return None
    known = vectors.any(axis=1) & (deciding(vectors, spaces) == 0)
    faces = np.where(known[:, None] & known, vectors @ vectors.T, np.nan)
    clothes = np.stack([worn.likeness(row, vectors) for row in vectors])
    best, found = 0.0, None
    for look in range(_FEWEST, len(vectors) - _FEWEST + 1):
        (dressed, other_dress), (seen, other_face) = (
            _sides(each, look) for each in (clothes, faces)
        )
        by_clothes = dressed - other_dress >= _CHANGED and other_dress <= worn.floor
        by_faces = seen - other_face >= _CHANGED and other_face <= windows.reference_floor
        contradicted = dressed < other_dress - _SAME or other_face >= np.fmin(
            seen, windows.same_video
        )
        gain = float(np.nansum([dressed - other_dress, seen - other_face]))
        if (by_clothes or by_faces) and not contradicted and gain > best:
            best, found = gain, look
    return found


def _sides(alike: np.ndarray, look: int) -> tuple[float, float]:
    """Return the mean likeness within the less alike of two sides, and between them."""
    sides = alike[:look, :look], alike[look:, look:]
    within = [_mean(side[np.triu_indices(len(side), 1)]) for side in sides]
    return float(np.min(within)), _mean(alike[:look, look:].ravel())


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def agree_in_clothes(vectors: np.ndarray, spaces: Sequence[Space]) -> float:
    """Return the share of looks (N, D) that wear what the most typical one wears."""
    worn = worn_of(spaces)
    assert worn is not None, "only what is worn parts a track"
    alike = np.nan_to_num(np.stack([worn.likeness(row, vectors) for row in vectors]))
    return float((alike[int(alike.sum(axis=1).argmax())] >= worn.floor).mean())


def part_of(track: Track, clip: Clip, first: int, end: int, purity: float) -> Track:
    """Return the part of a track in frames [first, end) of its clip, as a track of its own."""
    where = slice(first - track.first_frame, end - track.first_frame)
    boxes = track.boxes[where]
    return replace(
        track,
        track_id=content_id("track", track.track_id, first, end),
        first_frame=first,
        boxes=boxes,
        detected=track.detected[where],
        coverage=len(boxes) / clip.num_frames,
        area=float(np.median(area(np.asarray(boxes, np.float32))) / (clip.width * clip.height)),
        purity=purity,
    )
