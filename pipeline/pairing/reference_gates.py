"""Which candidates may stand beside a clip at all: its kind, and every gate with its threshold."""

from dataclasses import dataclass

import numpy as np

from pipeline.engines.interfaces import SimilarityWindows
from pipeline.pairing.reference_pool import HASH_BITS, CandidatePool
from pipeline.stage import Rejected
from schemas.reasons import PairKind, Reason
from schemas.tables import Clip, Track

_DUPLICATE, _QUALITY = Reason.NEAR_DUPLICATE_REFERENCE, Reason.LOW_QUALITY_REFERENCE
_NO_VECTOR = "the image has no identity vector"
_TOO_NEAR = "seconds outside the clip, in its own shot"
_ALIKE = "cosine to a picture of the clip"
_BITS = "bits that differ from a picture of the clip"

MOST_REFERENCES = 10  # the widest galleries keep 8 to 10 images an identity (MAGREF)


@dataclass(frozen=True)
class References:
    """Choose up to `max_references` images of a character for one of its clips.

    Reads    candidates of the character, identity vectors, clip times
    Rejects  no_reference               the character has no candidate at all
             low_quality_reference      quality < min_quality
             low_similarity             cosine to the clip's track < the kind's floor
             near_duplicate_reference   the same picture as one in the clip, or too near in time
             unconfirmed_person         the candidate has no identity vector

    Attributes:
        max_references: at most so many a sample, 1 to 10.
        min_quality: least quality of a candidate, 0 to 1.
        min_gap_s: seconds by which a reference of the clip's own shot lies outside the clip.
        floor: least cosine to the clip's track, same video; null: the recogniser's.
        cross_video_floor: the same for another video; null: the recogniser's cross-video window.
        duplicate: cosine to a picture of the clip that makes a copy; null: the recogniser's.
        max_hash_distance: bits of 64; two crops that differ in no more are one picture.
        min_difference: to the references already chosen, 0 to 1; less adds nothing.
        primary_yaw: degrees; the first reference is turned no further if there is such a one.
        variety: share of the score that is drawn per clip, so that clips get different references.
        tiers: kinds in order of preference; the first tier with a survivor is used alone. Before
            the clip's own pictures are used, near-duplicates from elsewhere are, augmented.
        augmented: kinds whose references are augmented; in_clip_augmented always is.
    """

    max_references: int = 4  # OpenS2V: at most 4 edited ones; MAGREF keeps 10
    min_quality: float = 0.2  # ours: below it, crops are blurred or cut off
    min_gap_s: float = 5.0  # HunyuanCustom trains on 5 s and takes the reference from after it
    floor: float | None = None
    cross_video_floor: float | None = None
    duplicate: float | None = None
    max_hash_distance: int = 6
    min_difference: float = 0.04
    primary_yaw: float = 45.0
    variety: float = 0.1
    tiers: tuple[tuple[PairKind, ...], ...] = (
        (PairKind.CROSS_VIDEO, PairKind.SAME_VIDEO_OTHER_SHOT),
        (PairKind.SAME_SHOT_OTHER_CLIP,),
        (PairKind.IN_CLIP_AUGMENTED,),
    )
    augmented: tuple[PairKind, ...] = (PairKind.SAME_SHOT_OTHER_CLIP, PairKind.IN_CLIP_AUGMENTED)

    def __post_init__(self) -> None:
        if not 1 <= self.max_references <= MOST_REFERENCES:
            raise ValueError(
                f"references.max_references must be 1 to {MOST_REFERENCES}, "
                f"got {self.max_references}"
            )
        if not 0 <= self.max_hash_distance <= HASH_BITS:
            raise ValueError(
                f"references.max_hash_distance must be 0 to {HASH_BITS} bits, "
                f"got {self.max_hash_distance}"
            )
        if PairKind.IN_CLIP_AUGMENTED not in self.augmented:
            raise ValueError(
                "references.augmented must name in_clip_augmented, or clips are paired with "
                f"pictures of themselves, got {list(map(str, self.augmented))}"
            )
        kinds = [kind for tier in self.tiers for kind in tier]
        if len(kinds) != len(set(kinds)) or not kinds:
            raise ValueError(f"references.tiers must name kinds once each, got {kinds}")


@dataclass(frozen=True)
class Refused:
    """How many candidates one gate refused, and the one that came nearest to passing."""

    rejected: Rejected
    number: int
    reference_id: str


def pair_kinds(clip: Clip, pool: CandidatePool) -> np.ndarray:
    """Name every candidate's kind as seen from the clip.

    The clip's own time range counts as inside the clip, whichever overlapping clip the image was
    taken from. Returns (N,) strings.
    """
    kinds = np.full(len(pool), str(PairKind.CROSS_VIDEO), dtype=object)
    here = pool.videos == clip.video_id
    kinds[here] = str(PairKind.SAME_VIDEO_OTHER_SHOT)
    kinds[here & (pool.shots == clip.shot_id)] = str(PairKind.SAME_SHOT_OTHER_CLIP)
    inside = (pool.times >= clip.start_s) & (pool.times < clip.end_s)
    kinds[here & (inside | (pool.clips == clip.clip_id))] = str(PairKind.IN_CLIP_AUGMENTED)
    return kinds


def gap_s(clip: Clip, times: np.ndarray) -> np.ndarray:
    """Return how far outside the clip each time of the same video lies, 0 inside."""
    return np.maximum(np.maximum(clip.start_s - times, times - clip.end_s), 0)


@dataclass(frozen=True)
class Gate:
    """One reason to refuse candidates: which, by what value, against what threshold; (N,)."""

    reason: Reason
    refuses: np.ndarray
    values: np.ndarray
    thresholds: np.ndarray
    higher_passes: bool = True
    detail: str = ""
    copies: bool = False  # refuses pictures only because they are too like the clip's own

    def count(self, stopped: np.ndarray, pool: CandidatePool) -> list[Refused]:
        """Return one line for the candidates that this gate stopped, if any."""
        indices = np.flatnonzero(stopped)
        if not len(indices):
            return []
        miss = np.nan_to_num(self.values[indices] - self.thresholds[indices], nan=-np.inf)
        nearest = indices[int(np.argmax(miss) if self.higher_passes else np.argmin(miss))]
        value, threshold = float(self.values[nearest]), float(self.thresholds[nearest])
        rejected = Rejected(self.reason, round(value, 6), round(threshold, 6), self.detail)
        return [Refused(rejected, len(indices), pool.rows[nearest].reference_id)]


def refusals(
    track: Track,
    clip: Clip,
    pool: CandidatePool,
    similarity: np.ndarray,
    kinds: np.ndarray,
    windows: SimilarityWindows,
    config: References,
) -> list[Gate]:
    """Return the gates in the order in which a candidate meets them."""
    ceiling = windows.duplicate if config.duplicate is None else config.duplicate
    floor = np.where(
        kinds == str(PairKind.CROSS_VIDEO),
        windows.cross_video if config.cross_video_floor is None else config.cross_video_floor,
        windows.reference_floor if config.floor is None else config.floor,
    )
    outside = kinds != str(PairKind.IN_CLIP_AUGMENTED)
    near = (kinds == str(PairKind.SAME_SHOT_OTHER_CLIP)) & (
        gap_s(clip, pool.times) < config.min_gap_s
    )
    alike, bits = _nearest_own(track, pool, similarity)
    one = np.ones(len(pool))
    quality, gap = pool.quality, gap_s(clip, pool.times)
    bits_left = config.max_hash_distance + 1
    return [
        Gate(Reason.UNCONFIRMED_PERSON, ~pool.confirmed, 0 * one, one, detail=_NO_VECTOR),
        Gate(_QUALITY, ~(quality >= config.min_quality), quality, config.min_quality * one),
        Gate(Reason.LOW_SIMILARITY, ~(similarity >= floor), similarity, floor),
        Gate(_DUPLICATE, near, gap, config.min_gap_s * one, True, _TOO_NEAR, True),
        Gate(_DUPLICATE, outside & (alike >= ceiling), alike, ceiling * one, False, _ALIKE, True),
        Gate(_DUPLICATE, outside & (bits < bits_left), bits, bits_left * one, True, _BITS, True),
    ]


def _nearest_own(
    track: Track, pool: CandidatePool, similarity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compare every candidate with the clip's own pictures of the character.

    Returns the highest cosine, to the track's mean or to one of its pictures, and the fewest
    differing bits; (N,) each. This measures how much a reference would give the clip away.
    """
    alike, bits = similarity.copy(), np.full(len(pool), HASH_BITS, dtype=float)
    for index in np.flatnonzero(pool.tracks == track.track_id):
        cosines = np.nan_to_num(pool.vectors @ pool.vectors[index], nan=-1.0)
        alike = np.fmax(alike, np.round(cosines.astype(np.float64), 6))
        bits = np.minimum(bits, pool.hash_distance(int(index)))
    return alike, bits
