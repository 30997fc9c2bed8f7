"""The order of training is a pure function of seed and step, fair, and the same everywhere."""

import numpy as np
import pytest

from trainer.data.batch import Bucket
from trainer.data.hashing import hashes, permutation, uniforms
from trainer.data.order import Order, slice_of

WIDE, TALL, LONG = Bucket(96, 160, 17), Bucket(160, 96, 17), Bucket(96, 160, 49)
PINNED_PERMUTATION = [1, 5, 7, 0, 4, 6, 3, 2]
PINNED_STEPS = [(29, 24, 23, 25), (4, 8, 6, 7), (1, 18, 3, 12)]
BUCKETS = {WIDE: range(23), TALL: range(23, 30), LONG: range(30, 33)}


def _reference(buckets, batch_size, epochs, permutations):
    """Simulate the streams epoch by epoch, as a list of the batches that each epoch completes."""
    pending = {bucket: [] for bucket in buckets}
    steps = []
    for epoch in range(epochs):
        complete = []
        for bucket, indices in sorted(buckets.items()):
            for place in permutations(bucket, epoch, len(indices)):
                pending[bucket].append(indices[int(place)])
                if len(pending[bucket]) == batch_size:
                    complete.append((bucket, tuple(pending[bucket])))
                    pending[bucket] = []
        steps.append(complete)
    return steps


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 16, 40])
def test_it_agrees_with_a_simulation_of_the_streams(batch_size):
    order = Order(BUCKETS, batch_size, seed=3)

    def permutations(bucket, epoch, size):
        name = f"{bucket.height}x{bucket.width}x{bucket.frames}"
        return order._shuffle(name, epoch, size)

    expected = _reference(BUCKETS, batch_size, 30, permutations)
    step = 0
    for epoch, batches in enumerate(expected):
        assert order.steps_before(epoch) == step
        found = [order.batch(step + number) for number in range(len(batches))]
        assert sorted((b.bucket, b.indices) for b in found) == sorted(batches)
        assert {order.epoch_of(batch.step) for batch in found} <= {epoch}
        step += len(batches)


def test_every_sample_comes_once_in_every_epoch_of_its_bucket():
    order = Order(BUCKETS, 4, seed=0)
    seen = {bucket: {} for bucket in BUCKETS}
    for step in range(order.steps_before(8)):
        batch = order.batch(step)
        seen[batch.bucket][batch.number] = batch.indices
    for bucket, indices in BUCKETS.items():
        batches = seen[bucket]
        assert sorted(batches) == list(range(len(batches)))
        stream = [index for number in sorted(batches) for index in batches[number]]
        for epoch in range(len(stream) // len(indices)):
            part = stream[epoch * len(indices) : (epoch + 1) * len(indices)]
            assert sorted(part) == list(indices)


def test_steps_mix_the_buckets_and_epochs_differ():
    order = Order(BUCKETS, 2, seed=0)
    steps = [order.batch(step) for step in range(order.steps_before(4))]
    first = [batch.bucket for batch in steps[: order.steps_before(1)]]
    assert first != sorted(first)
    once, again = ([b.indices for b in steps if b.bucket == WIDE][n::11][:5] for n in (0, 1))
    assert once != again
    assert order.batch(5).indices != Order(BUCKETS, 2, seed=1).batch(5).indices


def test_any_step_can_be_asked_for_first():
    straight = [Order(BUCKETS, 4, seed=5).batch(step) for step in range(60)]
    assert [Order(BUCKETS, 4, seed=5).batch(step) for step in reversed(range(60))] == straight[::-1]
    late = Order(BUCKETS, 4, seed=5).batch(10**9)
    assert len(late.indices) == 4


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_share_the_same_global_batch(world_size):
    order = Order(BUCKETS, 8, seed=1)
    for step in range(20):
        batch = order.batch(step)
        shares = [slice_of(8, rank, world_size) for rank in range(world_size)]
        assert [i for share in shares for i in batch.indices[share.start : share.stop]] == list(
            batch.indices
        )


def test_a_bucket_smaller_than_the_batch_repeats_as_little_as_needed():
    order = Order({WIDE: range(3)}, 8, seed=0)
    for step in range(6):
        counts = np.bincount(order.batch(step).indices, minlength=3)
        assert counts.max() - counts.min() <= 2
        assert counts.sum() == 8


def test_stand_ins_are_the_next_of_the_stream():
    order = Order({WIDE: range(6)}, 3, seed=0)
    stream = [i for step in range(40) for i in _by_number(order)[step]]
    for step in range(6):
        batch = order.batch(step)
        for place in range(3):
            following = stream[batch.number * 3 + place + 1 :][:8]
            assert order.stand_ins(batch, place, 8) == tuple(following)


def _by_number(order):
    return {order.batch(step).number: order.batch(step).indices for step in range(40)}


def test_the_order_is_pinned():
    """A change here makes every resumed run see other samples than it would have."""
    assert [hex(value) for value in hashes(0, 3)] == [
        "0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f",
    ]  # fmt: skip
    assert permutation(7, 8).tolist() == PINNED_PERMUTATION
    assert [Order(BUCKETS, 4, seed=0).batch(step).indices for step in range(3)] == PINNED_STEPS
    draws = uniforms(1, 1000)
    assert 0 <= draws.min() < 0.01
    assert 0.99 < draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.05


def test_a_large_dataset_is_ordered_in_moments():
    order = Order({WIDE: np.arange(1_000_000)}, 64, seed=0)
    assert order.batch(0) != order.batch(1)
    assert order.epoch_of(10**8) == 6400


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Order({WIDE: []}, 4, 0), "have none"),
        (lambda: Order({}, 4, 0), "have none"),
        (lambda: Order(BUCKETS, 0, 0), "batch_size must be >= 1, got 0"),
        (lambda: Order(BUCKETS, 4, 0).batch(-1), "step must be >= 0, got -1"),
        (lambda: slice_of(6, 0, 4), "multiple of 4"),
        (lambda: slice_of(8, 4, 4), "rank must be 0 to 3"),
    ],
)
def test_what_cannot_be_ordered_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
