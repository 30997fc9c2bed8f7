"""Objects that lie on disk come back as they were, and the file goes with them."""

import math

from pipeline.dataset.spilled import Spilled
from pipeline.pairing.captions import Caption


def test_objects_come_back_in_order_by_place_and_by_slice():
    captions = [Caption(f"text {number}", "é" * number, "own/1") for number in range(50)]
    spilled = Spilled(iter(captions))
    assert list(spilled) == captions
    assert spilled[-1] == captions[-1]
    assert spilled[10:13] == captions[10:13]
    assert len(spilled) == 50


def test_nothing_is_kept_without_objects():
    assert list(Spilled(())) == []
    assert Spilled(())[1:] == []


def test_unknown_numbers_stay_unknown_and_known_ones_exact():
    known, unknown = Spilled([0.1 + 0.2, math.nan])
    assert known == 0.1 + 0.2
    assert math.isnan(unknown)


def test_objects_are_held_one_at_a_time():
    class Counted:
        alive = most = 0

        def __init__(self):
            Counted.alive += 1
            Counted.most = max(Counted.most, Counted.alive)

        def __reduce__(self):
            return (int, ())

        def __del__(self):
            Counted.alive -= 1

    assert len(Spilled(Counted() for _ in range(1000))) == 1000
    assert Counted.most <= 2
