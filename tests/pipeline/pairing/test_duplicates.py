"""Copies of a clip in other videos are found at any scale; repeats within a video are kept."""

import random

import pytest
import rows
from patience import works_less_than

from pipeline.pairing.duplicates import DuplicatesConfig, find_duplicates


def looking(clip_id, video_id, *hashes):
    return rows.clip(clip_id, video_id, perceptual_hash="".join(f"{h:016x}" for h in hashes))


def test_the_smallest_id_of_a_group_of_copies_stays_whatever_the_order():
    original = (0x0123456789ABCDEF, 0xFEDCBA9876543210, 0x0F0F0F0F0F0F0F0F)
    clips = [looking(f"clip{n}", f"video{n}", *original) for n in range(5)]
    for seed in range(3):
        random.Random(seed).shuffle(clips)
        found = find_duplicates(clips, DuplicatesConfig())
        assert found == {f"clip{n}": ("clip0", 0) for n in range(1, 5)}


@pytest.mark.parametrize(("bits", "is_copy"), [(0, True), (2, True), (3, False), (20, False)])
def test_a_copy_differs_in_few_bits_at_every_frame(bits, is_copy):
    flipped = (1 << bits) - 1
    first = looking("a", "one", 10, 20, 30)
    second = looking("b", "two", 10, 20, 30 ^ flipped)
    assert (find_duplicates([first, second], DuplicatesConfig(max_distance=2)) != {}) == is_copy


def test_repeats_within_one_video_are_no_copies_and_the_gate_can_be_off():
    clips = [looking("a", "one", 1, 2, 3), looking("b", "one", 1, 2, 3)]
    assert find_duplicates(clips, DuplicatesConfig()) == {}
    clips = [looking("a", "one", 1, 2, 3), looking("b", "two", 1, 2, 3)]
    assert find_duplicates(clips, DuplicatesConfig(max_distance=None)) == {}


def test_agrees_with_comparing_every_pair():
    draw = random.Random(7)
    base = [[draw.getrandbits(64) for _ in range(3)] for _ in range(12)]
    clips = []
    for number in range(150):
        hashes = [h ^ (1 << draw.randrange(64)) * (draw.random() < 0.7) for h in draw.choice(base)]
        clips.append(looking(f"{number:03d}", f"v{number % 60}", *hashes))
    found = find_duplicates(clips, DuplicatesConfig(max_distance=2))

    kept = []
    for clip in clips:
        own = [int(clip.perceptual_hash[at : at + 16], 16) for at in (0, 16, 32)]
        near = [
            other.clip_id
            for other, theirs in kept
            if other.video_id != clip.video_id
            and all((a ^ b).bit_count() <= 2 for a, b in zip(own, theirs, strict=True))
        ]
        assert (clip.clip_id in found) == bool(near)
        if not near:
            kept.append((clip, own))
    assert 20 < len(found) < 150


def test_ten_thousand_copies_take_no_square_time():
    clips = [looking(f"{n:05d}", f"v{n}", 1, 2, 3) for n in range(10_000)]
    with works_less_than(5):  # comparing every pair takes minutes
        assert len(find_duplicates(clips, DuplicatesConfig())) == 9_999
