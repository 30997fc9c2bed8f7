"""What a step is given is what the sample shows, the same for any workers and processes."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny_dataset import encode_clip, tiny_sample, write_dataset
from train_batches import batches, by_place, config, held_out

from schemas.columns import from_table
from schemas.tables import Sample
from trainer.data.augment import ReferenceAugmentConfig, draw_change, place_reference
from trainer.data.batch import Bucket, PixelBatch
from trainer.data.data_config import DataConfig
from trainer.data.heldout import fixed_batches
from trainer.data.loader import make_loader
from trainer.data.open_source import open_source, training_buckets
from trainer.data.order import Order
from trainer.data.pictures import decode_frames, subject_mask

BUCKET = Bucket(96, 160, 17)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Eight samples of 25 frames in two files, two of them held out."""
    return write_dataset(tmp_path_factory.mktemp("tiny") / "dataset")


def test_a_batch_holds_what_the_sample_shows(dataset):
    data = config(references=2, augment=ReferenceAugmentConfig(0, 0, 0, 0, 0, 0, 0))
    [first, *_] = batches(dataset, data)
    assert first.frames.shape == (2, 17, 96, 160, 3)
    assert first.references.shape == (2, 2, 96, 160, 3)
    assert first.subject.shape == (2, 17, 96, 160)
    assert all(t.dtype == torch.uint8 for t in (first.frames, first.references, first.subject))
    colours = {"red": (200, 40, 40), "blue": (40, 60, 200), "green": (40, 160, 60)}
    for caption, frames, references, subject in zip(
        first.captions, first.frames, first.references, first.subject, strict=True
    ):
        top = colours.get(caption.split(" in a ")[1].split()[0], (220, 200, 40))
        inside = _share(frames, top, subject.bool())
        assert inside > 0.2  # the top fills much of its box, and is nowhere else
        assert _share(frames, top, ~subject.bool()) < 0.01
        assert all(
            _share(picture, top, torch.ones(96, 160).bool()) > 0.02 for picture in references
        )


def _share(pictures: torch.Tensor, colour: tuple, where: torch.Tensor) -> float:
    near = (pictures.float() - torch.tensor(colour).float()).abs().amax(-1) < 30
    return float(near[where].float().mean())


def test_frames_are_the_ones_wanted():
    pictures = [np.full((96, 160, 3), 40 + 5 * number, np.uint8) for number in range(30)]
    mp4 = encode_clip(pictures)
    for start in (0, 7, 13):
        wanted = list(range(start, start + 17))
        frames = decode_frames(mp4, wanted, 16.0, (160, 96), BUCKET)
        shades = frames.reshape(17, -1).mean(1)
        np.testing.assert_allclose(shades, [40 + 5 * number for number in wanted], atol=2)
    apart = decode_frames(mp4, [1, 4, 20], 16.0, (160, 96), Bucket(48, 48, 1))
    assert apart.shape == (3, 48, 48, 3)
    np.testing.assert_allclose(apart.reshape(3, -1).mean(1), [45, 60, 140], atol=2)


def test_frames_behind_the_first_key_frame_are_found_by_seeking():
    pictures = [np.full((32, 48, 3), 20 + 2 * number, np.uint8) for number in range(110)]
    frames = decode_frames(encode_clip(pictures), [60, 109], 16.0, (48, 32), Bucket(32, 48, 1))
    np.testing.assert_allclose(frames.reshape(2, -1).mean(1), [140, 238], atol=2)


def test_a_clip_is_cropped_around_its_centre_and_boxes_follow():
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[20:60, 70:100] = 255
    bucket = Bucket(48, 48, 1)
    frames = decode_frames(encode_clip([picture] * 2), [1], 16.0, (160, 96), bucket)
    mask = subject_mask([[70, 20, 100, 60]], 1, [1], (160, 96), bucket)
    assert mask.mean() == pytest.approx(20 * 15 / 48**2, rel=0.1)
    agree = (frames[0].mean(-1) > 127) == (mask[0] == 1)
    assert agree.mean() > 0.97
    assert subject_mask([[70, 20, 100, 60]], 1, [0, 2], (160, 96), bucket).sum() == 0


@pytest.mark.parametrize("rate", [8.0, 5.0])
def test_a_lower_rate_takes_frames_further_apart(dataset, rate):
    slow, full = (
        held_out(dataset, data, "train", 1)[0]
        for data in (config(buckets=("96x160x5",), fps=rate), config())
    )
    taken = [int(number * 16 / rate + 0.5) for number in range(5)]
    assert slow.sample_ids == full.sample_ids
    assert torch.equal(slow.frames, full.frames[:, taken])


def test_windows_references_and_changes_differ_over_steps(dataset):
    data = config(augment=ReferenceAugmentConfig(0, 0, 0, 0, 0, 0, 0))
    found = by_place(batches(dataset, data, steps=(0, 24)))
    windows, references = {}, {}
    for name, _, frames, pictures, _ in found.values():
        windows.setdefault(name, set()).add(frames)
        references.setdefault(name, set()).add(pictures)
    assert all(len(seen) > 3 for seen in windows.values())
    assert {len(seen) for seen in references.values()} == {2}  # both of the sample's, unchanged
    changed = by_place(batches(dataset, config(), steps=(0, 24)))
    assert len({value[3] for value in changed.values()}) == len(changed)


def test_more_references_than_a_sample_has_are_filled_up(dataset):
    data = config(references=3, augment=ReferenceAugmentConfig(0, 0, 0, 0, 0, 0, 0))
    [first, *_] = batches(dataset, data)
    assert len({picture.numpy().tobytes() for picture in first.references[0]}) == 2
    assert torch.equal(first.references[0, 0], first.references[0, 2])


def _others(root: Path, references: int, steps: tuple[int, int] = (0, 12)) -> list:
    """Return batches that hold another picture of each character."""
    data = config(references=references)
    source = open_source(root, data, others=True)
    order = Order(training_buckets(source, data), 4, seed=0)
    span = {"start_step": steps[0], "stop_step": steps[1]}
    return list(make_loader(source, order, data, rank=0, world_size=1, micro_batch=2, **span))


def test_another_picture_of_the_character_is_none_of_its_references(dataset):
    data = config(augment=ReferenceAugmentConfig(0, 0, 0, 0, 0, 0, 0))
    source = open_source(dataset, data, others=True)
    [batch, *_] = fixed_batches(source, data, "train", 1, seed=0)
    assert isinstance(batch, PixelBatch)
    assert batch.other is not None
    assert batch.other.shape == (1, 1, 96, 160, 3)
    assert not torch.equal(batch.other[:, 0], batch.references[:, 0])
    two = dataclasses.replace(data, references=2)
    [both, *_] = fixed_batches(open_source(dataset, two), two, "train", 1, seed=0)
    assert isinstance(both, PixelBatch)
    assert torch.equal(batch.other[:, 0], both.references[:, 1])


def test_where_there_is_no_other_picture_it_is_the_same_under_another_change(dataset):
    for batch in _others(dataset, references=2, steps=(0, 2)):  # samples have two
        for references, other in zip(batch.references, batch.other, strict=True):
            assert all(not torch.equal(other[0], picture) for picture in references)


def test_another_picture_changes_nothing_else_of_a_batch(dataset):
    plain = by_place(batches(dataset, config(), steps=(0, 4), micro_batch=2))
    assert by_place(_others(dataset, references=1, steps=(0, 4))) == plain


def test_world_size_and_resume_change_nothing(dataset):
    data = config()
    whole = by_place(batches(dataset, data))
    assert sorted(whole) == [(step, place) for step in range(6) for place in range(4)]
    for world_size in (2, 4):
        parts = {}
        for rank in range(world_size):
            parts |= by_place(
                batches(dataset, data, rank=rank, world_size=world_size, micro_batch=1)
            )
        assert parts == whole
    resumed = by_place(batches(dataset, data, steps=(3, 6), micro_batch=4))
    assert resumed == {key: value for key, value in whole.items() if key[0] >= 3}


@pytest.mark.slow
def test_workers_change_nothing_and_leave_the_random_state_alone(dataset):
    whole = by_place(batches(dataset, config()))
    before = torch.get_rng_state()
    assert by_place(batches(dataset, config(num_workers=2))) == whole
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_is_always_the_same(dataset):
    data = config()
    source = open_source(dataset, data)
    found = fixed_batches(source, data, "validation", 4, seed=0)
    assert [len(batch.sample_ids) for batch in found] == [1, 1]
    held_out = {row.sample_id for row in _rows(dataset) if row.split == "validation"}
    assert {name for batch in found for name in batch.sample_ids} == held_out
    again = fixed_batches(open_source(dataset, data), data, "validation", 4, seed=0)
    assert [by_place([batch]) for batch in found] == [by_place([batch]) for batch in again]
    [one] = fixed_batches(source, data, "train", 1, seed=3)
    assert one.places == (0,)


def _rows(root: Path) -> list[Sample]:
    return [row for f in sorted((root / "samples").iterdir())
            for row in from_table(pq.read_table(f), Sample)]  # fmt: skip


def test_an_empty_validation_split_falls_back_with_a_warning(tmp_path, caplog):
    root = write_dataset(tmp_path / "dataset", num_samples=3, num_validation=0, broken={1: b""})
    data = config()
    with caplog.at_level(logging.WARNING):
        found = fixed_batches(open_source(root, data), data, "validation", 8, seed=0)
    assert len(found) == 2
    assert "validating on training samples" in caplog.text
    assert tiny_sample(1).sample_id in caplog.text


def test_a_reference_is_never_cropped_nor_distorted():
    import cv2

    image = np.full((120, 60, 3), 200, np.uint8)
    mask = np.full((120, 60), 255, np.uint8)
    image[:10] = image[-10:] = (250, 0, 0)
    for seed in range(20):
        change = draw_change(ReferenceAugmentConfig(1.0, 0.3, 45.0, 0, 0, 0, 0), seed)
        placed = place_reference(image, mask, (96, 160), change)
        assert placed.shape == (96, 160, 3)
        outside = np.abs(placed.astype(int) - 128).max(-1) < 8
        assert outside[0].mean() > 0.9  # no side of the picture was cut off
        assert outside[:, 0].all()
        (_, _), (tall, wide), _ = cv2.minAreaRect(np.argwhere(~outside).astype(np.float32))
        assert max(tall, wide) / min(tall, wide) == pytest.approx(2, rel=0.12)


def test_the_background_gives_way_to_grey_or_a_colour(dataset):
    plain = ReferenceAugmentConfig(0, 0, 0, 0, 0, 0, 0)
    [kept, *_] = batches(dataset, config(augment=plain))
    [grey, *_] = batches(dataset, config(augment=plain, reference_background="grey"))
    coloured = dataclasses.replace(plain, background=1.0)
    [colour, *_] = batches(dataset, config(augment=coloured))
    is_grey = ((grey.references.int() - 128).abs().amax(-1) <= 1).float().mean()
    was_grey = ((kept.references.int() - 128).abs().amax(-1) <= 1).float().mean()
    assert is_grey > was_grey + 0.15
    assert not torch.equal(colour.references, kept.references)
    corner = colour.references[0, 0, 2, 60]  # inside the letterboxed picture, beside the person
    assert torch.equal(corner, colour.references[0, 0, 90, 60])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"buckets": ()}, "data.buckets must name at least 1"),
        ({"buckets": ("96x160x17", "96x160x17")}, "data.buckets must name each size once"),
        ({"buckets": ("96x160",)}, "HEIGHTxWIDTHxFRAMES such as 480x832x81, got '96x160'"),
        ({"buckets": ("90x160x17",)}, "multiples of 16 from 16 to 4096, got '90x160x17'"),
        (
            {"buckets": ("96x160x16",)},
            "4k \\+ 1 from 1 to 1025, got '96x160x16'; 17 is the nearest",
        ),
        ({"references": 0}, "data.references must be from 1 to 64, got 0"),
        ({"source": "videos"}, "data.source must be one of samples, latents, got 'videos'"),
        ({"timeout_s": 0}, "data.timeout_s must be <= 604800 and > 0 s, got 0"),
        ({"max_crop": 1.5}, "data.max_crop must be from 0 to 1, got 1.5"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)


def test_a_micro_batch_must_divide_the_share(dataset):
    with pytest.raises(ValueError, match="must divide the 4 samples of a process"):
        batches(dataset, config(), micro_batch=3)
