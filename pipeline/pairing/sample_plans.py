"""Plan the samples of some characters: their references are chosen, what changes them is drawn.

It needs no other characters, so that many processes can do it.
"""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.dataset.decided import Decided
from pipeline.engines.identity.spaces import Space
from pipeline.engines.interfaces import SimilarityWindows
from pipeline.execution.stage import Ledger
from pipeline.pairing.augment import AugmentConfig, draw_recipe, recipe_to_json
from pipeline.pairing.pair_config import PairConfig
from pipeline.pairing.reference_pool import CandidatePool
from pipeline.pairing.references import ChosenReference, ReferenceChoice, choose_references
from pipeline.pairing.vectors import IdentityVectors
from schemas.ids import content_id
from schemas.reasons import PairKind
from schemas.tables import Candidate, Clip, Track

REFERENCES = "references"  # of the stages of the ledger
USABLE_MASK_QUALITY = 0.5  # below it the background is kept: it would cut the person up
USABLE_MASK = (0.15, 0.98)  # share of the person's box; outside, the mask did not find the person


@dataclass(frozen=True)
class SamplePlan:
    """One sample to be built: ids, and what was measured of the pair."""

    sample_id: str
    clip_id: str
    track_id: str
    video_id: str
    character_id: str
    split: str
    references: tuple[ChosenReference, ...]  # best first
    others: tuple["SamplePlan", ...] = ()  # further characters of the clip, largest first

    @property
    def members(self) -> tuple["SamplePlan", ...]:
        """This character and the others."""
        return (self, *self.others)


@dataclass(frozen=True)
class Rules:
    """What holds for all characters of a run."""

    config: PairConfig
    decided: Decided
    spaces: tuple[Space, ...]  # of the recogniser
    marks: Mapping[str, str]  # best or bad, by reference_id


@dataclass(frozen=True)
class Filmed:
    """A character in a clip that may be trained on."""

    track: Track
    clip: Clip
    windows: SimilarityWindows


@dataclass(frozen=True)
class Person:
    """A character, and the images that the references of its clips are chosen from."""

    character_id: str
    filmed: tuple[Filmed, ...]
    candidates: tuple[Candidate, ...]  # without pixels


@dataclass(frozen=True)
class Block:
    """Some characters that are planned together, and their vectors."""

    number: int
    people: tuple[Person, ...]
    vectors: IdentityVectors


@dataclass
class Planned:
    """What became of a block: every track of it is a plan or a line in the ledger."""

    number: int
    plans: list[SamplePlan] = field(default_factory=list)  # without their splits
    ledger: Ledger = field(default_factory=Ledger)
    refused: Counter[str] = field(default_factory=Counter)  # candidates, by reason


def plan_block(rules: Rules, block: Block) -> Planned:
    """Choose references for every clip of every character of the block."""
    config, planned = rules.config, Planned(block.number)
    for person in block.people:
        pool = CandidatePool(person.character_id, person.candidates, block.vectors, rules.marks)
        for filmed in person.filmed:
            choice = choose_references(
                filmed.track, filmed.clip, pool, block.vectors, filmed.windows,
                config.references, rules.decided, rules.spaces,
            )  # fmt: skip
            for line in choice.refused:
                planned.refused[str(line.rejected.reason)] += line.number
            _account(filmed.track, choice, len(pool), planned.ledger)
            if not choice.rejected:
                planned.plans.append(_plan(filmed.track, choice.references, pool, config))
    return planned


def _account(track: Track, choice: ReferenceChoice, candidates: int, ledger: Ledger) -> None:
    """Write off every candidate that a gate refused for this clip, one line a gate."""
    for line in choice.refused:
        rejected = replace(
            line.rejected, detail=f"for track {track.track_id}: {line.rejected.detail}".rstrip(": ")
        )
        entry = rejected.entry(
            REFERENCES, "candidate", line.reference_id, track.video_id, line.number
        )
        ledger.reject(entry)
    kept = candidates - sum(line.number for line in choice.refused)
    ledger.keep(REFERENCES, "candidate", kept)
    if choice.rejected:
        ledger.reject(choice.rejected.entry(REFERENCES, "sample", track.track_id, track.video_id))
    else:
        ledger.keep(REFERENCES, "sample")


def _plan(
    track: Track,
    references: Sequence[ChosenReference],
    pool: CandidatePool,
    config: PairConfig,
) -> SamplePlan:
    sample_id = content_id(
        "sample", track.clip_id, track.track_id, [row.reference_id for row in references]
    )
    low, high = USABLE_MASK
    planned = []
    for row in references:
        recipe = ""
        if row.near_copy or row.kind in config.references.augmented:
            shown = pool.row(row.reference_id)
            cut_well = not shown.mask_quality < USABLE_MASK_QUALITY  # unmeasured: believed
            has_mask = low <= shown.mask_area <= high and cut_well
            drawn = draw_recipe(sample_id, row.reference_id, _changes(row, config), has_mask)
            recipe = recipe_to_json(drawn)
        planned.append(replace(row, augmentation=recipe))
    return SamplePlan(
        sample_id=sample_id,
        clip_id=track.clip_id,
        track_id=track.track_id,
        video_id=track.video_id,
        character_id=track.character_id,
        split="",
        references=tuple(planned),
    )


def _changes(row: ChosenReference, config: PairConfig) -> AugmentConfig:
    """Return how a reference is changed: the clip's own ground never stays where it can go.

    Nor does the same place that another clip shows.
    """
    is_copy = row.near_copy or row.kind == PairKind.IN_CLIP_AUGMENTED
    if is_copy and config.augment.background > 0:
        return _on_other_ground(config.augment)
    return config.augment


@functools.cache
def _on_other_ground(augment: AugmentConfig) -> AugmentConfig:
    return replace(augment, background=1.0)
