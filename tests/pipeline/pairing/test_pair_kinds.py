"""Kinds of pairs: windows follow the recogniser, shares are kept, samples hold one or all."""

import math

import pyarrow.parquet as pq
import pytest
import rows
from rows import WINDOWS, candidate, clip, embedding, looks_like, person, track

from pipeline.dataset.parquet import encode_rows
from pipeline.dataset.sample_schema import sample_schema
from pipeline.engines.identity.spaces import Space
from pipeline.engines.interfaces import EngineInfo
from pipeline.pairing.captions import Caption
from pipeline.pairing.kinds import KindConfig, KindsConfig, resolve
from pipeline.pairing.pair_config import PairConfig
from pipeline.pairing.reference_gates import ReferencesConfig
from pipeline.pairing.sample_rows import Member, build_sample
from pipeline.pairing.samples import plan_samples
from pipeline.pairing.windows import WindowsConfig, with_own_windows
from schemas.manifest import DataFile
from schemas.reasons import PairKind
from schemas.tables import Sample


def test_windows_are_named_after_the_recognisers_own():
    assert resolve("cross_video", WINDOWS) == 0.7
    assert resolve("cross_video+0.05", WINDOWS) == pytest.approx(0.75)
    assert resolve("duplicate - .01", WINDOWS) == pytest.approx(0.98)
    assert resolve(0.5, WINDOWS) == 0.5
    assert resolve("none", WINDOWS) == math.inf
    with pytest.raises(ValueError, match=r"floor.*cross_video.*'crossvideo'"):
        KindConfig(floor="crossvideo")


def test_shares_are_kept_among_the_kinds_that_are_there():
    kinds = KindsConfig()
    everything = ["cross_video", "same_video_other_shot", "edited"]
    assert kinds.quotas(everything, 10) == {
        "cross_video": 5, "same_video_other_shot": 3, "edited": 2,
    }  # fmt: skip
    assert kinds.quotas(["cross_video", "edited"], 7) == {"cross_video": 5, "edited": 2}
    assert kinds.quotas(["in_clip_augmented"], 4) == {"in_clip_augmented": 4}


class Seen:
    """A video of two people who are seen together, and each of them elsewhere."""

    def __init__(self, elsewhere: int = 8) -> None:
        self.clips, self.tracks, self.images, self.vectors = [], [], [], []
        scene = clip("scene", "v0", "s0")
        self.add(track("anna", scene, 50, area=0.2), scene, 0, 1)
        self.add(track("ben", scene, 550, area=0.1), scene, 1, 1)
        for number in range(elsewhere):
            for who, name in enumerate(("anna", "ben")):
                video = "v0" if number % 2 else f"v{number}-{name}"
                place = clip(
                    f"{name}{number}", video, f"s-{name}{number}", 20.0 * (2 * number + who + 1)
                )
                self.add(track(f"{name}{number}", place), place, who, 1)

    def add(self, seen, place, who, images):
        if place not in self.clips:
            self.clips.append(place)
        self.tracks.append(seen)
        seed = len(self.tracks)
        self.vectors.append(embedding(looks_like(person(who), 0.97, seed), seen.track_id))
        for number in range(images):
            name, (image, mask) = f"i-{seen.track_id}-{number}", rows.pixels(seed=number)
            yaw = float(7 * seed % 90)
            self.images.append(
                candidate(name, seen, place.start_s + number, image=image, mask=mask, yaw=yaw)
            )
            look = looks_like(person(who), 0.9, 100 * seed + number)
            self.vectors.append(embedding(look, seen.track_id, name))

    def plan(self, config=None):
        return plan_samples(
            self.clips, self.tracks, self.images, self.vectors, WINDOWS, config or PairConfig()
        )


def test_a_sample_holds_the_shares_of_its_kinds():
    even = KindsConfig(
        cross_video=KindConfig(0.25, "cross_video"), same_video_other_shot=KindConfig(0.75)
    )
    config = PairConfig(
        references=ReferencesConfig(max_references=4, kinds=even, min_difference=0.0)
    )
    plan = next(plan for plan in Seen().plan(config).samples if plan.track_id == "anna")
    kinds = [row.kind for row in plan.references]
    assert kinds.count(PairKind.CROSS_VIDEO) == 1
    assert kinds.count(PairKind.SAME_VIDEO_OTHER_SHOT) == 3


def test_every_candidate_is_accounted_for():
    plans = Seen().plan()
    count = plans.ledger.counts["references", "candidate"]
    lines = [row for row in plans.ledger.rejects if row.level == "candidate"]
    assert count.rejected == sum(row.number for row in lines)
    pools = {"anna": 9, "ben": 9}  # images of each; every track is offered all of its character
    assert count.entered == sum(size * 9 for size in pools.values())


def test_several_characters_of_a_clip_are_several_samples_or_one():
    apart = Seen().plan().samples
    assert sorted(plan.track_id for plan in apart if plan.clip_id == "scene") == ["anna", "ben"]
    together = Seen().plan(PairConfig(samples="multi_character")).samples
    (plan,) = (plan for plan in together if plan.clip_id == "scene")
    assert [member.track_id for member in plan.members] == ["anna", "ben"]  # the larger first
    assert len(together) == len(apart) - 1
    for member in plan.members:
        assert {row.track_id.rstrip("0123456789") for row in member.references} == {member.track_id}


def test_samples_of_several_characters_are_read_by_datasets_and_by_the_trainer(tmp_path):
    datasets = pytest.importorskip("datasets")
    from trainer.data.dataset import check_layout
    from trainer.data.sample_source import _HEAVY, _LIGHT

    seen = Seen(2)
    plans = seen.plan(PairConfig(samples="multi_character")).samples
    plan = next(plan for plan in plans if plan.others)
    tracks = {row.track_id: row for row in seen.tracks}
    images = {row.reference_id: row for row in seen.images}
    caption = Caption("Two people.", "A person in red.", "attributes/1")
    others = [Member(other, tracks[other.track_id], caption) for other in plan.others]
    sample = build_sample(
        plan, seen.clips[0], tracks[plan.track_id], rows.video("v0"), caption, b"clip", images,
        others,
    )  # fmt: skip
    path = tmp_path / "samples.parquet"
    path.write_bytes(encode_rows([sample], Sample, sample_schema()))
    with pq.ParquetFile(path) as file:
        check_layout(file, DataFile("samples.parquet", 1, 0, ""), Sample, _LIGHT)
        (row,) = file.read(columns=list(_HEAVY)).to_pylist()
    assert len(row["references"]) == len(plan.references)
    loaded = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    inner = loaded.features["others"].feature["references"].feature
    assert isinstance(inner["image"], datasets.Image)
    plain = loaded.cast_column("video", datasets.Video(decode=False))[0]
    (other,) = plain["others"]
    assert (other["track_id"], other["character_id"]) == ("ben", plan.others[0].character_id)
    assert other["references"][0]["image"].size == (200, 300)


def test_calibrated_windows_hold_for_their_recogniser_only():
    info = EngineInfo("net/1", "recognition", "MIT", True, weights_digest="ab" * 32)
    own = WindowsConfig("net/1", "ab" * 32, 0.3, 0.4, 0.2, 0.95)
    (space,) = with_own_windows([Space.whole(WINDOWS)], info, [own])
    assert space.windows.cosines == {
        "same_video": 0.3, "cross_video": 0.4, "reference_floor": 0.2, "duplicate": 0.95,
    }  # fmt: skip
    other = EngineInfo("net/1", "recognition", "MIT", True, weights_digest="cd" * 32)
    with pytest.raises(ValueError, match=r"calibrated for net/1.*abab.*cdcd"):
        with_own_windows([Space.whole(WINDOWS)], other, [own])
