"""Pair every clip's character with its references: which samples there are.

Planning is light: ids and scores of everything observed, no pixels; `sample_rows` builds.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from pipeline.dataset.column_rows import RowLog
from pipeline.dataset.corrections import marks_of_references, texts_of_tracks
from pipeline.dataset.decided import Decided, decide
from pipeline.dataset.row_sets import (
    ByKey,
    Made,
    Places,
    encoded,
    groups,
    ids_of,
    in_order,
    take,
    values,
    where,
)
from pipeline.dataset.spilled import Spilled, in_turn
from pipeline.engines.identity.spaces import Space
from pipeline.engines.interfaces import SimilarityWindows
from pipeline.execution.budget import ClusterConfig
from pipeline.execution.run import run
from pipeline.execution.stage import Ledger, Rejected
from pipeline.execution.worker import Pool
from pipeline.pairing.characters import CharacterResult, CharactersConfig, find_in_spaces
from pipeline.pairing.pair_config import PairConfig
from pipeline.pairing.sample_plans import (
    REFERENCES,
    Block,
    Filmed,
    Person,
    Planned,
    Rules,
    SamplePlan,
    plan_block,
)
from pipeline.pairing.splits import SplitsConfig, split_groups
from pipeline.pairing.vectors import IdentityVectors, identity_vectors
from schemas.corrections import NAME, SPLIT, Correction
from schemas.ids import content_id
from schemas.reasons import Reason
from schemas.tables import Candidate, Clip, Embedding, Reject, Track

CHARACTERS, REVIEW = "characters", "review"  # of the stages of the ledger
_TRACKS = 256  # that are planned together, about half a second's work; one character's may be more
_WORTH_WORKERS = 20_000  # tracks from which more processes save more than their start costs


@dataclass(frozen=True)
class Plans:
    """What pairing decided: every track is a sample or a line in the ledger."""

    samples: Sequence[SamplePlan]  # sorted by sample_id, until `in_time`
    ledger: Ledger
    characters: CharacterResult
    refused: Mapping[str, int]  # candidates refused by the gates, by reason, over all tracks


@dataclass(frozen=True)
class Cast:
    """Who is who among everything observed, and what their references may be judged by."""

    clips: ByKey[Clip]
    tracks: Sequence[Track]  # all that were asked for, sorted by id
    found: CharacterResult
    windows: Mapping[str, SimilarityWindows]  # by track_id
    corrections: tuple[Correction, ...] = ()
    decided: Decided = field(default_factory=Decided)  # of the corrections
    spaces: tuple[Space, ...] = ()  # of the recogniser
    spare: frozenset[str] = frozenset()  # tracks that are references only


def find_cast(
    clips: Sequence[Clip],
    tracks: Sequence[Track],
    embeddings: Sequence[Embedding],
    windows: SimilarityWindows | Sequence[Space],
    config: CharactersConfig | None = None,
    corrections: Sequence[Correction] = (),
    spare: Mapping[str, Rejected] = MappingProxyType({}),
) -> Cast:
    """Find characters, as people corrected them.

    `spare` says by track_id why a track may only be a reference: it is one of somebody who is
    seen for longer, and else refused for that. Raises ValueError for a track without its clip or
    mixed recognisers.
    """
    by_clip = ByKey(clips, "clip_id")
    ordered = in_order(tracks, "track_id")
    _check_clips(ordered, clips)
    spaces = [Space.whole(windows)] if isinstance(windows, SimilarityWindows) else windows
    decided = decide(corrections)
    found, own = find_in_spaces(ordered, by_clip, embeddings, spaces, config, decided)
    found = replace(found, names=texts_of_tracks(corrections, NAME))
    found = _without_strangers(found, spare)
    return Cast(
        by_clip,
        ordered,
        found,
        own,
        tuple(corrections),
        decided,
        tuple(spaces),
        frozenset(spare),
    )


def _without_strangers(found: CharacterResult, spare: Mapping[str, Rejected]) -> CharacterResult:
    """Refuse tracks that are only for references where nobody of theirs is seen for longer."""
    is_spare = np.isin(values(found.tracks, "track_id"), encoded(spare))
    people = values(found.tracks, "character_id")
    lost = is_spare & ~np.isin(people, people[~is_spare])
    if not lost.any():
        return found
    refused = {id: spare[id] for id in ids_of(where(found.tracks, lost), "track_id")}
    left = where(found.tracks, ~lost)
    return replace(found, tracks=left, rejected={**found.rejected, **refused})


def plan_samples(
    clips: Sequence[Clip],
    tracks: Sequence[Track],
    candidates: Sequence[Candidate],
    embeddings: Sequence[Embedding],
    windows: SimilarityWindows | Sequence[Space],
    config: PairConfig | None = None,
    corrections: Sequence[Correction] = (),
) -> Plans:
    """Find characters, choose references for each of their clips, draw recipes and splits.

    Pixels of the candidates are not used and may be empty. The result does not depend on the
    order of the input. Raises ValueError for a track without its clip or mixed recognisers.
    """
    config = config or PairConfig()
    cast = find_cast(clips, tracks, embeddings, windows, config.characters, corrections)
    return plan_cast(cast, candidates, embeddings, config)


def plan_cast(
    cast: Cast,
    candidates: Sequence[Candidate],
    embeddings: Sequence[Embedding],
    config: PairConfig,
    cluster: ClusterConfig | None = None,
    workers: int = 1,
) -> Plans:
    """Do what `plan_samples` does once it is known who is who.

    The characters of many tracks are planned by `workers` processes of the cluster.
    """
    ledger, refused = _character_ledger(cast.tracks, cast.found), Counter[str]()
    rules = Rules(config, cast.decided, cast.spaces, marks_of_references(cast.corrections))
    blocks = _blocks(cast, candidates, identity_vectors(embeddings))
    if cluster is None or workers == 1 or len(cast.tracks) < _WORTH_WORKERS:
        planned = map(functools.partial(plan_block, rules), blocks)
    else:
        planned = _by_workers(blocks, rules, cluster, workers)
    plans = Spilled(_accounted(planned, ledger, refused))
    ledger.check(REFERENCES, "sample", entered=_filmed(cast))
    if config.samples == "multi_character":
        plans = Spilled(_by_clip(plans, ByKey(cast.found.tracks, "track_id")))
    wished = texts_of_tracks(cast.corrections, SPLIT)
    samples = Spilled(_with_splits(plans, cast.clips.rows, config.splits, wished))
    return Plans(samples, ledger, cast.found, dict(sorted(refused.items())))


def _accounted(
    planned: Iterable[Planned], ledger: Ledger, refused: Counter[str]
) -> Iterator[SamplePlan]:
    for block in planned:
        ledger.merge(block.ledger)
        refused.update(block.refused)
        yield from block.plans


def _by_workers(
    blocks: Iterable[Block], rules: Rules, cluster: ClusterConfig, workers: int
) -> Iterator[Planned]:
    """Yield what became of every block, in their order, from processes of the cluster."""
    step = (Pool(REFERENCES, workers), functools.partial(_make_planner, rules))
    yield from in_turn(run(blocks, [step], cluster), lambda block: block.number)


def _make_planner(rules: Rules) -> Callable[[Block], Planned]:
    return functools.partial(plan_block, rules)


def _blocks(
    cast: Cast, candidates: Sequence[Candidate], vectors: IdentityVectors
) -> Iterator[Block]:
    """Yield the characters, one block at a time, with all that they are planned from."""
    of_track = Places(values(candidates, "track_id"))
    people, size, number = list[Person](), 0, 0
    for character_id, tracks in cast.found.members():
        places = np.concatenate([of_track.all_of(track.track_id) for track in tracks])
        clips = cast.clips.all_of(track.clip_id for track in tracks)
        filmed = tuple(
            Filmed(track, clip, cast.windows[track.track_id])
            for track, clip in zip(tracks, clips, strict=True)
            if not clip.reference_only and track.track_id not in cast.spare
        )
        people.append(Person(character_id, filmed, tuple(take(candidates, places))))
        size += len(tracks)
        if size >= _TRACKS:
            yield _block(number, people, vectors)
            people, size, number = [], 0, number + 1
    if people:
        yield _block(number, people, vectors)


def _block(number: int, people: Sequence[Person], vectors: IdentityVectors) -> Block:
    tracks = [filmed.track.track_id for person in people for filmed in person.filmed]
    references = [row.reference_id for person in people for row in person.candidates]
    return Block(number, tuple(people), vectors.some(tracks, references))


def _filmed(cast: Cast) -> int:
    """Return how many tracks there are in clips that may be trained on."""
    tracks, clips = cast.found.tracks, cast.clips.rows
    if not len(tracks):
        return 0
    places = Places(values(clips, "clip_id")).of(values(tracks, "clip_id"))
    is_spare = np.isin(values(tracks, "track_id"), encoded(cast.spare))
    return int((~values(clips, "reference_only")[places] & ~is_spare).sum())


def without_vetoed(plans: Plans, vetoes: Set[str]) -> tuple[Plans, Ledger]:
    """Leave out the samples that a person refused; the ledger is empty when there were none."""
    ledger = Ledger()
    ids = encoded(plan.sample_id for plan in plans.samples)
    vetoed = np.isin(ids, encoded(vetoes))
    if not vetoed.any():
        return plans, ledger
    left = Made(np.flatnonzero(~vetoed), plans.samples.__getitem__)
    ledger.keep(REVIEW, "sample", len(left))
    for plan in Made(np.flatnonzero(vetoed), plans.samples.__getitem__):
        rejected = Rejected(Reason.VETOED, detail="a person marked it in tags.jsonl")
        ledger.reject(rejected.entry(REVIEW, "sample", plan.sample_id, plan.video_id))
    return replace(plans, samples=left), ledger


def in_time(plans: Plans, clips: Sequence[Clip]) -> Plans:
    """Return the plans with their samples by video, time and track, as they are written."""
    videos, of_clips, tracks = (
        encoded(getattr(plan, name) for plan in plans.samples)
        for name in ("video_id", "clip_id", "track_id")
    )
    start_s = values(clips, "start_s")[Places(values(clips, "clip_id")).of(of_clips)]
    order = np.lexsort([tracks, of_clips, start_s, videos])
    return replace(plans, samples=Made(order, plans.samples.__getitem__))


def _by_clip(plans: Sequence[SamplePlan], tracks: Mapping[str, Track]) -> Iterator[SamplePlan]:
    """Join the plans of each clip into one, the largest person first."""
    for _, places in groups(encoded(plan.clip_id for plan in plans)):
        members = [plans[place] for place in places]
        members.sort(key=lambda plan: (-tracks[plan.track_id].area, plan.track_id))
        first, *others = members
        sample_id = content_id("sample", [plan.sample_id for plan in members]) if others else ""
        yield replace(first, sample_id=sample_id or first.sample_id, others=tuple(others))


def _check_clips(tracks: Sequence[Track], clips: Sequence[Clip]) -> None:
    orphans = np.setdiff1d(values(tracks, "clip_id"), values(clips, "clip_id"))
    if len(orphans):
        raise ValueError(
            f"tracks of {len(orphans)} clips came without the clip, the first is "
            f"{orphans[0].decode()}; pass the tracks of kept clips only"
        )


def _character_ledger(tracks: Sequence[Track], found: CharacterResult) -> Ledger:
    ledger = Ledger(RowLog(Reject))
    lost = np.isin(values(tracks, "track_id"), encoded(found.rejected))
    for track in where(tracks, lost):
        rejected = found.rejected[track.track_id]
        ledger.reject(rejected.entry(CHARACTERS, "track", track.track_id, track.video_id))
    ledger.keep(CHARACTERS, "track", len(found.tracks))
    ledger.check(CHARACTERS, "track", entered=len(tracks))
    return ledger


def _with_splits(
    plans: Sequence[SamplePlan],
    clips: Sequence[Clip],
    config: SplitsConfig,
    wished: Mapping[str, str],
) -> Iterator[SamplePlan]:
    """Draw the split of every group, or take what a person wished for one of its tracks.

    `wished` is by track, the latest wish last: of two in one group that one holds. Yields the plans
    by sample_id.
    """
    group_of = split_groups(map(_link, plans), clips, config.copies)
    chosen = _wishes(plans, group_of, wished) if wished else {}
    for place in np.argsort(encoded(plan.sample_id for plan in plans), kind="stable"):
        plan = plans[place]
        group = group_of[plan.clip_id]
        yield replace(plan, split=chosen.get(group, str(config.draw(group))))


def _link(plan: SamplePlan) -> tuple[str, ...]:
    """Return the ids that a sample ties together."""
    characters = (member.character_id for member in plan.members)
    videos = (row.video_id for member in plan.members for row in member.references)
    return (plan.clip_id, plan.video_id, *characters, *videos)


def _wishes(
    plans: Sequence[SamplePlan], group_of: Mapping[str, str], wished: Mapping[str, str]
) -> dict[str, str]:
    """Return the wished split of every group that holds one of the tracks."""
    of_track = {
        member.track_id: group_of[plan.clip_id]
        for plan in plans
        for member in plan.members
        if member.track_id in wished
    }
    return {of_track[id]: split for id, split in wished.items() if id in of_track}
