"""Choose the references of a clip's character: other videos and shots first, never a copy."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.dataset.decided import Decided
from pipeline.engines.identity.spaces import Space, likeness, worn_of
from pipeline.engines.interfaces import SimilarityWindows
from pipeline.execution.stage import Rejected
from pipeline.pairing.copy_risk import SAME_POSE, CopyRisk, copy_risk
from pipeline.pairing.kinds import gap_s, pair_kinds
from pipeline.pairing.reference_gates import GateCount, ReferenceGate, ReferencesConfig, refusals
from pipeline.pairing.reference_pool import HASH_BITS, CandidatePool
from pipeline.pairing.vectors import IdentityVectors
from schemas.ids import unit_interval
from schemas.reasons import PairKind, Reason
from schemas.tables import Clip, Track

SHORTLIST = 64  # candidates of a kind compared with each other per sample
WORN = "worn"  # what a face and a body are compared by
NEAR_DUPLICATE, SAME_VIEW = "near_duplicate", "same_view"  # reasons to look at a pair


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
    near_duplicate: float = math.nan  # copy risk: see schemas.tables.Reference
    hash_distance: int = -1
    pose_gap: float = math.nan
    place_similarity: float = math.nan
    review: str = ""
    edit: str = ""
    source_reference_id: str = ""
    recogniser_digest: str = ""
    compared: str = ""  # what similarity is of: see schemas.tables.Reference
    near_copy: bool = False  # too like a picture of the clip to be used unchanged
    augmentation: str = ""  # JSON of the recipe, '' to keep the image unchanged


@dataclass(frozen=True)
class ReferenceChoice:
    """The references of one clip's character, best first, or the reason why there are none."""

    references: tuple[ChosenReference, ...]
    refused: tuple[GateCount, ...]
    rejected: Rejected | None = None


def choose_references(
    track: Track,
    clip: Clip,
    pool: CandidatePool,
    vectors: IdentityVectors,
    windows: SimilarityWindows,
    config: ReferencesConfig | None = None,
    decided: Decided | None = None,
    spaces: Sequence[Space] = (),
) -> ReferenceChoice:
    """Choose references for `track` of `clip` from all candidates of its character.

    `spaces` are the recogniser's, if it has several: faces and bodies compare by what is worn.
    The tiers of `config` are tried in order; the first with a survivor is used alone, but for what
    a person marked best, which comes first in any tier. Raises ValueError when track, clip and pool
    do not belong together.
    """
    config = config or ReferencesConfig()
    _check_same(track, clip, pool, vectors)
    if not len(pool):
        return ReferenceChoice(
            (), (), Rejected(Reason.NO_REFERENCE, 0, 1, "the character has no images")
        )
    cosines, worn = likeness(vectors.tracks[track.track_id], pool.vectors, spaces)
    similarity = np.round(cosines.astype(np.float64), 6)
    kinds = pair_kinds(clip, pool)
    risk = copy_risk(track, pool, similarity)
    floor = _floor(kinds, worn, windows, config, spaces)
    gates = refusals(
        track, clip, pool, similarity, floor, kinds, risk, windows, config, decided or Decided()
    )
    passed, copies = np.ones((2, len(pool)), dtype=bool)
    for gate in gates:
        passed &= ~gate.refuses
        copies &= ~gate.refuses | gate.copies
    for allowed, near_copy in _preferences(kinds, passed, copies, config):
        indices = np.flatnonzero(allowed | (passed & pool.best))
        if len(indices):
            chosen = _spread(indices, track, pool, kinds, risk, config)
            refused = _count_refused(gates, pool, chosen)
            pairs = _Pairs(pool, kinds, similarity, worn, risk, clip, config)
            copied = near_copy & ~(passed & pool.best)
            return ReferenceChoice(tuple(pairs.chosen(i, bool(copied[i])) for i in chosen), refused)
    refused = _count_refused(gates, pool, ())
    if passed.any():
        seen = ", ".join(sorted(set(kinds[passed])))
        rejected = Rejected(
            Reason.NO_REFERENCE, 0, 1, f"pair.references.tiers allows none of {seen}"
        )
        return ReferenceChoice((), refused, rejected)
    return ReferenceChoice((), refused, _all_refused(refused, len(pool)))


def _floor(
    kinds: np.ndarray,
    worn: np.ndarray,
    windows: SimilarityWindows,
    config: ReferencesConfig,
    spaces: Sequence[Space],
) -> np.ndarray:
    """Return, (N,), the least cosine; what is worn in another video says nothing."""
    floor = config.kinds.values(kinds, "floor", windows)
    clothes = worn_of(spaces)
    if clothes is not None:
        elsewhere = kinds == str(PairKind.CROSS_VIDEO)
        floor = np.where(worn, np.where(elsewhere, math.inf, clothes.floor), floor)
    return floor


def _count_refused(
    gates: Sequence[ReferenceGate], pool: CandidatePool, chosen: Sequence[int]
) -> tuple[GateCount, ...]:
    """Count every candidate at the first gate that refuses it; copies used augmented are not."""
    left = np.ones(len(pool), dtype=bool)
    left[list(chosen)] = False
    refused: list[GateCount] = []
    for gate in gates:
        refused += gate.count(left & gate.refuses, pool)
        left &= ~gate.refuses
    return tuple(refused)


def _preferences(
    kinds: np.ndarray, passed: np.ndarray, copies: np.ndarray, config: ReferencesConfig
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
    indices: np.ndarray,
    track: Track,
    pool: CandidatePool,
    kinds: np.ndarray,
    risk: CopyRisk,
    config: ReferencesConfig,
) -> list[int]:
    """Pick good candidates that differ: the best first, then quality times difference.

    Kinds are filled up to their shares; what a kind cannot fill the others may.
    """
    draws = [
        unit_interval("reference", track.track_id, pool.rows[index].reference_id)
        for index in indices
    ]
    score = np.zeros(len(pool))
    score[indices] = (
        pool.quality[indices]
        * (1 - config.variety * np.array(draws))
        * (1 - config.copy_aversion * risk.total[indices])
    )
    score[indices] += pool.best[indices]  # above all others
    ranked = indices[np.argsort(-score[indices], kind="stable")]
    present = sorted(set(kinds[ranked]))
    quotas = config.kinds.quotas(present, config.max_references)
    shortlist = np.concatenate([ranked[kinds[ranked] == kind][:SHORTLIST] for kind in present])
    chosen = [_primary(shortlist, score, pool, kinds, quotas, config)]
    quotas[kinds[chosen[0]]] -= 1
    nearest, bits = pool.difference(chosen[0]), pool.hash_distance(chosen[0])
    while len(chosen) < config.max_references:
        new = (nearest >= config.min_difference) & (bits > config.max_hash_distance)
        left = shortlist[new[shortlist] & ~np.isin(shortlist, chosen)]
        if not len(left):
            break
        owed = left[[quotas[kind] > 0 for kind in kinds[left]]]
        left = owed if len(owed) else left
        best = int(left[np.argmax((score * nearest)[left])])
        chosen.append(best)
        quotas[kinds[best]] -= 1
        nearest = np.fmin(nearest, pool.difference(best))
        bits = np.minimum(bits, pool.hash_distance(best))
    return chosen


def _primary(
    shortlist: np.ndarray,
    score: np.ndarray,
    pool: CandidatePool,
    kinds: np.ndarray,
    quotas: dict[str, int],
    config: ReferencesConfig,
) -> int:
    """Return the best of those that a person marked best, that their kind is owed, that are real
    pictures, and not turned away.

    A wish that nobody fulfils is passed over.
    """
    owed = np.array([quotas.get(kind, 0) > 0 for kind in kinds])
    frontal = np.abs(pool.yaw) <= config.primary_yaw  # an unknown yaw is not
    for wish in (pool.best, owed, ~pool.edited, frontal):
        if wish[shortlist].any():
            shortlist = shortlist[wish[shortlist]]
    return int(shortlist[np.argmax(score[shortlist])])


@dataclass(frozen=True)
class _Pairs:
    """What is known of every candidate as a reference of one clip; (N,) each."""

    pool: CandidatePool
    kinds: np.ndarray
    similarity: np.ndarray
    worn: np.ndarray  # whether that is of what is worn
    risk: CopyRisk
    clip: Clip
    config: ReferencesConfig

    def chosen(self, index: int, near_copy: bool) -> ChosenReference:
        """Take every fact of the pair from one candidate row."""
        row = self.pool.rows[index]
        same_video = row.video_id == self.clip.video_id
        gap = float(gap_s(self.clip, self.pool.times[index])) if same_video else math.nan
        place, bits = _plain(self.risk.place[index]), self.risk.bits[index]
        return ChosenReference(
            reference_id=row.reference_id,
            kind=PairKind(self.kinds[index]),
            track_id=row.track_id,
            clip_id=row.clip_id,
            video_id=row.video_id,
            time_s=row.time_s,
            time_gap_s=gap,
            similarity=float(self.similarity[index]),
            recogniser=self.pool.recogniser,
            recogniser_digest=self.pool.recogniser_digest,
            quality=row.quality,
            yaw=row.yaw,
            whole_body=row.whole_body,
            near_duplicate=_plain(self.risk.near_duplicate[index]),
            hash_distance=int(bits) if bits < HASH_BITS else -1,
            pose_gap=_plain(self.risk.pose_gap[index]),
            place_similarity=place,
            review=self._review(index),
            edit=row.edit,
            source_reference_id=row.source_reference_id,
            compared=WORN if self.worn[index] else "",
            near_copy=near_copy or place >= self._most_alike(same_video),
        )

    def _most_alike(self, same_video: bool) -> float:
        """Return the likeness of places from which the background is replaced."""
        least = self.config.max_place_similarity
        return min(least, self.config.max_place_in_video) if same_video else least

    def _review(self, index: int) -> str:
        if self.kinds[index] == str(PairKind.IN_CLIP_AUGMENTED):
            return ""  # known to be the clip's own picture, and changed for that
        if self.risk.near_duplicate[index] >= self.config.review_near_duplicate:
            return NEAR_DUPLICATE
        same_place = self.risk.place[index] >= self.config.max_place_similarity
        return SAME_VIEW if same_place and self.risk.pose_gap[index] < SAME_POSE else ""


def _plain(value: float) -> float:
    """Return a float; every unknown one is the same object, so that equal choices compare equal."""
    return math.nan if np.isnan(value) else float(value)


def _all_refused(refused: Sequence[GateCount], number: int) -> Rejected:
    """Say why none of `number` candidates served: by the last gate that stopped one."""
    last = refused[-1].rejected
    counts = ", ".join(f"{line.number} {line.rejected.reason}" for line in refused)
    return Rejected(last.reason, last.value, last.threshold, f"{number} candidates: {counts}")
