"""Samples: every track accounted for, pairs stay whole, splits never straddle, rows load."""

import hashlib
import json
import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows import (
    RECOGNISER,
    WINDOWS,
    candidate,
    clip,
    embedding,
    looks_like,
    person,
    pixels,
    track,
    video,
)

from pipeline.dataset.sample_schema import sample_schema
from pipeline.media.images import decode_image
from pipeline.pairing.augment import AugmentRecipe, recipe_from_json
from pipeline.pairing.captions import Caption
from pipeline.pairing.duplicates import DuplicatesConfig
from pipeline.pairing.pair_config import PairConfig
from pipeline.pairing.reference_gates import ReferencesConfig
from pipeline.pairing.sample_rows import build_sample
from pipeline.pairing.samples import plan_samples
from pipeline.pairing.splits import SplitsConfig, split_groups
from schemas.columns import schema_of, to_dict
from schemas.reasons import PairKind, Reason, Split
from schemas.tables import Sample

CAPTION = Caption("One person.", "A person in red.", "attributes/1", "none")


class Observed:
    """Everything that observing a few videos would yield."""

    def __init__(self) -> None:
        self.clips, self.tracks, self.candidates, self.embeddings = [], [], [], []

    def add(self, name: str, who: int, video_id: str = "video", images: int = 2, **columns):
        """Add a clip with one person, `images` candidates of them, and all vectors."""
        number = len(self.clips)
        made = clip(f"clip-{name}", video_id, f"shot-{name}", start_s=20.0 * number, **columns)
        seen = track(f"track-{name}", made)
        self.clips.append(made)
        self.tracks.append(seen)
        self.embeddings.append(embedding(looks_like(person(who), 0.97, number), seen.track_id))
        for index in range(images):
            reference_id = f"image-{name}-{index}"
            image, mask = pixels(seed=index)
            row = candidate(reference_id, seen, made.start_s + 0.5 * index, image=image, mask=mask)
            self.candidates.append(row)
            look = looks_like(person(who), 0.95, 1000 + 10 * number + index)
            self.embeddings.append(embedding(look, seen.track_id, reference_id))
        return self

    def plan(self, config: PairConfig | None = None):
        return plan_samples(
            self.clips, self.tracks, self.candidates, self.embeddings, WINDOWS, config
        )

    def build(self, plan, mp4: bytes = b"clip") -> Sample:
        made = next(row for row in self.clips if row.clip_id == plan.clip_id)
        seen = next(row for row in self.tracks if row.track_id == plan.track_id)
        images = {row.reference_id: row for row in self.candidates}
        return build_sample(plan, made, seen, video(made.video_id), CAPTION, mp4, images)


def three_videos() -> Observed:
    seen = Observed().add("a1", 0).add("a2", 0).add("b1", 1).add("lonely", 2, "second")
    return seen.add("a3", 0, "third").add("no-image", 3, "third", images=0)


def test_every_track_ends_as_a_sample_or_in_the_ledger():
    seen = three_videos()
    seen.tracks.append(track("unknown", seen.clips[0], left=20.0))  # without a vector
    plans = seen.plan()
    lost = {row.id: row.reason for row in plans.ledger.rejects}
    kept = {plan.track_id for plan in plans.samples}
    assert kept | lost.keys() == {row.track_id for row in seen.tracks}
    assert not kept & lost.keys()
    assert lost == {
        "unknown": Reason.UNCONFIRMED_PERSON,
        "track-no-image": Reason.NO_REFERENCE,
    }
    characters = plans.ledger.counts["characters", "track"]
    references = plans.ledger.counts["references", "sample"]
    assert (characters.entered, characters.rejected) == (7, 1)
    assert (references.entered, references.rejected, references.kept) == (6, 1, 5)


def test_references_come_from_other_shots_of_the_same_character():
    plans = three_videos().plan()
    by_track = {plan.track_id: plan for plan in plans.samples}
    names = {row.track_id for row in by_track["track-a1"].references}
    assert names == {"track-a2", "track-a3"}
    assert by_track["track-a1"].character_id == by_track["track-a3"].character_id
    for row in by_track["track-lonely"].references:
        assert row.kind == PairKind.IN_CLIP_AUGMENTED


def test_in_clip_references_always_carry_a_recipe_and_cross_references_none():
    for plan in three_videos().plan().samples:
        for row in plan.references:
            augmented = row.kind == PairKind.IN_CLIP_AUGMENTED
            assert bool(row.augmentation) == augmented
            if augmented:
                assert recipe_from_json(row.augmentation) != AugmentRecipe()


def test_a_mask_that_missed_the_person_keeps_the_background():
    seen = Observed().add("lonely", 0)
    seen.candidates = [replace(row, mask_area=0.01) for row in seen.candidates]
    (plan,) = seen.plan().samples
    recipes = [recipe_from_json(row.augmentation) for row in plan.references]
    assert {recipe.background for recipe in recipes} == {"keep"}


def test_order_of_the_input_does_not_matter():
    seen = three_videos()
    expected = seen.plan()
    for seed in range(3):
        shuffled = random.Random(seed)
        for rows in (seen.clips, seen.tracks, seen.candidates, seen.embeddings):
            shuffled.shuffle(rows)
        again = seen.plan()
        for one, other in zip(again.samples, expected.samples, strict=True):
            assert repr(one) == repr(other)  # NaN is itself in writing only
        assert list(again.ledger.rejects) == list(expected.ledger.rejects)
        assert again.refused == expected.refused


def test_strangers_in_new_videos_change_no_old_sample():
    seen = three_videos()
    before = {plan.sample_id: repr(plan) for plan in seen.plan().samples}
    seen.add("new1", 8, "fourth").add("new2", 8, "fifth")
    after = {plan.sample_id: repr(plan) for plan in seen.plan().samples}
    assert {key: after[key] for key in before} == before


def test_refused_candidates_are_counted_by_reason():
    seen = three_videos()
    seen.candidates = [
        replace(row, quality=0.1) if row.reference_id == "image-a2-0" else row
        for row in seen.candidates
    ]
    assert seen.plan().refused == {"low_quality_reference": 3}  # for each of the three tracks


def test_a_track_without_its_clip_is_refused():
    seen = three_videos()
    del seen.clips[0]
    with pytest.raises(ValueError, match="clip-a1"):
        seen.plan()


def test_mixed_recognisers_are_refused():
    seen = three_videos()
    seen.embeddings.append(embedding(person(0), "track-a1", "image-a1-0", "another/1"))
    with pytest.raises(ValueError, match=rf"another/1.*{RECOGNISER}"):
        seen.plan()


def test_built_sample_holds_the_pair_in_one_row():
    seen = three_videos()
    images = {row.reference_id: row for row in seen.candidates}
    plan = next(plan for plan in seen.plan().samples if plan.track_id == "track-a1")
    sample = seen.build(plan)
    assert sample.video == {"bytes": b"clip", "path": "clip-a1.mp4"}
    assert (sample.licence, sample.caption, sample.split) == ("CC0-1.0", "One person.", plan.split)
    assert (sample.caption_engine, sample.caption_digest) == ("attributes/1", "none")
    for planned, row in zip(plan.references, sample.references, strict=True):
        source = images[row.reference_id]
        assert row.image["bytes"] == source.image
        assert row.mask["bytes"] == source.mask
        assert row.sha256 == hashlib.sha256(source.image).hexdigest()
        assert row.image["path"] == f"{row.reference_id}.jpg"
        assert (row.track_id, row.similarity) == (source.track_id, planned.similarity)
        assert (row.recogniser, row.recogniser_digest) == (RECOGNISER, "none")


def test_augmented_reference_changes_the_pixels_and_only_then():
    seen = Observed().add("lonely", 0)
    (plan,) = seen.plan().samples
    sample = seen.build(plan)
    source = {row.reference_id: row for row in seen.candidates}
    for row in sample.references:
        before = decode_image(source[row.reference_id].image).astype(int)
        after = decode_image(row.image["bytes"]).astype(int)
        assert after.shape == before.shape
        assert np.abs(after - before).mean() > 5
        assert row.sha256 == hashlib.sha256(row.image["bytes"]).hexdigest()
    assert seen.build(plan) == sample


def test_changed_clip_bytes_are_refused():
    seen = three_videos()
    with pytest.raises(ValueError, match="SHA-256"):
        seen.build(seen.plan().samples[0], mp4=b"another clip")


def test_a_candidate_under_anothers_name_is_refused():
    seen = three_videos()
    plan = next(plan for plan in seen.plan().samples if plan.track_id == "track-a1")
    wanted = plan.references[0].reference_id
    imposter = next(row for row in seen.candidates if row.track_id == "track-b1")
    seen.candidates = [
        replace(imposter, reference_id=wanted) if row.reference_id == wanted else row
        for row in seen.candidates
    ]
    with pytest.raises(ValueError, match="track-b1"):
        seen.build(plan)


def test_splits_never_straddle_character_video_or_copies():
    seen = Observed()
    for number in range(40):
        seen.add(f"s{number:02}", number % 13, f"video-{number % 17}")
    shares = PairConfig(splits=SplitsConfig(train=0.4, validation=0.3, test=0.3))
    seen.clips[3] = replace(seen.clips[3], perceptual_hash=seen.clips[5].perceptual_hash)
    plans = seen.plan(shares).samples
    for key in ("character_id", "video_id"):
        homes: dict[str, set[str]] = {}
        for plan in plans:
            homes.setdefault(getattr(plan, key), set()).add(plan.split)
        assert {len(splits) for splits in homes.values()} == {1}
    splits = {plan.clip_id: plan.split for plan in plans}
    assert splits[seen.clips[3].clip_id] == splits[seen.clips[5].clip_id]


def test_groups_follow_the_shares_and_each_alone():
    splits = SplitsConfig(train=0.8, validation=0.1, test=0.1)
    drawn = [splits.draw(f"group-{number}") for number in range(4000)]
    assert drawn.count(Split.TRAIN) / 4000 == pytest.approx(0.8, abs=0.03)  # about 4 sigma
    assert drawn.count(Split.TEST) / 4000 == pytest.approx(0.1, abs=0.02)
    assert splits.draw("group-7") == drawn[7]


def test_shares_must_add_up():
    with pytest.raises(ValueError, match=r"0\.9"):
        SplitsConfig(train=0.9, validation=0.2, test=0.2)


def test_groups_are_connected_through_any_shared_id():
    links = [("c1", "hero", "v1"), ("c2", "hero", "v2"), ("c3", "other", "v2"), ("c4", "x", "v4")]
    groups = split_groups(links, [], DuplicatesConfig())
    assert groups["c1"] == groups["c2"] == groups["c3"] == "c1"
    assert groups["c4"] == "c4"


def test_sample_schema_only_adds_metadata():
    assert sample_schema().equals(schema_of(Sample), check_metadata=False)
    for ours, plain in zip(sample_schema(), schema_of(Sample), strict=True):
        assert ours.metadata == plain.metadata


def test_metadata_is_what_datasets_itself_would_write(tmp_path):
    datasets = pytest.importorskip("datasets")
    metadata = json.loads((sample_schema().metadata or {})[b"huggingface"])
    features = datasets.Features.from_dict(metadata["info"]["features"])
    assert features.arrow_schema.types == sample_schema().types
    assert json.loads(features.arrow_schema.metadata[b"huggingface"]) == metadata


def test_samples_load_typed_in_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    seen = three_videos()
    samples = [seen.build(plan) for plan in seen.plan().samples]
    table = pa.Table.from_pylist([to_dict(row) for row in samples], schema=sample_schema())
    pq.write_table(table, tmp_path / "samples.parquet")
    loaded = datasets.load_dataset(
        "parquet",
        data_files=str(tmp_path / "samples.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert isinstance(loaded.features["video"], datasets.Video)
    reference = loaded.features["references"].feature
    assert isinstance(reference["image"], datasets.Image)
    assert isinstance(reference["mask"], datasets.Image)
    plain = loaded.cast_column("video", datasets.Video(decode=False))
    for row, sample in zip(plain, samples, strict=True):
        assert row["video"] == sample.video
        assert row["boxes"] == [list(map(float, box)) for box in sample.boxes]
        for shown, stored in zip(row["references"], sample.references, strict=True):
            picture = np.asarray(shown["image"].convert("RGB"))
            expected = decode_image(stored.image["bytes"])
            assert np.abs(picture.astype(int) - expected).mean() < 1  # two JPEG decoders
            assert shown["mask"].mode == "L"
            assert shown["reference_id"] == stored.reference_id


def test_too_few_candidates_of_the_preferred_kinds_still_make_a_sample():
    only_cross = ReferencesConfig(tiers=((PairKind.CROSS_VIDEO,),))
    plans = three_videos().plan(PairConfig(references=only_cross))
    lost = {row.id: row for row in plans.ledger.rejects}
    assert lost["track-lonely"].reason == Reason.NO_REFERENCE
    assert "allows none of in_clip_augmented" in lost["track-lonely"].detail
