"""Pair every clip's character with its references, and build the training rows.

Planning is light: ids and scores of everything observed, no pixels. Building is heavy and knows
one sample at a time.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.augment import (
    Augment,
    apply_recipe,
    draw_recipe,
    fit_recipe,
    recipe_from_json,
    recipe_to_json,
)
from pipeline.captions import Caption
from pipeline.characters import CharacterResult, Characters, find_in_spaces
from pipeline.engines.interfaces import SimilarityWindows
from pipeline.engines.spaces import Space
from pipeline.media import decode_image, encode_jpeg, encode_png_mask
from pipeline.pairing.reference_gates import References
from pipeline.pairing.reference_pool import CandidatePool
from pipeline.pairing.splits import Splits, split_groups
from pipeline.pairing.vectors import IdentityVectors, identity_vectors
from pipeline.references import ChosenReference, choose_references
from pipeline.stage import Ledger
from schemas.ids import content_id
from schemas.tables import (
    Candidate,
    Clip,
    Embedding,
    Reference,
    Sample,
    Track,
    Video,
)

CHARACTERS, REFERENCES = "characters", "references"  # stages of the ledger
JPEG_QUALITY = 95  # of an augmented reference; the recipe's own compression comes before
USABLE_MASK = (0.15, 0.98)  # share of the person's box; outside, the mask did not find the person


@dataclass(frozen=True)
class Pairing:
    """Everything that decides which samples there are.

    Attributes:
        characters: which tracks show the same person.
        references: which images stand beside a clip.
        augment: how references from the clip's own shot are changed.
        splits: what is kept apart for validation and test.
    """

    characters: Characters = field(default_factory=Characters)
    references: References = field(default_factory=References)
    augment: Augment = field(default_factory=Augment)
    splits: Splits = field(default_factory=Splits)


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


@dataclass(frozen=True)
class Plans:
    """What pairing decided: every track is a sample or a line in the ledger."""

    samples: tuple[SamplePlan, ...]  # sorted by sample_id
    ledger: Ledger
    characters: CharacterResult
    refused: Mapping[str, int]  # candidates refused by the gates, by reason, over all tracks


def plan_samples(
    clips: Iterable[Clip],
    tracks: Iterable[Track],
    candidates: Iterable[Candidate],
    embeddings: Iterable[Embedding],
    windows: SimilarityWindows | Sequence[Space],
    config: Pairing | None = None,
) -> Plans:
    """Find characters, choose references for each of their clips, draw recipes and splits.

    Pixels of the candidates are not used and may be empty. The result does not depend on the
    order of the input. Raises ValueError for a track without its clip or mixed recognisers.
    """
    config = config or Pairing()
    by_clip = {clip.clip_id: clip for clip in clips}
    tracks = sorted(tracks, key=lambda track: track.track_id)
    _check_clips(tracks, by_clip)
    embeddings = list(embeddings)
    spaces = [Space.whole(windows)] if isinstance(windows, SimilarityWindows) else windows
    found, own = find_in_spaces(tracks, by_clip, embeddings, spaces, config.characters)
    ledger = _character_ledger(tracks, found)
    light = {row.reference_id: replace(row, image=b"", mask=b"") for row in candidates}
    vectors = identity_vectors(embeddings)
    plans: list[SamplePlan] = []
    refused: Counter[str] = Counter()
    for track, pool in _pools(found, light, vectors):
        clip = by_clip[track.clip_id]
        choice = choose_references(
            track, clip, pool, vectors, own[track.track_id], config.references
        )
        for line in choice.refused:
            refused[str(line.rejected.reason)] += line.number
        if choice.rejected:
            lost = choice.rejected.entry(REFERENCES, "sample", track.track_id, track.video_id)
            ledger.reject(lost)
        else:
            plans.append(_plan(track, choice.references, light, config))
    ledger.keep(REFERENCES, "sample", len(plans))
    ledger.check(REFERENCES, "sample", entered=len(found.tracks))
    samples = _with_splits(plans, by_clip, config.splits)
    return Plans(samples, ledger, found, dict(sorted(refused.items())))


def _check_clips(tracks: Sequence[Track], clips: Mapping[str, Clip]) -> None:
    orphans = sorted({track.clip_id for track in tracks} - clips.keys())
    if orphans:
        raise ValueError(
            f"tracks of {len(orphans)} clips came without the clip, the first is {orphans[0]}; "
            "pass the tracks of kept clips only"
        )


def _character_ledger(tracks: Sequence[Track], found: CharacterResult) -> Ledger:
    ledger = Ledger()
    for track in tracks:
        if track.track_id in found.rejected:
            rejected = found.rejected[track.track_id]
            ledger.reject(rejected.entry(CHARACTERS, "track", track.track_id, track.video_id))
    ledger.keep(CHARACTERS, "track", len(found.tracks))
    ledger.check(CHARACTERS, "track", entered=len(tracks))
    return ledger


def _pools(
    found: CharacterResult, light: Mapping[str, Candidate], vectors: IdentityVectors
) -> Iterator[tuple[Track, CandidatePool]]:
    """Yield every track with the candidates of its character, one character at a time."""
    by_track: dict[str, list[Candidate]] = {}
    for row in light.values():
        by_track.setdefault(row.track_id, []).append(row)
    for character_id, members in found.members.items():
        rows = [row for track in members for row in by_track.get(track.track_id, [])]
        pool = CandidatePool(character_id, rows, vectors)
        for track in members:
            yield track, pool


def _plan(
    track: Track,
    references: Sequence[ChosenReference],
    light: Mapping[str, Candidate],
    config: Pairing,
) -> SamplePlan:
    sample_id = content_id(
        "sample", track.clip_id, track.track_id, [row.reference_id for row in references]
    )
    low, high = USABLE_MASK
    planned = []
    for row in references:
        recipe = ""
        if row.near_copy or row.kind in config.references.augmented:
            has_mask = low <= light[row.reference_id].mask_area <= high
            drawn = draw_recipe(sample_id, row.reference_id, config.augment, has_mask)
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


def _with_splits(
    plans: Sequence[SamplePlan], clips: Mapping[str, Clip], config: Splits
) -> tuple[SamplePlan, ...]:
    links = [
        (
            plan.clip_id,
            plan.character_id,
            plan.video_id,
            *(row.video_id for row in plan.references),
        )
        for plan in plans
    ]
    groups = split_groups(links, clips, config.copies)
    placed = [replace(plan, split=str(config.draw(groups[plan.clip_id]))) for plan in plans]
    return tuple(sorted(placed, key=lambda plan: plan.sample_id))


def build_sample(
    plan: SamplePlan,
    clip: Clip,
    track: Track,
    video: Video,
    caption: Caption,
    mp4: bytes,
    candidates: Mapping[str, Candidate],
) -> Sample:
    """Build the training row; `candidates` holds the plan's references with their pixels.

    Raises ValueError when the parts do not belong together or the clip's bytes have changed.
    """
    _check_parts(plan, clip, track, video, mp4)
    references = [_reference(row, candidates[row.reference_id]) for row in plan.references]
    return Sample(
        sample_id=plan.sample_id,
        clip_id=clip.clip_id,
        video_id=clip.video_id,
        shot_id=clip.shot_id,
        track_id=track.track_id,
        character_id=plan.character_id,
        split=plan.split,
        caption=caption.text,
        description=caption.description,
        caption_engine=caption.engine,
        width=clip.width,
        height=clip.height,
        fps=clip.fps,
        num_frames=clip.num_frames,
        licence=video.licence,
        source=video.source,
        start_s=clip.start_s,
        end_s=clip.end_s,
        num_people=clip.num_people,
        shot_size=track.shot_size,
        sharpness=clip.sharpness,
        brightness=clip.brightness,
        motion=clip.motion,
        camera_motion=clip.camera_motion,
        purity=track.purity,
        coverage=track.coverage,
        area=track.area,
        face_rate=track.face_rate,
        first_frame=track.first_frame,
        boxes=[list(box) for box in track.boxes],
        references=references,
        video={"bytes": mp4, "path": f"{clip.clip_id}.mp4"},
    )


def _check_parts(plan: SamplePlan, clip: Clip, track: Track, video: Video, mp4: bytes) -> None:
    planned = (plan.clip_id, plan.track_id, plan.video_id)
    given = (clip.clip_id, track.track_id, clip.video_id)
    if planned != given or track.clip_id != clip.clip_id or video.video_id != clip.video_id:
        raise ValueError(f"sample {plan.sample_id} is planned from {planned}, got {given}")
    sha256 = hashlib.sha256(mp4).hexdigest()
    if sha256 != clip.sha256:
        raise ValueError(
            f"clip {clip.clip_id} has SHA-256 {sha256[:12]}, its row says {clip.sha256[:12]}; "
            "its unit is damaged: observe the video again"
        )


def _reference(row: ChosenReference, candidate: Candidate) -> Reference:
    """Take pixels and scores from one candidate; change the pixels if the plan says so."""
    if (candidate.reference_id, candidate.track_id) != (row.reference_id, row.track_id):
        raise ValueError(
            f"reference {row.reference_id} of track {row.track_id} was planned, got "
            f"{candidate.reference_id} of {candidate.track_id}"
        )
    image, mask, augmentation = candidate.image, candidate.mask, row.augmentation
    if augmentation:
        image, mask, augmentation = _augmented(candidate, augmentation)
    return Reference(
        reference_id=row.reference_id,
        kind=str(row.kind),
        track_id=row.track_id,
        clip_id=row.clip_id,
        video_id=row.video_id,
        time_s=row.time_s,
        time_gap_s=row.time_gap_s,
        similarity=row.similarity,
        recogniser=row.recogniser,
        quality=row.quality,
        yaw=row.yaw,
        whole_body=row.whole_body,
        augmentation=augmentation,
        sha256=hashlib.sha256(image).hexdigest(),
        image={"bytes": image, "path": f"{row.reference_id}.jpg"},
        mask={"bytes": mask, "path": f"{row.reference_id}.png"},
    )


def _augmented(candidate: Candidate, augmentation: str) -> tuple[bytes, bytes, str]:
    """Return the changed image and mask, and the recipe that was followed in the end."""
    mask = decode_image(candidate.mask)[..., 0]
    recipe = fit_recipe(recipe_from_json(augmentation), mask, candidate.face)
    changed, moved = apply_recipe(decode_image(candidate.image), mask, recipe)
    return encode_jpeg(changed, JPEG_QUALITY), encode_png_mask(moved), recipe_to_json(recipe)
