"""How much of a clip a reference gives away: its picture, its pose, its place."""

from dataclasses import dataclass

import numpy as np

from pipeline.pairing.reference_pool import HASH_BITS, CandidatePool
from pipeline.pictures.looks import looks_array
from schemas.tables import Track

OTHER_POSE = 45.0  # degrees of yaw that make another pose
SAME_POSE = 5.0  # degrees of yaw that the eye does not see


@dataclass(frozen=True)
class CopyRisk:
    """Measured against the clip's own pictures of the character; (N,), NaN where unknown."""

    cosine: np.ndarray  # highest, to the track's mean or to one of its candidates
    bits: np.ndarray  # fewest that differ from one of its candidates, HASH_BITS if unknown
    near_duplicate: np.ndarray  # highest likeness of looks to one of its moments
    pose_gap: np.ndarray  # least difference of yaw to its faces, degrees
    place: np.ndarray  # highest likeness of the background to that of its candidates

    @property
    def total(self) -> np.ndarray:
        """Return the mean of what is known of picture, pose and place, 0 no risk to 1 a copy."""
        parts = np.stack(
            [
                np.clip(self.near_duplicate, 0, 1),
                1 - np.clip(self.pose_gap / OTHER_POSE, 0, 1),
                self.place,
            ]
        )
        known = np.isfinite(parts)
        return np.where(known, parts, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def copy_risk(track: Track, pool: CandidatePool, similarity: np.ndarray) -> CopyRisk:
    """Compare every candidate with the clip's own pictures of the character.

    An edit is not compared with itself, but with the moments of the clip that it was made from.
    """
    own = np.flatnonzero((pool.tracks == track.track_id) & ~pool.edited)
    cosine, bits = similarity.copy(), np.full(len(pool), HASH_BITS, dtype=float)
    for index in own:
        cosines = np.nan_to_num(pool.vectors @ pool.vectors[index], nan=-1.0)
        cosine = np.fmax(cosine, np.round(cosines.astype(np.float64), 6))
        bits = np.minimum(bits, pool.hash_distance(int(index)))
    yaws = np.array([face.yaw for face in track.faces], dtype=float)
    return CopyRisk(
        cosine=cosine,
        bits=bits,
        near_duplicate=_highest(pool.looks, looks_array(track.looks)),
        pose_gap=_least(np.abs(pool.yaw[:, None] - yaws[None])),
        place=_highest(pool.places, pool.places[own]),
    )


def _highest(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return, (N,), the highest cosine to any of the others; NaN where nothing compares."""
    if not len(others):
        return np.full(len(rows), np.nan)
    cosines = np.round((rows @ others.T).astype(np.float64), 6)
    return -_least(-cosines)


def _least(values: np.ndarray) -> np.ndarray:
    found = np.where(np.isfinite(values), values, np.inf).min(axis=1, initial=np.inf)
    return np.where(np.isfinite(found), found, np.nan)
