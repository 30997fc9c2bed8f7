"""Which candidates may stand beside a clip at all: every gate with its value and threshold."""

import math
from dataclasses import dataclass, field

import numpy as np

from pipeline.dataset.decided import Decided
from pipeline.engines.interfaces import SimilarityWindows
from pipeline.execution.stage import Rejected
from pipeline.pairing.copy_risk import CopyRisk
from pipeline.pairing.kinds import KindsConfig, gap_s
from pipeline.pairing.reference_pool import HASH_BITS, CandidatePool
from schemas.reasons import PairKind, Reason
from schemas.settings import check_settings, setting
from schemas.tables import Clip, Track

_DUPLICATE, _QUALITY = Reason.NEAR_DUPLICATE_REFERENCE, Reason.LOW_QUALITY_REFERENCE
_BAD = "a person marked it bad"
_NO_VECTOR = "the image has no identity vector"
_CUT_FACE = "face cut by the side of the picture"
_BAD_MASK = "quality of the mask"
_LETTERED = "share of the person under lettering, as subtitles are"
_BEHIND = "share of the person that others' boxes cover"
_SMALL = "pixels of the person in the source"
_TOO_NEAR = "seconds outside the clip, in its own video"
_ALIKE = "cosine to a picture of the clip"
_BITS = "bits that differ from a picture of the clip"
_LOOKS = "likeness of looks to a moment of the clip"
_GREY = 6.0  # mean distance from grey below which a picture is black and white

MOST_REFERENCES = 10  # the widest galleries keep 8 to 10 images an identity (MAGREF)


@dataclass(frozen=True)
class ReferencesConfig:
    """Choose up to `max_references` images of a character for one of its clips.

    Reads    candidates of the character, identity vectors, clip times, looks
    Rejects  no_reference               the character has no candidate at all
             vetoed                     a person marked it bad
             unconfirmed_person         the candidate has no identity vector
             body_part                  neither a face nor a whole body
             low_quality_reference      too small, half a face, behind others, under subtitles,
                                        quality < min_quality
             other_face                 the mask holds somebody else's face
             low_similarity             cosine to the clip's track < the kind's floor
             colour_differs             black and white beside colour
             near_duplicate_reference   the same picture as one in the clip, or too near in time

    Attributes:
        max_references: at most so many a sample; OpenS2V has at most 4 edited ones, MAGREF 10.
        kinds: window, gap and share of every kind of pair.
        min_quality: least quality of a candidate; below 0.2 crops are blurred or cut off.
        min_mask_quality: least quality of a mask. Of 30 drawn masks that were tuned on, 9 of the 10
            worst are refused, and one good one.
        max_occlusion: share of the box that boxes of others cover. Of 126 references looked at
            six had more than 0.07: 0.24 to 0.46, with another's shirt on the mask or hands lost.
        max_lettering: share of the person under subtitles. Of 1,146 pictures of 71 videos all nine
            above had some; others had 0.017 at most.
        min_px: square root of the person's area in the source; Phantom-Data asks for 128 x 128.
        body_parts: whether hands and backs cut off by the picture may be references.
        max_other_face: share of another face on the mask; MAGREF drops objects from 0.25 on.
        match_colour: whether a black and white picture must not stand beside a coloured clip.
        max_hash_distance: bits of 64; two crops that differ in no more are one picture.
        max_place_similarity: of backgrounds; above it the background is replaced by augmentation.
            Stills of one clip had 0.96 and more in 95 %, other videos at most 0.86.
        max_place_in_video: the same of another shot of the clip's video, which is often of the
            same set: two sides of one room had 0.54 to 0.87, two walls of one hall 0.78.
        review_near_duplicate: likeness of looks from which a person should look at the pair.
        min_difference: to the references already chosen, 0 to 1; less adds nothing.
        primary_yaw: degrees; the first reference is turned no further if there is such a one.
        variety: share of the score that is drawn per clip, so that clips get different references.
        copy_aversion: share of the score that a copy of the clip loses.
        tiers: kinds in order of preference; the first tier with a survivor is used alone. Before
            the clip's own pictures are used, near-duplicates from elsewhere are, augmented.
        augmented: kinds whose references are augmented; in_clip_augmented always is.
    """

    max_references: int = setting(4, low=1, high=MOST_REFERENCES)
    kinds: KindsConfig = field(default_factory=KindsConfig)
    min_quality: float = setting(0.2, low=0, high=1)
    min_mask_quality: float = setting(0.5, low=0, high=1)
    max_occlusion: float = setting(0.15, low=0, high=1)
    max_lettering: float = setting(0.03, low=0, high=1)
    min_px: float = setting(128.0, low=0, high=8192, unit="pixels")
    body_parts: bool = False
    max_other_face: float = setting(0.25, low=0, high=1)
    match_colour: bool = True
    max_hash_distance: int = setting(6, low=0, high=HASH_BITS, unit="bits")
    max_place_similarity: float = setting(0.9, low=-1, high=1)
    max_place_in_video: float = setting(0.6, low=-1, high=1)
    review_near_duplicate: float = setting(0.85, low=-1, high=1)
    min_difference: float = setting(0.04, low=0, high=1)
    primary_yaw: float = setting(45.0, low=0, high=180, unit="degrees")
    variety: float = setting(0.1, low=0, below=1)
    copy_aversion: float = setting(0.3, low=0, below=1)
    tiers: tuple[tuple[PairKind, ...], ...] = setting(
        (
            (PairKind.CROSS_VIDEO, PairKind.SAME_VIDEO_OTHER_SHOT, PairKind.EDITED),
            (PairKind.SAME_SHOT_OTHER_CLIP,),
            (PairKind.IN_CLIP_AUGMENTED,),
        ),
        least=1,
    )
    augmented: tuple[PairKind, ...] = setting(
        (PairKind.SAME_SHOT_OTHER_CLIP, PairKind.IN_CLIP_AUGMENTED)
    )

    def __post_init__(self) -> None:
        check_settings(self, "pair.references")
        if PairKind.IN_CLIP_AUGMENTED not in self.augmented:
            raise ValueError(
                "pair.references.augmented must name in_clip_augmented, or clips are paired with "
                f"pictures of themselves, got {list(map(str, self.augmented))}"
            )
        kinds = [kind for tier in self.tiers for kind in tier]
        if len(kinds) != len(set(kinds)) or not kinds:
            raise ValueError(f"pair.references.tiers must name kinds once each, got {kinds}")


@dataclass(frozen=True)
class GateCount:
    """How many candidates one gate refused, and the one that came nearest to passing."""

    rejected: Rejected
    number: int
    reference_id: str


@dataclass(frozen=True)
class ReferenceGate:
    """One reason to refuse candidates: which, by what value, against what threshold; (N,)."""

    reason: Reason
    refuses: np.ndarray
    values: np.ndarray
    thresholds: np.ndarray
    higher_passes: bool = True
    detail: str = ""
    copies: bool = False  # refuses pictures only because they are too like the clip's own

    def count(self, stopped: np.ndarray, pool: CandidatePool) -> list[GateCount]:
        """Return one line for the candidates that this gate stopped, if any."""
        indices = np.flatnonzero(stopped)
        if not len(indices):
            return []
        miss = np.nan_to_num(self.values[indices] - self.thresholds[indices], nan=-np.inf)
        nearest = indices[int(np.argmax(miss) if self.higher_passes else np.argmin(miss))]
        value, threshold = float(self.values[nearest]), float(self.thresholds[nearest])
        rejected = Rejected(self.reason, _known(value), _known(threshold), self.detail)
        return [GateCount(rejected, len(indices), pool.rows[nearest].reference_id)]


def _known(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def refusals(
    track: Track,
    clip: Clip,
    pool: CandidatePool,
    similarity: np.ndarray,
    floor: np.ndarray,
    kinds: np.ndarray,
    risk: CopyRisk,
    windows: SimilarityWindows,
    config: ReferencesConfig,
    decided: Decided,
) -> list[ReferenceGate]:
    """Return the gates in the order in which a candidate meets them.

    `floor` (N,) is the least cosine of each. Where a person decided that two tracks show one
    person, no cosine is asked.
    """
    sure = np.array([decided.same(track.track_id, other) for other in pool.tracks], bool)
    floor = np.where(sure, -1.0, floor)
    one = np.ones(len(pool))
    quality, size, face = pool.quality, pool.size_px, pool.other_face
    least, covered = config.min_quality * one, config.max_other_face * one
    part = pool.body_part & (not config.body_parts)
    grey = _colour_gate(track, pool, config)
    return [
        ReferenceGate(Reason.VETOED, pool.bad, 0 * one, one, detail=_BAD),
        ReferenceGate(Reason.UNCONFIRMED_PERSON, ~pool.confirmed, 0 * one, one, detail=_NO_VECTOR),
        ReferenceGate(
            Reason.BODY_PART, part, 0 * one, one, detail="faces, in a picture cut by its edge"
        ),
        ReferenceGate(_QUALITY, pool.half_face, 0 * one, one, detail=_CUT_FACE),
        ReferenceGate(_QUALITY, ~(size >= config.min_px), size, config.min_px * one, detail=_SMALL),
        ReferenceGate(_QUALITY, ~(quality >= config.min_quality), quality, least),
        ReferenceGate(
            _QUALITY,
            pool.mask_quality < config.min_mask_quality,
            pool.mask_quality,
            config.min_mask_quality * one,
            detail=_BAD_MASK,
        ),
        ReferenceGate(
            _QUALITY,
            pool.occlusion > config.max_occlusion,
            pool.occlusion,
            config.max_occlusion * one,
            higher_passes=False,
            detail=_BEHIND,
        ),
        ReferenceGate(
            _QUALITY,
            pool.lettering > config.max_lettering,
            pool.lettering,
            config.max_lettering * one,
            higher_passes=False,
            detail=_LETTERED,
        ),
        ReferenceGate(Reason.OTHER_FACE, face > config.max_other_face, face, covered, False),
        ReferenceGate(Reason.LOW_SIMILARITY, ~(similarity >= floor), similarity, floor),
        grey,
        *_copy_gates(clip, pool, kinds, risk, windows, config),
    ]


def _colour_gate(track: Track, pool: CandidatePool, config: ReferencesConfig) -> ReferenceGate:
    """Refuse black and white beside colour, and colour beside black and white."""
    own = pool.chroma[(pool.tracks == track.track_id) & ~pool.edited]
    known = own[np.isfinite(own)]
    clip_is_grey = bool(len(known)) and float(np.median(known)) < _GREY
    grey = pool.chroma < _GREY  # an unknown one is not
    elsewhere = pool.tracks != track.track_id  # in the dark, some pictures of a clip look grey
    differs = np.isfinite(pool.chroma) & (grey != clip_is_grey) & elsewhere
    refuses = differs & bool(len(known)) & config.match_colour
    limit = np.full(len(pool), _GREY)
    return ReferenceGate(Reason.COLOUR_DIFFERS, refuses, pool.chroma, limit, not clip_is_grey)


def _copy_gates(
    clip: Clip,
    pool: CandidatePool,
    kinds: np.ndarray,
    risk: CopyRisk,
    windows: SimilarityWindows,
    config: ReferencesConfig,
) -> list[ReferenceGate]:
    ceiling = config.kinds.values(kinds, "ceiling", windows)
    most = config.kinds.values(kinds, "max_near_duplicate", windows)
    least_gap = config.kinds.values(kinds, "min_gap_s", windows)
    gap = gap_s(clip, pool.times)
    outside = kinds != str(PairKind.IN_CLIP_AUGMENTED)
    near = (pool.videos == clip.video_id) & (gap < least_gap)
    bits_left = np.full(len(pool), float(config.max_hash_distance + 1))
    few, alike = outside & (risk.bits < bits_left), risk.cosine >= ceiling
    copies = risk.near_duplicate >= most
    return [
        ReferenceGate(_DUPLICATE, near, gap, least_gap, True, _TOO_NEAR, True),
        ReferenceGate(_DUPLICATE, alike, risk.cosine, ceiling, False, _ALIKE, True),
        ReferenceGate(_DUPLICATE, few, risk.bits, bits_left, True, _BITS, True),
        ReferenceGate(_DUPLICATE, copies, risk.near_duplicate, most, False, _LOOKS, True),
    ]
