"""References: from elsewhere first, of the same person, never a copy of the clip."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rows import WINDOWS, candidate, clip, embedding, hash_of, looks_like, person, track

from pipeline.pairing.kinds import KindConfig, KindsConfig
from pipeline.pairing.reference_gates import ReferencesConfig
from pipeline.pairing.reference_pool import CandidatePool
from pipeline.pairing.references import choose_references
from pipeline.pairing.vectors import IdentityVectors, identity_vectors
from schemas.reasons import PairKind, Reason

HERE = clip("here", start_s=10.0)  # 10 to 12 s of shot "shot" of video "video"
ME = replace(track("me", HERE), character_id="hero")


class Gallery:
    """The candidates of one character and their vectors."""

    def __init__(self) -> None:
        self.rows = []
        self.embeddings = [embedding(person(0), "me")]

    def add(self, name, time_s, cosine=0.8, shot_id="shot", video_id="video", of=None, **columns):
        place = clip(f"clip-{name}", video_id, shot_id, start_s=time_s - 1)
        owner = of or track(f"track-{name}", place)
        self.rows.append(candidate(name, owner, time_s, **columns))
        look = looks_like(person(0), cosine, seed=int(hash_of(name, digits=6), 16))
        self.embeddings.append(embedding(look, owner.track_id, name))
        return self

    @property
    def vectors(self) -> IdentityVectors:
        return identity_vectors(self.embeddings)

    def choose(self, config=None, of=ME, where=HERE):
        pool = CandidatePool("hero", self.rows, self.vectors)
        return choose_references(of, where, pool, self.vectors, WINDOWS, config)


def names(choice) -> list[str]:
    return sorted(row.reference_id for row in choice.references)


def kinds(choice) -> set[PairKind]:
    return {row.kind for row in choice.references}


def all_kinds() -> Gallery:
    gallery = Gallery().add("inside", 11.0, of=ME).add("later", 30.0)
    return gallery.add("shot", 40.0, shot_id="other").add("video", 5.0, video_id="else")


def test_other_shots_and_videos_come_first_and_lower_tiers_are_not_mixed_in():
    choice = all_kinds().choose()
    assert names(choice) == ["shot", "video"]
    assert kinds(choice) == {PairKind.CROSS_VIDEO, PairKind.SAME_VIDEO_OTHER_SHOT}


def test_without_another_shot_another_clip_of_the_shot_is_used():
    gallery = Gallery().add("inside", 11.0, of=ME).add("later", 30.0)
    (reference,) = gallery.choose().references
    assert (reference.reference_id, reference.kind) == ("later", PairKind.SAME_SHOT_OTHER_CLIP)
    assert reference.time_gap_s == 18.0


def test_a_near_copy_from_another_shot_beats_the_own_clip_and_is_marked_for_augmentation():
    gallery = Gallery().add("inside", 11.0, of=ME, perceptual_hash="00000000000000ff")
    gallery.add("copy", 40.0, shot_id="other", perceptual_hash="00000000000000fe")  # 1 bit
    (reference,) = gallery.choose().references
    assert (reference.reference_id, reference.kind) == ("copy", PairKind.SAME_VIDEO_OTHER_SHOT)
    assert reference.near_copy
    gallery.add("free", 40.0, shot_id="other", perceptual_hash="ffffffffffffff00")
    (reference,) = gallery.choose().references
    assert (reference.reference_id, reference.near_copy) == ("free", False)


def test_own_clip_is_the_last_resort():
    (reference,) = Gallery().add("inside", 11.0, of=ME).choose().references
    assert reference.kind == PairKind.IN_CLIP_AUGMENTED
    assert reference.time_gap_s == 0.0


def test_an_overlapping_clip_at_the_same_time_counts_as_the_own_clip():
    gallery = Gallery().add("same-moment", 11.0)  # owned by another clip of the shot
    assert kinds(gallery.choose()) == {PairKind.IN_CLIP_AUGMENTED}
    gallery.add("shot", 40.0, shot_id="other")
    assert names(gallery.choose()) == ["shot"]


def test_same_shot_needs_the_time_gap():
    gallery = Gallery().add("inside", 11.0, of=ME).add("too-near", 16.9).add("far", 17.0)
    choice = gallery.choose(
        ReferencesConfig(kinds=KindsConfig(same_shot_other_clip=KindConfig(min_gap_s=5.0)))
    )
    assert names(choice) == ["far"]
    (refused,) = choice.refused
    assert refused.rejected.reason == Reason.NEAR_DUPLICATE_REFERENCE
    assert (refused.rejected.value, refused.rejected.threshold) == (pytest.approx(4.9), 5.0)


def test_a_picture_shortly_after_the_clip_still_beats_one_inside_it():
    gallery = Gallery().add("inside", 11.0, of=ME).add("too-near", 16.9)
    (reference,) = gallery.choose().references
    assert (reference.reference_id, reference.near_copy) == ("too-near", True)
    assert reference.kind == PairKind.SAME_SHOT_OTHER_CLIP


def test_in_clip_references_cannot_be_left_unaugmented():
    with pytest.raises(ValueError, match="in_clip_augmented"):
        ReferencesConfig(augmented=())


def test_similarity_and_image_come_from_one_row():
    gallery = Gallery()
    cosines = {f"r{i}": 0.72 + 0.02 * i for i in range(8)}
    for name, cosine in cosines.items():
        gallery.add(name, 20.0, cosine, video_id=f"video-{name}")
    for row in gallery.choose(ReferencesConfig(max_references=8)).references:
        assert row.similarity == pytest.approx(cosines[row.reference_id], abs=1e-5)
        assert row.video_id == f"video-{row.reference_id}"
        assert row.track_id == f"track-{row.reference_id}"
        assert np.isnan(row.time_gap_s)


def test_each_refusal_counts_with_value_and_threshold():
    gallery = Gallery().add("good", 40.0, shot_id="other")
    gallery.add("stranger", 41.0, 0.3, shot_id="other").add("faint", 41.0, 0.1, shot_id="other")
    gallery.add("poor", 42.0, shot_id="other", quality=0.1)
    lines = {line.rejected.reason: line for line in gallery.choose().refused}
    low = lines[Reason.LOW_SIMILARITY]
    assert (low.number, low.reference_id) == (2, "stranger")
    assert (low.rejected.value, low.rejected.threshold) == (pytest.approx(0.3), 0.4)
    poor = lines[Reason.LOW_QUALITY_REFERENCE]
    assert (poor.number, poor.rejected.value, poor.rejected.threshold) == (1, 0.1, 0.2)


def test_across_videos_the_floor_is_the_cross_video_window():
    gallery = Gallery().add("other-video", 5.0, 0.6, video_id="else")
    gallery.add("other-shot", 40.0, 0.6, shot_id="other")
    assert names(gallery.choose()) == ["other-shot"]
    assert (
        len(
            gallery.choose(
                ReferencesConfig(kinds=KindsConfig(cross_video=KindConfig(0.5, 0.5)))
            ).references
        )
        == 2
    )


def test_a_picture_that_is_in_the_clip_is_no_reference_of_it():
    gallery = Gallery().add("inside", 11.0, of=ME, perceptual_hash="00000000000000ff")
    gallery.add("copy", 40.0, shot_id="other", perceptual_hash="00000000000000fe")  # 1 bit
    gallery.add("too-alike", 40.0, 0.995, shot_id="other")
    gallery.add("free", 40.0, shot_id="other", perceptual_hash="ffffffffffffff00")
    choice = gallery.choose()
    assert names(choice) == ["free"]
    assert [line.rejected.reason for line in choice.refused] == [
        Reason.NEAR_DUPLICATE_REFERENCE,
        Reason.NEAR_DUPLICATE_REFERENCE,
    ]
    assert choice.refused[0].rejected.value == pytest.approx(0.995, abs=1e-5)
    assert choice.refused[1].rejected.value == 1


def test_two_references_are_never_the_same_picture():
    gallery = Gallery()
    for number in range(5):
        gallery.add(f"r{number}", 40.0 + number, shot_id="other", perceptual_hash="0f" * 8)
    assert len(gallery.choose().references) == 1


def test_references_differ_in_yaw_and_start_with_a_frontal_one():
    gallery = Gallery()
    for number, yaw in enumerate([-80, -78, -2, 0, 2, 40, 42, 85]):
        columns: dict[str, Any] = {"yaw": float(yaw), "quality": 0.9 if abs(yaw) > 70 else 0.8}
        gallery.add(f"r{number}", 40.0 + number, shot_id="other", **columns)
    yaws = [row.yaw for row in gallery.choose(ReferencesConfig(max_references=3)).references]
    assert abs(yaws[0]) <= 45
    gaps = np.diff(sorted(yaws))
    assert gaps.min() >= 30


def test_poor_but_different_does_not_beat_good():
    gallery = Gallery().add("best", 40.0, shot_id="other", quality=0.9)
    gallery.add("good", 41.0, shot_id="other", quality=0.85)
    gallery.add("bad", 42.0, shot_id="other", quality=0.25, size_px=100.0)
    assert names(gallery.choose(ReferencesConfig(max_references=2, variety=0.0))) == [
        "best",
        "good",
    ]


def test_no_candidates_is_a_reason_not_an_error():
    choice = Gallery().choose()
    assert choice.references == ()
    assert choice.rejected is not None
    assert choice.rejected.reason == Reason.NO_REFERENCE


def test_when_all_are_refused_the_reason_carries_the_nearest_miss():
    gallery = Gallery().add("stranger", 40.0, 0.3, shot_id="other")
    rejected = gallery.choose().rejected
    assert rejected is not None
    assert rejected.reason == Reason.LOW_SIMILARITY
    assert (rejected.value, rejected.threshold) == (pytest.approx(0.3), 0.4)
    assert rejected.detail == "1 candidates: 1 low_similarity"


def test_a_candidate_without_a_vector_is_not_trusted():
    gallery = Gallery().add("unknown", 40.0, shot_id="other").add("known", 41.0, shot_id="other")
    gallery.embeddings = [row for row in gallery.embeddings if row.reference_id != "unknown"]
    choice = gallery.choose()
    assert names(choice) == ["known"]
    assert choice.refused[0].rejected.reason == Reason.UNCONFIRMED_PERSON


def test_another_characters_pool_is_refused():
    with pytest.raises(ValueError, match=r"'hero'.*'villain'"):
        all_kinds().choose(of=replace(ME, character_id="villain"))


def test_another_clips_track_is_refused():
    with pytest.raises(ValueError, match="not elsewhere"):
        all_kinds().choose(where=clip("elsewhere"))


def test_order_of_candidates_does_not_matter():
    gallery = Gallery()
    for number in range(30):
        gallery.add(f"r{number}", 40.0, shot_id="other", yaw=float(number % 5), quality=0.8)
    expected = gallery.choose()
    for seed in range(3):
        random.Random(seed).shuffle(gallery.rows)
        random.Random(seed + 9).shuffle(gallery.embeddings)
        assert gallery.choose() == expected


def test_clips_of_one_character_do_not_all_get_the_same_references():
    gallery = Gallery()
    for number in range(12):
        gallery.add(f"r{number}", 40.0, video_id=f"v{number}")
    chosen = set()
    for number in range(6):
        gallery.embeddings.append(embedding(person(0), f"me-{number}"))
        me = replace(ME, track_id=f"me-{number}")
        chosen.add(tuple(names(gallery.choose(ReferencesConfig(max_references=2), of=me))))
    assert len(chosen) > 1


@pytest.mark.parametrize("wanted", [0, 11])
def test_number_of_references_is_bounded(wanted):
    with pytest.raises(ValueError, match=f"1 to 10, got {wanted}"):
        ReferencesConfig(max_references=wanted)


def test_who_is_partly_behind_others_is_no_reference():
    gallery = Gallery().add("behind", 40.0, shot_id="other", occlusion=0.3)
    gallery.add("free", 60.0, shot_id="third", occlusion=0.1)
    choice = gallery.choose()
    assert names(choice) == ["free"]
    [line] = choice.refused
    assert (line.rejected.reason, line.rejected.value) == (Reason.LOW_QUALITY_REFERENCE, 0.3)
    assert "others' boxes" in line.rejected.detail
    anyone = gallery.choose(ReferencesConfig(max_occlusion=1.0))
    assert names(anyone) == ["behind", "free"]
