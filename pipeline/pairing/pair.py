"""Second phase: from everything observed to samples.

No source video is decoded here, so it is cheap to run again with other thresholds.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from pipeline.curation.curation_config import CurationConfig
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.observed import Observed
from pipeline.dataset.store import Store
from pipeline.engines.identity.spaces import spaces_of
from pipeline.engines.interfaces import CaptionFacts
from pipeline.engines.registry import load_engine
from pipeline.execution.stage import Ledger, Rejected
from pipeline.pairing.caption_pool import caption_clips
from pipeline.pairing.characters import describe_characters, with_fit
from pipeline.pairing.edit_references import edit_references
from pipeline.pairing.gates import Kept, apply_gates, describe_videos
from pipeline.pairing.sample_rows import Ingredients, Member
from pipeline.pairing.samples import Plans, SamplePlan, find_cast, plan_cast, without_vetoed
from pipeline.pairing.windows import with_own_windows
from schemas.columns import Row
from schemas.reasons import Reason
from schemas.tables import Character, Clip, Embedding, Reject, Suspect, Track, Video


@dataclass(frozen=True)
class Paired:
    """One version of the dataset, before its media are copied together."""

    samples: list[Ingredients]  # sorted by video, time, track
    tables: dict[type[Row], list]  # the light tables, sorted by id
    ledger: Ledger


def pair(
    observed: Observed,
    inputs: Sequence[InputVideo],
    video_ids: Mapping[str, str],
    store: Store,
    config: CurationConfig,
    workers: int = 1,
    vetoes: Set[str] = frozenset(),
) -> Paired:
    """Gate, find characters, choose references, edit, leave out what was vetoed, caption.

    `video_ids` is by uri; `vetoes` are ids of samples.
    """
    given, copies = _first_of_each(inputs, video_ids)
    videos = describe_videos(observed.videos, given)
    kept = apply_gates(observed, videos, config.gates)
    light = {track.track_id for track in kept.tracks}
    candidates = [row for row in observed.candidates if row.track_id in light]
    embeddings = [row for row in observed.embeddings if row.track_id in light]
    recogniser = load_engine("recogniser", config.engines.recogniser)
    spaces = with_own_windows(spaces_of(recogniser), recogniser.info, config.pairing.windows)
    cast = find_cast(kept.clips, kept.tracks, embeddings, spaces, config.pairing.characters)
    plans = plan_cast(cast, candidates, embeddings, config.pairing)
    edited = edit_references(
        plans, candidates, observed.unit_of_clip, cast.windows, store, config, workers
    )
    if edited.candidates:
        plans = plan_cast(
            cast,
            [*candidates, *edited.candidates],
            [*embeddings, *edited.embeddings],
            config.pairing,
        )
    plans, review = without_vetoed(plans, vetoes)
    samples = _ingredients(kept, plans, observed.unit_of_clip, edited.paths, store, config)
    ledger = Ledger(list(observed.rejects), dict(observed.counts))
    for each in (copies, kept.ledger, edited.ledger, plans.ledger, review):
        ledger.merge(each)
    ledger.check("probe", "video", len(inputs))
    return Paired(samples, _tables(observed, videos, plans, samples, ledger), ledger)


def _first_of_each(
    inputs: Iterable[InputVideo], video_ids: Mapping[str, str]
) -> tuple[dict[str, InputVideo], Ledger]:
    """Return the input that speaks for each video; further inputs with its bytes are rejects."""
    given: dict[str, InputVideo] = {}
    ledger = Ledger()
    for video in sorted(inputs, key=lambda video: video.uri):
        video_id = video_ids[video.uri]
        first = given.setdefault(video_id, video)
        if first is not video:
            rejected = Rejected(Reason.DUPLICATE_VIDEO, detail=f"same bytes as {first.uri}")
            ledger.reject(rejected.entry("probe", "video", video_id, video_id))
    return given, ledger


def _ingredients(
    kept: Kept,
    plans: Plans,
    unit_of_clip: Mapping[str, str],
    edits: Mapping[str, str],
    store: Store,
    config: CurationConfig,
) -> list[Ingredients]:
    clips = {clip.clip_id: clip for clip in kept.clips}
    tracks = {track.track_id: track for track in plans.characters.tracks}
    videos = {video.video_id: video for video in kept.videos}
    order = sorted(
        plans.samples, key=lambda p: (p.video_id, clips[p.clip_id].start_s, p.clip_id, p.track_id)
    )
    members = [member for plan in order for member in plan.members]
    given = [videos[p.video_id].given_caption for p in members]
    facts = _facts([(clips[p.clip_id], tracks[p.track_id]) for p in members], kept.tracks)
    captions = caption_clips(facts, given, unit_of_clip, store, config)
    shown = iter(zip(members, captions, strict=True))
    cast = [
        [Member(p, tracks[p.track_id], text) for p, text in itertools.islice(shown, len(s.members))]
        for s in order
    ]
    return [
        Ingredients(
            plan,
            clips[plan.clip_id],
            own.track,
            videos[plan.video_id],
            own.caption,
            _units(plan, unit_of_clip),
            tuple(others),
            _edited(plan, edits),
        )
        for plan, (own, *others) in zip(order, cast, strict=True)
    ]


def _units(plan: SamplePlan, unit_of_clip: Mapping[str, str]) -> dict[str, str]:
    """Return where the clip and the clips of all references lie."""
    clips = {row.clip_id for member in plan.members for row in member.references}
    return {clip_id: unit_of_clip[clip_id] for clip_id in sorted({plan.clip_id, *clips})}


def _edited(plan: SamplePlan, edits: Mapping[str, str]) -> dict[str, str]:
    """Return where the edited references lie."""
    rows = (row for member in plan.members for row in member.references if row.edit)
    return {row.reference_id: edits[row.reference_id] for row in rows}


def _facts(shown: Sequence[tuple[Clip, Track]], tracks: Iterable[Track]) -> list[CaptionFacts]:
    seen: dict[str, list[Track]] = {}
    for track in tracks:
        seen.setdefault(track.clip_id, []).append(track)
    return [CaptionFacts(clip, tuple(seen[clip.clip_id]), track) for clip, track in shown]


def _tables(
    observed: Observed,
    videos: list[Video],
    plans: Plans,
    samples: list[Ingredients],
    ledger: Ledger,
) -> dict[type[Row], list]:
    """Return the light tables; clips and tracks that were dropped stay in, with their scores."""
    named = {track.track_id for track in plans.characters.tracks}
    captions = {each.clip.clip_id: each.caption for each in samples}
    clips = [
        replace(
            clip,
            caption=captions[clip.clip_id].text,
            caption_engine=captions[clip.clip_id].engine,
            caption_digest=captions[clip.clip_id].digest,
        )
        if clip.clip_id in captions
        else clip
        for clip in observed.clips
    ]
    tracks = with_fit(observed.tracks, plans.characters)
    embeddings = [row for row in observed.embeddings if row.track_id in named]
    recogniser = next(((row.recogniser, row.weights_digest) for row in embeddings), ("", ""))
    return {
        Video: videos,
        Clip: sorted(clips, key=lambda clip: clip.clip_id),
        Track: sorted(tracks, key=lambda track: track.track_id),
        Character: describe_characters(plans.characters, *recogniser),
        Suspect: list(plans.characters.suspects),
        Embedding: sorted(embeddings, key=lambda row: (row.track_id, row.reference_id)),
        Reject: sorted(
            ledger.rejects, key=lambda r: (r.stage, r.level, r.video_id, r.id, r.reason, r.detail)
        ),
    }
