"""Second phase, over everything observed: which inputs count, and what the samples are built of.

The order of its stages is `pipeline.curation.curate`. It reads light columns of all units at once
and writes nothing; thresholds that change re-run it alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from pipeline.dataset.corrections import texts_of_tracks
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.observed import Observed
from pipeline.dataset.row_sets import (
    ByKey,
    Made,
    Places,
    encoded,
    ids_of,
    in_order,
    take,
    values,
    where,
    with_columns,
    without,
)
from pipeline.engines.identity.spaces import Space, spaces_of
from pipeline.engines.interfaces import CaptionFacts, CaptionParts
from pipeline.engines.registry import load_engine
from pipeline.execution.stage import Ledger, Rejected
from pipeline.pairing.captions import CORRECTED, Caption
from pipeline.pairing.characters import describe_characters, with_fit
from pipeline.pairing.gates import Kept
from pipeline.pairing.sample_rows import IN_UNIT, Ingredients, Member
from pipeline.pairing.samples import Plans, SamplePlan
from pipeline.pairing.windows import WindowsConfig, with_own_windows
from schemas.columns import Row, RowType
from schemas.corrections import CAPTION, Correction
from schemas.reasons import Reason
from schemas.tables import (
    Candidate,
    Character,
    Clip,
    Embedding,
    Reject,
    Suspect,
    Track,
    Video,
)


@dataclass(frozen=True)
class Paired:
    """One version of the dataset, before its media are copied together."""

    samples: Sequence[Ingredients]  # sorted by video, time, track
    splits: Mapping[str, int]  # samples by split
    tables: Mapping[type[Row], Sequence]  # the light tables, sorted by id
    ledger: Ledger


def first_of_each(
    inputs: Iterable[InputVideo], video_ids: Mapping[str, str]
) -> tuple[dict[str, InputVideo], Ledger]:
    """Return, by video_id, the input that speaks for each video; further copies are rejects.

    `video_ids` is by uri.
    """
    first_inputs: dict[str, InputVideo] = {}
    ledger = Ledger()
    for video in sorted(inputs, key=lambda video: video.uri):
        video_id = video_ids[video.uri]
        first = first_inputs.setdefault(video_id, video)
        if first is not video:
            detail = f"{video.uri} has the same bytes as {first.uri}"
            rejected = Rejected(Reason.DUPLICATE_VIDEO, detail=detail)
            ledger.reject(rejected.entry("probe", "video", video_id, video_id))
    return first_inputs, ledger


def identity_spaces(recogniser: str, windows: Sequence[WindowsConfig]) -> tuple[Space, ...]:
    """Return the recogniser's spaces of vectors, with calibrated windows in place of its own."""
    engine = load_engine("recogniser", recogniser)
    return with_own_windows(spaces_of(engine), engine.info, windows)


def of_tracks(observed: Observed, kept: Kept) -> tuple[Sequence[Candidate], Sequence[Embedding]]:
    """Return the candidates and the identity vectors of the tracks that passed the gates."""
    passed = values(kept.tracks, "track_id")
    return _of_tracks(observed.candidates, passed), _of_tracks(observed.embeddings, passed)


def _of_tracks(rows: Sequence[RowType], track_ids: np.ndarray) -> Sequence[RowType]:
    return where(rows, np.isin(values(rows, "track_id"), track_ids))


def facts_for_captions(plans: Plans, kept: Kept) -> tuple[Sequence[CaptionFacts], list[str]]:
    """Return what a captioner may look at, per member of every sample, and the given captions."""
    clips = ByKey(kept.clips, "clip_id")
    long = where(kept.tracks, ~np.isin(values(kept.tracks, "track_id"), encoded(kept.spare)))
    seen = Places(values(long, "clip_id"))
    characters = ByKey(plans.characters.tracks, "track_id")
    given = {video.video_id: video.given_caption for video in kept.videos}
    members = [member for plan in in_time(plans, kept) for member in plan.members]

    def facts(plan: SamplePlan) -> CaptionFacts:
        tracks = take(long, seen.all_of(plan.clip_id))
        return CaptionFacts(clips[plan.clip_id], tuple(tracks), characters[plan.track_id])

    return Made(members, facts), [given[plan.video_id] for plan in members]


def with_corrected(
    captions: Sequence[Caption], facts: Sequence[CaptionFacts], corrections: Sequence[Correction]
) -> list[Caption]:
    """Return the captions with those that a person corrected in their place."""
    texts = texts_of_tracks(corrections, CAPTION)
    if not texts:
        return list(captions)
    return [
        replace(caption, text=text, engine=CORRECTED, digest="", parts=CaptionParts())
        if (text := texts.get(row.character.track_id if row.character else ""))
        else caption
        for caption, row in zip(captions, facts, strict=True)
    ]


def in_time(plans: Plans, kept: Kept) -> list[SamplePlan]:
    """Return the planned samples by video, time and track, as they are written."""
    place, start_s = Places(values(kept.clips, "clip_id")), values(kept.clips, "start_s")
    return sorted(
        plans.samples,
        key=lambda plan: (plan.video_id, start_s[place[plan.clip_id]], plan.clip_id, plan.track_id),
    )


def put_together(
    plans: Plans,
    kept: Kept,
    captions: Sequence[Caption],
    unit_of_clip: Mapping[str, str],
    edits: Mapping[str, str],
) -> Sequence[Ingredients]:
    """Return what each sample is built from, but for what lies in its unit, made when asked for.

    `captions` are in the order of `facts_for_captions`; `edits` names the files of edited
    references.
    """
    clips = ByKey(kept.clips, "clip_id")
    tracks = ByKey(without(plans.characters.tracks, *IN_UNIT), "track_id")
    videos = {video.video_id: video for video in kept.videos}

    def ingredients(planned: tuple[SamplePlan, Sequence[Caption]]) -> Ingredients:
        plan, texts = planned
        own, *others = (
            Member(member, tracks[member.track_id], text)
            for member, text in zip(plan.members, texts, strict=True)
        )
        return Ingredients(
            plan,
            clips[plan.clip_id],
            own.track,
            videos[plan.video_id],
            own.caption,
            _units(plan, unit_of_clip),
            tuple(others),
            _edited(plan, edits),
        )

    return Made(list(_with_captions(in_time(plans, kept), captions)), ingredients)


def _with_captions(
    plans: Iterable[SamplePlan], captions: Sequence[Caption]
) -> Iterator[tuple[SamplePlan, Sequence[Caption]]]:
    """Yield every plan with the captions of its members."""
    used = 0
    for plan in plans:
        yield plan, captions[used : used + len(plan.members)]
        used += len(plan.members)
    assert used == len(captions), f"{len(captions)} captions came for {used} members of samples"


def _units(plan: SamplePlan, unit_of_clip: Mapping[str, str]) -> dict[str, str]:
    """Return where the clip and the clips of all references lie."""
    clips = {row.clip_id for member in plan.members for row in member.references}
    return {clip_id: unit_of_clip[clip_id] for clip_id in sorted({plan.clip_id, *clips})}


def _edited(plan: SamplePlan, edits: Mapping[str, str]) -> dict[str, str]:
    """Return where the edited references lie."""
    rows = (row for member in plan.members for row in member.references if row.edit)
    return {row.reference_id: edits[row.reference_id] for row in rows}


def light_tables(
    observed: Observed,
    kept: Kept,
    videos: list[Video],
    plans: Plans,
    captions: Sequence[Caption],
    ledger: Ledger,
) -> dict[type[Row], Sequence]:
    """Return the light tables; clips and tracks that were dropped stay in, with their scores.

    `captions` are in the order of `facts_for_captions`.
    """
    written = {
        plan.clip_id: texts[0] for plan, texts in _with_captions(in_time(plans, kept), captions)
    }
    clips = in_order(observed.clips, "clip_id")
    of_clips = [written.get(clip_id) for clip_id in ids_of(clips, "clip_id")]
    tracks = in_order(observed.tracks, "track_id")
    named = values(plans.characters.tracks, "track_id")
    embeddings = in_order(_of_tracks(observed.embeddings, named), "track_id", "reference_id")
    known = set(ids_of(plans.characters.tracks, "character_id"))
    suspects = [each for each in plans.characters.suspects if _is_known(each, known)]
    recogniser = next(((row.recogniser, row.weights_digest) for row in embeddings), ("", ""))
    return {
        Video: videos,
        Clip: _with_texts(clips, of_clips),
        Track: with_fit(tracks, plans.characters),
        Character: describe_characters(plans.characters, *recogniser),
        Suspect: suspects,
        Embedding: embeddings,
        Reject: sorted(
            ledger.rejects, key=lambda r: (r.stage, r.level, r.video_id, r.id, r.reason, r.detail)
        ),
    }


def _with_texts(clips: Sequence[Clip], captions: Sequence[Caption | None]) -> Sequence[Clip]:
    """Return the clips with their captions; those that are in no sample stay without."""
    nothing = Caption("", "", "")
    texts = [caption or nothing for caption in captions]
    return with_columns(
        clips,
        {
            "caption": [caption.text for caption in texts],
            "caption_engine": [caption.engine for caption in texts],
            "caption_digest": [caption.digest for caption in texts],
        },
    )


def _is_known(suspect: Suspect, characters: Set[str]) -> bool:
    """Whether everybody whom a suspect names is in the dataset: others may have been dropped."""
    named = {suspect.character_id, suspect.other_character_id} - {""}
    return named <= characters
