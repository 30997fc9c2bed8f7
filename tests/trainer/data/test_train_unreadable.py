"""A sample that cannot be read is replaced, named and counted; too many end the run."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import encode_clip, tiny_sample, write_dataset, write_samples
from train_batches import batches, by_place, config

from trainer.data.batch import Bucket, SkippedSample
from trainer.data.data_config import DataConfig
from trainer.data.loader import SkipCounter
from trainer.data.pictures import Unreadable, decode_frames, decode_reference

PLAYLIST = b"ffconcat version 1.0\nfile secret.mp4\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"no video", "cannot be decoded"),
        (PLAYLIST, "cannot be decoded"),
        (encode_clip([np.zeros((96, 160, 3), np.uint8)] * 9), "has no frame 9"),
        (encode_clip([np.zeros((64, 64, 3), np.uint8)] * 25), "64x64, its row says 160x96"),
    ],
)
def test_an_undecodable_clip_is_replaced_and_named(tmp_path, content, reason, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("secret.mp4").write_bytes(encode_clip([np.zeros((96, 160, 3), np.uint8)] * 25))
    root = write_dataset(tmp_path / "dataset", broken={1: content})
    bad = tiny_sample(1).sample_id
    found = batches(root, config(random_start=False), steps=(0, 6))
    skipped = [each for batch in found for each in batch.skipped]
    assert {each.sample_id for each in skipped} == {bad}
    assert all(reason in each.reason for each in skipped)
    assert all(bad not in batch.sample_ids for batch in found)
    assert by_place(found) == by_place(batches(root, config(random_start=False), steps=(0, 6)))
    # Every other place is as it would have been.
    intact = by_place(batches(write_dataset(tmp_path / "intact"), config(random_start=False)))
    for key, value in by_place(found).items():
        assert (value == intact[key]) == (intact[key][0] != bad)


def test_damaged_references_are_skipped_too(tmp_path):
    samples = [tiny_sample(number) for number in range(4)]
    image = samples[0].references[0].image | {"bytes": b"\xff\xd8\xff no picture"}
    bad = [dataclasses.replace(each, image=image) for each in samples[0].references]
    samples[0] = dataclasses.replace(samples[0], references=bad)
    samples[1] = dataclasses.replace(samples[1], references=[])
    root = write_samples(tmp_path / "dataset", samples)
    found = batches(root, config(), steps=(0, 4))
    reasons = {each.sample_id: each.reason for batch in found for each in batch.skipped}
    assert reasons.keys() == {samples[0].sample_id, samples[1].sample_id}
    assert "cannot be" in reasons[samples[0].sample_id]
    assert "no reference" in reasons[samples[1].sample_id]


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_readable_stops_with_the_ids(tmp_path, workers):
    root = write_dataset(
        tmp_path / "dataset", num_samples=2, num_validation=0, broken={0: b"", 1: b""}
    )
    with pytest.raises(ValueError, match=r"step 0: .*cannot be read.*" + tiny_sample(0).sample_id):
        batches(root, config(num_workers=workers), steps=(0, 1))


def test_skipping_is_bounded():
    counter = SkipCounter(DataConfig(max_skipped=1))
    counter.count((SkippedSample("first", "truncated"),) * 5)
    assert counter.times == 5
    with pytest.raises(ValueError, match=r"max_skipped allows 1: first: truncated; second: empty"):
        counter.count((SkippedSample("second", "empty"),))


def test_a_huge_picture_is_refused_before_it_is_decoded():
    import cv2

    done, content = cv2.imencode(".png", np.zeros((4000, 4000), np.uint8))
    assert done
    with pytest.raises(Unreadable, match="4000x4000, 9437184 pixels are allowed"):
        decode_reference(content.tobytes(), content.tobytes())
    pictures = [np.zeros((16, 16, 3), np.uint8)] * 2
    header = bytearray(encode_clip(pictures))
    with pytest.raises(Unreadable):
        decode_frames(bytes(header[: len(header) // 2]), [0], 16.0, (16, 16), Bucket(16, 16, 1))
