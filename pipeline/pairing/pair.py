"""Second phase, over everything observed: which inputs count, and what the samples are built of.

The order of its stages is `pipeline.curation.curate`. It reads light columns of all units at once
and writes nothing; thresholds that change re-run it alone.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from pipeline.dataset.corrections import texts_of_tracks
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.observed import Observed
from pipeline.engines.identity.spaces import Space, spaces_of
from pipeline.engines.interfaces import CaptionFacts, CaptionParts
from pipeline.engines.registry import load_engine
from pipeline.execution.stage import Ledger, Rejected
from pipeline.pairing.captions import CORRECTED, Caption
from pipeline.pairing.characters import describe_characters, with_fit
from pipeline.pairing.gates import Kept
from pipeline.pairing.sample_rows import Ingredients, Member
from pipeline.pairing.samples import Plans, SamplePlan
from pipeline.pairing.windows import WindowsConfig, with_own_windows
from schemas.columns import Row
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

    samples: list[Ingredients]  # sorted by video, time, track
    tables: dict[type[Row], list]  # the light tables, sorted by id
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


def of_tracks(observed: Observed, kept: Kept) -> tuple[list[Candidate], list[Embedding]]:
    """Return the candidates and the identity vectors of the tracks that passed the gates."""
    passed = {track.track_id for track in kept.tracks}
    candidates = [row for row in observed.candidates if row.track_id in passed]
    return candidates, [row for row in observed.embeddings if row.track_id in passed]


def facts_for_captions(plans: Plans, kept: Kept) -> tuple[list[CaptionFacts], list[str]]:
    """Return what a captioner may look at, per member of every sample, and the given captions."""
    clips = {clip.clip_id: clip for clip in kept.clips}
    characters = {track.track_id: track for track in plans.characters.tracks}
    given = {video.video_id: video.given_caption for video in kept.videos}
    seen: dict[str, list[Track]] = {}
    for track in kept.tracks:
        if track.track_id not in kept.spare:
            seen.setdefault(track.clip_id, []).append(track)
    members = [member for plan in in_time(plans, kept) for member in plan.members]
    facts = [
        CaptionFacts(clips[plan.clip_id], tuple(seen[plan.clip_id]), characters[plan.track_id])
        for plan in members
    ]
    return facts, [given[plan.video_id] for plan in members]


def with_corrected(
    captions: Sequence[Caption], facts: Sequence[CaptionFacts], corrections: Sequence[Correction]
) -> list[Caption]:
    """Return the captions with those that a person corrected in their place."""
    texts = texts_of_tracks(corrections, CAPTION)
    return [
        replace(caption, text=text, engine=CORRECTED, digest="", parts=CaptionParts())
        if (text := texts.get(row.character.track_id if row.character else ""))
        else caption
        for caption, row in zip(captions, facts, strict=True)
    ]


def in_time(plans: Plans, kept: Kept) -> list[SamplePlan]:
    """Return the planned samples by video, time and track, as they are written."""
    start_s = {clip.clip_id: clip.start_s for clip in kept.clips}
    return sorted(
        plans.samples, key=lambda p: (p.video_id, start_s[p.clip_id], p.clip_id, p.track_id)
    )


def put_together(
    plans: Plans,
    kept: Kept,
    captions: Sequence[Caption],
    unit_of_clip: Mapping[str, str],
    edits: Mapping[str, str],
) -> list[Ingredients]:
    """Return everything that each sample is built from, but for its media.

    `captions` are in the order of `facts_for_captions`; `edits` names the files of edited
    references.
    """
    clips = {clip.clip_id: clip for clip in kept.clips}
    tracks = {track.track_id: track for track in plans.characters.tracks}
    videos = {video.video_id: video for video in kept.videos}
    samples, used = [], 0
    for plan in in_time(plans, kept):
        texts = captions[used : used + len(plan.members)]
        used += len(texts)
        own, *others = (
            Member(member, tracks[member.track_id], text)
            for member, text in zip(plan.members, texts, strict=True)
        )
        samples.append(
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
        )
    assert used == len(captions), f"{len(captions)} captions came for {used} members of samples"
    return samples


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
    known = plans.characters.members.keys()
    suspects = [each for each in plans.characters.suspects if _is_known(each, known)]
    recogniser = next(((row.recogniser, row.weights_digest) for row in embeddings), ("", ""))
    return {
        Video: videos,
        Clip: sorted(clips, key=lambda clip: clip.clip_id),
        Track: sorted(tracks, key=lambda track: track.track_id),
        Character: describe_characters(plans.characters, *recogniser),
        Suspect: suspects,
        Embedding: sorted(embeddings, key=lambda row: (row.track_id, row.reference_id)),
        Reject: sorted(
            ledger.rejects, key=lambda r: (r.stage, r.level, r.video_id, r.id, r.reason, r.detail)
        ),
    }


def _is_known(suspect: Suspect, characters: Set[str]) -> bool:
    """Whether everybody whom a suspect names is in the dataset: others may have been dropped."""
    named = {suspect.character_id, suspect.other_character_id} - {""}
    return named <= characters
