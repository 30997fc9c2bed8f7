"""Latents that were made before give the batches that encoding during training would give."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from encoding import encode
from tiny_dataset import tiny_sample, write_dataset, write_samples

from schemas.columns import from_table
from schemas.latents import LATENTS_INDEX, Latent
from trainer.data.augment import ReferenceAugmentConfig
from trainer.data.data_config import DataConfig
from trainer.data.heldout import fixed_batches
from trainer.data.latent_source import LatentSource
from trainer.data.loader import make_loader
from trainer.data.open_source import open_source, training_buckets
from trainer.data.order import Order
from trainer.data.sample_source import SampleSource
from trainer.data.tensors import from_bytes, to_bytes, without_zero_tail
from trainer.encoders import EncoderConfig, encode_batch, load_encoders
from trainer.latents.encoding_plan import EncodingPlan, EncodingRecipe, LatentsConfig
from trainer.latents.unit_encoder import UnitEncoder

SETTINGS: dict[str, Any] = {
    "buckets": ("96x160x17",),
    "num_workers": 0,
    "random_start": False,
    "references": 2,
    "augment": ReferenceAugmentConfig(0, 0, 0, 0, 0, 0, 0),
}
PIXELS, LATENTS = DataConfig(**SETTINGS), DataConfig(**SETTINGS, source="latents")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """A dataset with latents, one sample of which cannot be decoded."""
    root = write_dataset(tmp_path_factory.mktemp("tiny") / "dataset", broken={2: b"no video"})
    _, receipts = encode(root, PIXELS)
    skipped = [line for receipt in receipts for line in receipt.skipped]
    assert [sample_id for sample_id, _ in skipped] == [tiny_sample(2).sample_id]
    return root


def load(
    root: Path, data: DataConfig, steps: int = 3, buckets=None, others: bool = False
) -> list[Any]:
    source = open_source(root, data, others=others)
    order = Order(buckets or training_buckets(source, data), 4, seed=0)
    return list(
        make_loader(
            source, order, data, rank=0, world_size=1, micro_batch=2, start_step=0, stop_step=steps
        )
    )


def test_they_equal_encoding_during_training(dataset):
    encoders = load_encoders(EncoderConfig())
    stored = LatentSource(dataset, LATENTS, encoders.fingerprint)
    fresh = SampleSource(dataset, PIXELS)
    names = [fresh.index.location(row).sample_id for row in range(len(fresh.index))]
    buckets = training_buckets(stored, LATENTS)
    [bucket] = buckets
    wanted = [stored.locations(int(index))[0].sample_id for index in buckets[bucket]]
    same = {bucket: [names.index(name) for name in wanted]}  # both sources in the same order
    for ours, pixels in zip(
        load(dataset, LATENTS), load(dataset, PIXELS, buckets=same), strict=True
    ):
        theirs = encode_batch(pixels, encoders)
        assert ours.sample_ids == theirs.sample_ids
        assert (ours.step, ours.places) == (theirs.step, theirs.places)
        for field in ("video", "reference", "text", "image", "subject"):
            one, other = getattr(ours, field), getattr(theirs, field)
            assert one.dtype == torch.float32
            assert one.shape == other.shape
            # bfloat16 keeps 8 bits: half a step is 2^-9 of the value.
            assert torch.allclose(one, other, rtol=2**-8, atol=1e-6), field
    null = stored.null_text
    assert torch.allclose(null, encoders.encode_prompts([""])[0], rtol=2**-8, atol=1e-6)


def test_another_picture_of_the_character_is_none_of_its_references(dataset):
    data = dataclasses.replace(LATENTS, references=1)
    plain, more = load(dataset, data), load(dataset, data, others=True)
    both = load(dataset, dataclasses.replace(LATENTS, references=2))
    for without, batch, two in zip(plain, more, both, strict=True):
        assert without.other is None
        assert torch.equal(batch.reference, without.reference)
        assert torch.equal(batch.image, without.image)
        assert torch.equal(batch.other, two.reference[:, :, 1:])


def test_workers_change_nothing(dataset):
    alone = load(dataset, LATENTS, steps=6)
    helped = load(dataset, dataclasses.replace(LATENTS, num_workers=2), steps=6)
    for one, other in zip(alone, helped, strict=True):
        assert one.sample_ids == other.sample_ids
        assert torch.equal(one.video, other.video)
        assert torch.equal(one.reference, other.reference)


def test_references_are_drawn_anew_at_every_step(dataset):
    data = dataclasses.replace(LATENTS, references=1)
    seen: dict[str, set[bytes]] = {}
    for batch in load(dataset, data, steps=20):
        for name, reference in zip(batch.sample_ids, batch.reference, strict=True):
            seen.setdefault(name, set()).add(reference.numpy().tobytes())
    assert {len(each) for each in seen.values()} == {2}


def test_several_windows_of_a_sample_take_turns(tmp_path):
    root = write_dataset(tmp_path / "dataset", num_samples=3, num_validation=0)
    encode(root, PIXELS, LatentsConfig(windows=3))
    rows = [row for path in sorted((root / "latents").glob("*.parquet"))
            for row in from_table(pq.read_table(path), Latent)]  # fmt: skip
    assert sorted(row.start_frame for row in rows) == [0] * 3 + [4] * 3 + [8] * 3
    source = LatentSource(root, LATENTS)
    [indices] = source.assign("train").buckets.values()
    assert len(indices) == 3
    assert source.splits == {"train": 3}
    seen: dict[str, set[bytes]] = {}
    for batch in load(root, LATENTS, steps=12):
        for name, video in zip(batch.sample_ids, batch.video, strict=True):
            seen.setdefault(name, set()).add(video.numpy().tobytes())
    assert {len(each) for each in seen.values()} == {3}


def test_rows_name_everything_that_forgetting_needs(dataset):
    path = min((dataset / "latents").glob("*.parquet"))
    [row, *_] = from_table(pq.read_table(path), Latent)
    by_id = {tiny_sample(number).sample_id: tiny_sample(number) for number in range(8)}
    sample = by_id[row.sample_id]
    assert (row.clip_id, row.video_id, row.character_id) == (
        sample.clip_id, sample.video_id, sample.character_id,
    )  # fmt: skip
    assert [each.video_id for each in row.references] == [r.video_id for r in sample.references]
    assert (row.height, row.width, row.frames, row.fps) == (96, 160, 17, 16.0)


def test_validation_takes_the_held_out(dataset):
    source = LatentSource(dataset, LATENTS)
    found = fixed_batches(source, LATENTS, "validation", 8, seed=0)
    assert {name for batch in found for name in batch.sample_ids} == {
        tiny_sample(6).sample_id, tiny_sample(7).sample_id,
    }  # fmt: skip


def test_writing_again_gives_the_same_bytes_and_leaves_nothing_behind(tmp_path):
    root = write_dataset(tmp_path / "dataset", num_samples=2, num_validation=0)
    encode(root, PIXELS)
    before = {path.name: path.read_bytes() for path in (root / "latents").iterdir()}
    encode(root, PIXELS)
    assert {path.name: path.read_bytes() for path in (root / "latents").iterdir()} == before
    encode(root, dataclasses.replace(PIXELS, buckets=("96x160x5",)))
    assert len(list((root / "latents").iterdir())) == len(before)


def test_other_encoders_are_named(dataset):
    ours = load_encoders(EncoderConfig()).fingerprint
    with pytest.raises(ValueError, match=rf"codec: latents '{ours['codec']}', this run 'wan/1'"):
        open_source(dataset, LATENTS, ours | {"codec": "wan/1"})


def test_another_version_of_the_dataset_is_refused(tmp_path):
    samples = [tiny_sample(number) for number in range(2)]
    root = write_samples(tmp_path / "dataset", samples)
    encode(root, PIXELS)
    other = write_samples(tmp_path / "other", samples[:1])
    for path in ("manifest.json", "manifests/0001.json"):
        (root / path).write_bytes((other / path).read_bytes())
    with pytest.raises(ValueError, match=r"made from manifests/0001\.json .*encode it again"):
        open_source(root, LATENTS)


def test_a_dataset_without_latents_says_what_to_do(tmp_path):
    root = write_dataset(tmp_path / "dataset", num_samples=1, num_validation=0)
    with pytest.raises(ValueError, match=r"no latents at .*set\s+data\.source=samples"):
        open_source(root, LATENTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents_version": 9}, "latents_version of latents/index.json is 9"),
        ({"files": [{"path": "../x"}]}, "no index of ours"),
        ({"surprise": 1}, "no index of ours"),
    ],
)
def test_a_foreign_index_is_refused(dataset, tmp_path, change, message):
    (tmp_path / "latents").mkdir()
    raw = json.loads((dataset / LATENTS_INDEX).read_text())
    (tmp_path / LATENTS_INDEX).write_text(json.dumps(raw | change))
    with pytest.raises(ValueError, match=message):
        open_source(tmp_path, LATENTS)


def test_a_bucket_that_was_not_encoded_is_refused(dataset):
    data = dataclasses.replace(LATENTS, buckets=("96x160x17", "96x160x5"))
    with pytest.raises(ValueError, match=r"not made for 96x160x5 .* but for 96x160x17; set"):
        open_source(dataset, data)


def test_tensors_survive_as_bytes():
    values = torch.tensor([[1.5, -2.0], [0.25, 3e38], [0.0, 0.0]])
    assert torch.equal(from_bytes(to_bytes(values), (3, 2))[:, 0], values[:, 0])
    short = to_bytes(without_zero_tail(values))
    assert len(short) == 8
    assert torch.equal(from_bytes(short, (3, 2))[2], torch.zeros(2))
    assert len(without_zero_tail(torch.zeros(4, 2))) == 1
    for content, shape in ((b"123", (3, 2)), (b"1" * 16, (3, 2)), (b"", ()), (b"", (0, 2))):
        with pytest.raises(ValueError, match="shape"):
            from_bytes(content, shape)


def test_a_node_with_other_encoders_is_refused(dataset):
    recipe = EncodingRecipe(str(dataset), EncoderConfig(), PIXELS, LatentsConfig())
    fingerprint = {**load_encoders(EncoderConfig()).fingerprint, "codec": "wan-of-another-node"}
    [unit, *_] = EncodingPlan(recipe).units(fingerprint)
    with pytest.raises(ValueError, match=r"another codec encoder, .*, not wan-of"):
        UnitEncoder(recipe, fingerprint)(unit)
