"""Choose the references of a clip's character: other videos and shots first, never a copy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.engines.interfaces import SimilarityWindows
from pipeline.pairing.reference_gates import References, Refused, gap_s, pair_kinds, refusals
from pipeline.pairing.reference_pool import CandidatePool
from pipeline.pairing.vectors import IdentityVectors
from pipeline.stage import Rejected
from schemas.ids import unit_interval
from schemas.reasons import PairKind, Reason
from schemas.tables import Clip, Track

SHORTLIST = 64  # candidates compared with each other per sample: bounds the work at 64 x 10


@dataclass(frozen=True)
class ChosenReference:
    """One reference of one sample, without its pixels."""

    reference_id: str
    kind: PairKind
    track_id: str
    clip_id: str
    video_id: str
    time_s: float
    time_gap_s: float  # to the clip in the same video, NaN across videos
    similarity: float
    recogniser: str
    quality: float
    yaw: float
    whole_body: bool
    near_copy: bool = False  # too like a picture of the clip to be used unchanged
    augmentation: str = ""  # JSON of the recipe, '' to keep the image unchanged


@dataclass(frozen=True)
class Choice:
    """The references of one clip's character, best first, or the reason why there are none."""

    references: tuple[ChosenReference, ...]
    refused: tuple[Refused, ...]
    rejected: Rejected | None = None


def choose_references(
    track: Track,
    clip: Clip,
    pool: CandidatePool,
    vectors: IdentityVectors,
    windows: SimilarityWindows,
    config: References | None = None,
) -> Choice:
    """Choose references for `track` of `clip` from all candidates of its character.

    The tiers of `config` are tried in order; the first with a survivor is used alone. Raises
    ValueError when track, clip and pool do not belong together.
    """
    config = config or References()
    _check_same(track, clip, pool, vectors)
    if not len(pool):
        return Choice((), (), Rejected(Reason.NO_REFERENCE, 0, 1, "the character has no images"))
    cosines = pool.vectors @ vectors.tracks[track.track_id]
    similarity = np.round(cosines.astype(np.float64), 6)
    kinds = pair_kinds(clip, pool)
    passed, copies = np.ones((2, len(pool)), dtype=bool)
    refused: list[Refused] = []
    for gate in refusals(track, clip, pool, similarity, kinds, windows, config):
        refused += gate.count(passed & gate.refuses, pool)
        passed &= ~gate.refuses
        copies &= ~gate.refuses | gate.copies
    for allowed, near_copy in _preferences(kinds, passed, copies, config):
        indices = np.flatnonzero(allowed)
        if len(indices):
            chosen = _spread(indices, track, pool, config)
            found = (_chosen(pool, i, PairKind(kinds[i]), similarity[i], clip) for i in chosen)
            marked = (replace(reference, near_copy=near_copy) for reference in found)
            return Choice(tuple(marked), tuple(refused))
    if passed.any():
        seen = ", ".join(sorted(set(kinds[passed])))
        rejected = Rejected(Reason.NO_REFERENCE, 0, 1, f"references.tiers allows none of {seen}")
        return Choice((), tuple(refused), rejected)
    return Choice((), tuple(refused), _all_refused(refused, len(pool)))


def _preferences(
    kinds: np.ndarray, passed: np.ndarray, copies: np.ndarray, config: References
) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield who may be chosen, best first, and whether they are too like the clip's pictures.

    A near-duplicate from elsewhere still beats the clip's own picture: it comes later, and is
    augmented like it.
    """
    inside = PairKind.IN_CLIP_AUGMENTED
    elsewhere = [str(kind) for tier in config.tiers for kind in tier if kind != inside]
    for tier in config.tiers:
        if inside in tier:
            yield copies & np.isin(kinds, elsewhere), True
        yield passed & np.isin(kinds, [str(kind) for kind in tier]), False


def _check_same(track: Track, clip: Clip, pool: CandidatePool, vectors: IdentityVectors) -> None:
    if track.character_id != pool.character_id:
        raise ValueError(
            f"references of character {pool.character_id!r} were offered to a track of "
            f"{track.character_id!r}; pair a track with its own character's pool"
        )
    if track.clip_id != clip.clip_id:
        raise ValueError(f"track {track.track_id} is of clip {track.clip_id}, not {clip.clip_id}")
    if len(pool) and pool.recogniser != vectors.recogniser:
        raise ValueError(
            f"the pool's recogniser is {pool.recogniser!r}, the track's {vectors.recogniser!r}; "
            "cosines of two recognisers do not compare"
        )


def _spread(
    indices: np.ndarray, track: Track, pool: CandidatePool, config: References
) -> list[int]:
    """Pick good candidates that differ: the best first, then quality times difference."""
    score = np.zeros(len(pool))
    for index in indices:
        draw = unit_interval("reference", track.track_id, pool.rows[index].reference_id)
        score[index] = pool.quality[index] * (1 - config.variety * draw)
    shortlist = indices[np.argsort(-score[indices], kind="stable")[:SHORTLIST]]
    turned = np.abs(pool.yaw[shortlist])
    primary = shortlist[turned <= config.primary_yaw]  # an unknown yaw is never primary
    chosen = [int((primary if len(primary) else shortlist)[0])]
    nearest, bits = pool.difference(chosen[0]), pool.hash_distance(chosen[0])
    while len(chosen) < config.max_references:
        new = (nearest >= config.min_difference) & (bits > config.max_hash_distance)
        left = shortlist[new[shortlist] & ~np.isin(shortlist, chosen)]
        if not len(left):
            break
        best = int(left[np.argmax((score * nearest)[left])])
        chosen.append(best)
        nearest = np.fmin(nearest, pool.difference(best))
        bits = np.minimum(bits, pool.hash_distance(best))
    return chosen


def _chosen(
    pool: CandidatePool, index: int, kind: PairKind, similarity: float, clip: Clip
) -> ChosenReference:
    """Take every fact of the pair from one candidate row."""
    row = pool.rows[index]
    same_video = row.video_id == clip.video_id
    return ChosenReference(
        reference_id=row.reference_id,
        kind=kind,
        track_id=row.track_id,
        clip_id=row.clip_id,
        video_id=row.video_id,
        time_s=row.time_s,
        time_gap_s=float(gap_s(clip, pool.times[index])) if same_video else float("nan"),
        similarity=float(similarity),
        recogniser=pool.recogniser,
        quality=row.quality,
        yaw=row.yaw,
        whole_body=row.whole_body,
    )


def _all_refused(refused: Sequence[Refused], number: int) -> Rejected:
    """Say why none of `number` candidates served: by the last gate that stopped one."""
    last = refused[-1].rejected
    counts = ", ".join(f"{line.number} {line.rejected.reason}" for line in refused)
    return Rejected(last.reason, last.value, last.threshold, f"{number} candidates: {counts}")
