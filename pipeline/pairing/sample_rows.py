"""Build the training rows of planned samples: one sample at a time, with its pixels."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.media.images import decode_image, encode_jpeg, encode_png_mask
from pipeline.pairing.augment import apply_recipe, fit_recipe, recipe_from_json, recipe_to_json
from pipeline.pairing.captions import Caption
from pipeline.pairing.references import ChosenReference
from pipeline.pairing.sample_plans import SamplePlan
from pipeline.pictures.looks import look_of, looks_array
from schemas.tables import Candidate, CastMember, Clip, Reference, Sample, Track, Video

IN_UNIT = ("boxes", "detected", "faces", "looks")  # of a track: read when its sample is built
JPEG_QUALITY = 95  # of an augmented reference; the recipe's own compression comes before


@dataclass(frozen=True)
class Member:
    """A further character of a sample: what is planned for it, its track, its description."""

    plan: SamplePlan
    track: Track
    caption: Caption


def build_sample(
    plan: SamplePlan,
    clip: Clip,
    track: Track,
    video: Video,
    caption: Caption,
    mp4: bytes,
    candidates: Mapping[str, Candidate],
    others: Sequence[Member] = (),
) -> Sample:
    """Build the training row; `candidates` holds the references of all members with their pixels.

    Raises ValueError when the parts do not belong together or the clip's bytes have changed.
    """
    _check_parts(plan, clip, track, video, mp4)
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
        references=_references(plan, track, candidates),
        video={"bytes": mp4, "path": f"{clip.clip_id}.mp4"},
        others=[_member(other, candidates) for other in others],
        caption_digest=caption.digest,
        action=caption.parts.action,
        scene=caption.parts.scene,
        camera=caption.parts.camera,
    )


def _member(other: Member, candidates: Mapping[str, Candidate]) -> CastMember:
    track = other.track
    return CastMember(
        track_id=track.track_id,
        character_id=other.plan.character_id,
        description=other.caption.description,
        shot_size=track.shot_size,
        purity=track.purity,
        coverage=track.coverage,
        area=track.area,
        face_rate=track.face_rate,
        first_frame=track.first_frame,
        boxes=[list(box) for box in track.boxes],
        references=_references(other.plan, track, candidates),
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


def _references(
    plan: SamplePlan, track: Track, candidates: Mapping[str, Candidate]
) -> list[Reference]:
    return [_reference(row, candidates[row.reference_id], track) for row in plan.references]


def _reference(row: ChosenReference, candidate: Candidate, track: Track) -> Reference:
    """Take pixels and scores from one candidate; change the pixels if the plan says so."""
    if (candidate.reference_id, candidate.track_id) != (row.reference_id, row.track_id):
        raise ValueError(
            f"reference {row.reference_id} of track {row.track_id} was planned, got "
            f"{candidate.reference_id} of {candidate.track_id}"
        )
    image, mask, augmentation = candidate.image, candidate.mask, row.augmentation
    near_duplicate, place_similarity = row.near_duplicate, row.place_similarity
    if augmentation:
        image, mask, augmentation, near_duplicate = _augmented(candidate, augmentation, track)
        if recipe_from_json(augmentation).background != "keep":
            place_similarity = math.nan
    return Reference(
        reference_id=row.reference_id,
        kind=str(row.kind),
        track_id=row.track_id,
        clip_id=row.clip_id,
        video_id=row.video_id,
        time_s=row.time_s,
        time_gap_s=row.time_gap_s,
        similarity=row.similarity,
        compared=row.compared,
        recogniser=row.recogniser,
        recogniser_digest=row.recogniser_digest,
        mask_quality=candidate.mask_quality,
        quality=row.quality,
        yaw=row.yaw,
        whole_body=row.whole_body,
        augmentation=augmentation,
        edit=row.edit,
        source_reference_id=row.source_reference_id,
        near_duplicate=near_duplicate,
        hash_distance=row.hash_distance,
        pose_gap=row.pose_gap,
        place_similarity=place_similarity,
        review=row.review,
        sha256=hashlib.sha256(image).hexdigest(),
        image={"bytes": image, "path": f"{row.reference_id}.jpg"},
        mask={"bytes": mask, "path": f"{row.reference_id}.png"},
    )


def _augmented(
    candidate: Candidate, augmentation: str, track: Track
) -> tuple[bytes, bytes, str, float]:
    """Return the changed image and mask, the recipe followed in the end, and the copy risk left."""
    mask = decode_image(candidate.mask)[..., 0]
    recipe = fit_recipe(recipe_from_json(augmentation), mask, candidate.face)
    changed, moved = apply_recipe(decode_image(candidate.image), mask, recipe)
    near_duplicate = _likeness(changed, moved, track)
    encoded = encode_jpeg(changed, JPEG_QUALITY), encode_png_mask(moved)
    return *encoded, recipe_to_json(recipe), near_duplicate


def _likeness(picture: np.ndarray, mask: np.ndarray, track: Track) -> float:
    """Return the likeness of the person on the mask to the nearest moment of the clip."""
    rows, columns = np.nonzero(mask > 127)
    moments = looks_array(track.looks)
    if not len(rows) or not len(moments):
        return math.nan
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
    cosines = moments @ looks_array([look_of(picture, box)])[0]
    known = cosines[np.isfinite(cosines)]
    return round(float(known.max()), 6) if len(known) else math.nan


@dataclass(frozen=True)
class Ingredients:
    """Everything that one sample is built from, but for its media and its tracks' `IN_UNIT`."""

    plan: SamplePlan
    clip: Clip
    track: Track
    video: Video
    caption: Caption
    units: dict[str, str]  # clip_id -> unit_id, of the clip and of its references' clips
    others: tuple[Member, ...] = ()
    edits: dict[str, str] = field(default_factory=dict)  # reference_id -> file, of edited ones
