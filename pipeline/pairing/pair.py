"""Second phase, over everything observed: which inputs count, and what the samples are built of.

The order of its stages is `pipeline.curation.curate`. It reads light columns of all units at once
and writes nothing; thresholds that change re-run it alone.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from pipeline.dataset.corrections import texts_of_tracks
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.observed import Observed
from pipeline.dataset.row_sets import (
    ByKey,
    Made,
    MadeTogether,
    Places,
    encoded,
    ids_of,
    in_order,
    spread,
    take,
    values,
    where,
    with_columns,
    without,
)
from pipeline.dataset.spilled import Spilled
from pipeline.engines.identity.spaces import Space, spaces_of
from pipeline.engines.interfaces import CaptionFacts, CaptionParts
from pipeline.engines.registry import load_engine
from pipeline.execution.stage import Ledger, Rejected
from pipeline.pairing.captions import CORRECTED, Caption
from pipeline.pairing.characters import describe_characters, with_fit
from pipeline.pairing.gates import Kept
from pipeline.pairing.sample_plans import SamplePlan
from pipeline.pairing.sample_rows import IN_UNIT, Ingredients, Member
from pipeline.pairing.samples import Plans
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


def facts_for_captions(plans: Plans, kept: Kept) -> tuple[Sequence[CaptionFacts], Sequence[str]]:
    """Return what a captioner may look at, per member of every sample, and the given captions."""
    clips = ByKey(kept.clips, "clip_id")
    long = where(kept.tracks, ~np.isin(values(kept.tracks, "track_id"), encoded(kept.spare)))
    seen = Places(values(long, "clip_id"))
    given = {video.video_id: video.given_caption for video in kept.videos}
    members = _members(plans.samples)

    def facts(some: Sequence[SamplePlan]) -> list[CaptionFacts]:
        some = list(some)
        places = [seen.all_of(plan.clip_id) for plan in some]
        tracks = iter(take(long, np.concatenate(places)))
        of_clip = [tuple(itertools.islice(tracks, len(there))) for there in places]
        filmed = clips.all_of(plan.clip_id for plan in some)
        return list(map(_facts, some, filmed, of_clip))

    return MadeTogether(members, facts), Made(members, lambda plan: given[plan.video_id])


def _facts(plan: SamplePlan, clip: Clip, tracks: tuple[Track, ...]) -> CaptionFacts:
    own = next(track for track in tracks if track.track_id == plan.track_id)
    return CaptionFacts(clip, tracks, replace(own, character_id=plan.character_id))


def _members(samples: Sequence[SamplePlan]) -> Sequence[SamplePlan]:
    """Return the members of all samples, one after the other."""
    ends = _ends(samples)

    def member(number: int) -> SamplePlan:
        sample = int(np.searchsorted(ends, number, side="right"))
        return samples[sample].members[number - ends[sample]]

    return Made(range(ends[-1] if len(ends) else 0), member)


def _ends(samples: Sequence[SamplePlan]) -> np.ndarray:
    """Return, (N,), how many members there are up to each sample and with it."""
    return np.cumsum(np.fromiter((len(plan.members) for plan in samples), int, len(samples)))


def with_corrected(
    captions: Sequence[Caption], facts: Sequence[CaptionFacts], corrections: Sequence[Correction]
) -> Sequence[Caption]:
    """Return the captions with those that a person corrected in their place."""
    texts = texts_of_tracks(corrections, CAPTION)
    if not texts:
        return captions
    return Spilled(
        replace(caption, text=text, engine=CORRECTED, digest="", parts=CaptionParts())
        if (text := texts.get(row.character.track_id if row.character else ""))
        else caption
        for caption, row in zip(captions, facts, strict=True)
    )


def by_sample(captions: Sequence[Caption], plans: Plans) -> Sequence[Sequence[Caption]]:
    """Return the captions of each sample, one for every member of it."""
    ends = _ends(plans.samples)
    used = ends[-1] if len(ends) else 0
    assert used == len(captions), f"{len(captions)} captions came for {used} members of samples"

    def of_sample(number: int) -> Sequence[Caption]:
        return captions[ends[number - 1] if number else 0 : ends[number]]

    return Made(range(len(ends)), of_sample)


def put_together(
    plans: Plans,
    kept: Kept,
    captions: Sequence[Sequence[Caption]],
    unit_of_clip: Mapping[str, str],
    edits: Mapping[str, str],
) -> Sequence[Ingredients]:
    """Return what each sample is built from, but for what lies in its unit, made when asked for.

    `captions` are by sample; `edits` names the files of edited references.
    """
    clips = ByKey(kept.clips, "clip_id")
    tracks = ByKey(without(plans.characters.tracks, *IN_UNIT), "track_id")
    videos = ByKey(kept.videos, "video_id")

    def ingredients(numbers: Sequence[int]) -> list[Ingredients]:
        some = [plans.samples[number] for number in numbers]
        filmed = clips.all_of(plan.clip_id for plan in some)
        seen = iter(tracks.all_of(member.track_id for plan in some for member in plan.members))
        found = []
        for number, plan, clip in zip(numbers, some, filmed, strict=True):
            own, *others = map(Member, plan.members, seen, captions[number])
            found.append(
                Ingredients(
                    plan,
                    clip,
                    own.track,
                    videos[plan.video_id],
                    own.caption,
                    _units(plan, unit_of_clip),
                    tuple(others),
                    _edited(plan, edits),
                )
            )
        return found

    return MadeTogether(range(len(plans.samples)), ingredients)


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
    videos: Sequence[Video],
    plans: Plans,
    captions: Sequence[Sequence[Caption]],
    rejects: Sequence[Reject],
) -> dict[type[Row], Sequence]:
    """Return the light tables; clips and tracks that were dropped stay in, with their scores.

    `captions` are by sample.
    """
    clips = in_order(observed.clips, "clip_id")
    tracks = in_order(observed.tracks, "track_id")
    named = values(plans.characters.tracks, "track_id")
    embeddings = in_order(_of_tracks(observed.embeddings, named), "track_id", "reference_id")
    known = set(ids_of(plans.characters.tracks, "character_id"))
    suspects = [each for each in plans.characters.suspects if _is_known(each, known)]
    recogniser = next(((row.recogniser, row.weights_digest) for row in embeddings), ("", ""))
    return {
        Video: videos,
        Clip: _with_texts(clips, plans.samples, captions),
        Track: with_fit(tracks, plans.characters),
        Character: describe_characters(plans.characters, *recogniser),
        Suspect: suspects,
        Embedding: embeddings,
        Reject: in_order(rejects, "stage", "level", "video_id", "id", "reason", "detail"),
    }


def _with_texts(
    clips: Sequence[Clip], samples: Sequence[SamplePlan], captions: Sequence[Sequence[Caption]]
) -> Sequence[Clip]:
    """Return the clips with their captions; those that are in no sample stay without.

    Of several samples of a clip the last one speaks.
    """
    captioned = encoded(plan.clip_id for plan in samples)[::-1]
    numbers = np.arange(len(samples))[::-1]
    number = spread(values(clips, "clip_id"), captioned, numbers, missing=-1)
    nothing = Caption("", "", "")
    texts = Made(number, lambda place: captions[place][0] if place >= 0 else nothing)
    return with_columns(
        clips,
        {
            "caption": Made(texts, lambda caption: caption.text),
            "caption_engine": Made(texts, lambda caption: caption.engine),
            "caption_digest": Made(texts, lambda caption: caption.digest),
        },
    )


def _is_known(suspect: Suspect, characters: Set[str]) -> bool:
    """Whether everybody whom a suspect names is in the dataset: others may have been dropped."""
    named = {suspect.character_id, suspect.other_character_id} - {""}
    return named <= characters
