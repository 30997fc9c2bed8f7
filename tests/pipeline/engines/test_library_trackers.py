"""Trackers of a library join the same boxes in the place of ours."""

import sys
from typing import get_args

import numpy as np
import pytest

from pipeline.engines.people.library_trackers import TrackerName, load_tracker
from pipeline.engines.people.tracker import BoxSource, Look

NAMES = [name for name in get_args(TrackerName) if name != "own"]
STEP = 4  # looks that are only followed, from one with the detector to the next


def walk_past(lost: range = range(0)) -> list[Look]:
    """Draw two people who walk through a picture; of one nothing is found in the looks `lost`."""
    random = np.random.default_rng(0)
    texture = random.integers(0, 255, (2, 160, 60), np.uint8)
    ground = np.kron(random.integers(60, 160, (24, 64), np.uint8), np.ones((10, 10), np.uint8))
    looks = []
    for index in range(24):
        grey = ground.copy()
        lefts = (20 + 3 * index, 400 - 2 * index)
        for left, top, dressed in zip(lefts, (40, 60), texture, strict=True):
            grey[top : top + 160, left : left + 60] = dressed
        boxes = np.array([[2 * lefts[0], 80, 2 * lefts[0] + 120, 400],
                          [2 * lefts[1], 120, 2 * lefts[1] + 120, 440]], np.float32)  # fmt: skip
        seen = [index % STEP == 0 and index not in lost, index % STEP == 0]
        scores, clothes = np.full(sum(seen), 0.9, np.float32), np.eye(2, dtype=np.float32)
        looks.append(Look(index, boxes[seen], scores, clothes[seen], grey, 0.5, any(seen)))
    return looks


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lost", [range(0), range(8, 9)])
def test_two_people_are_two_paths_through_the_whole_clip(name, lost):
    pytest.importorskip("trackers")
    looks = walk_past(lost)
    one, other = load_tracker(name).track(looks)
    for path, row, missing in ((one, 0, len(lost)), (other, 1, 0)):
        assert path.looks == list(range(24))
        assert len(path.scores) == len(path.signatures) >= 24 // STEP - missing - 1
        assert all(signature[row] == 1 for signature in path.signatures)
        assert path.sources.count(BoxSource.GUESSED) == 0
    expected = [2 * (20 + 3 * index) for index in range(24)]
    assert np.allclose([box[0] for box in one.boxes], expected, atol=8)
    again = load_tracker(name).track(looks)
    assert [np.stack(path.boxes).tobytes() for path in again] == [
        np.stack(path.boxes).tobytes() for path in (one, other)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_no_path(name):
    pytest.importorskip("trackers")
    nobody = np.zeros((0, 4), np.float32)
    looks = [
        Look(k, nobody, nobody[:, 0], nobody, np.zeros((24, 64), np.uint8), 0.5) for k in (0, 1)
    ]
    assert load_tracker(name).track(looks) == []


def test_a_missing_library_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(ValueError, match=r"tracker=bytetrack .*pip install -e \"\.\[tracking\]\""):
        load_tracker("bytetrack")
    assert load_tracker("own").track([]) == []
