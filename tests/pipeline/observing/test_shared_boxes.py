"""A box that two people share is nobody's own, and one that is only passed stays whole."""

import pytest
import rows

from pipeline.observing.shared_boxes import shared_frames
from schemas.tables import FaceBox

CLIP = rows.clip("clip")  # 32 frames of 832 x 480
FACE = FaceBox(frame_index=0, box=[0.0, 0.0, 60.0, 60.0], landmarks=[], score=0.9, yaw=0.0)
BEHIND = [320.0, 100.0, 560.0, 420.0]


def seen(name, box, first, end, faces=2):
    boxes = [box] * (end - first)
    own = {"first_frame": first, "boxes": boxes, "detected": [True] * len(boxes)}
    return rows.track(name, CLIP, **own, faces=[FACE] * faces)


def in_front(box=(200.0, 60.0, 560.0, 440.0)):
    return seen("front", list(box), 0, 32)


def test_who_is_lost_in_anothers_box_shares_it_until_the_end():
    shared = shared_frames([in_front(), seen("lost", BEHIND, 0, 10)], CLIP)
    assert shared == {"front": set(range(10, 32)), "lost": set()}


def test_who_comes_out_of_anothers_box_has_shared_it_since_the_start():
    assert shared_frames([in_front(), seen("out", BEHIND, 20, 32)], CLIP)["front"] == set(range(20))


def test_a_box_is_shared_between_the_two_whatever_track_it_is_of():
    parts = [seen("one", in_front().boxes[0], 0, 15), seen("two", in_front().boxes[0], 15, 32)]
    people = [*parts, seen("lost", BEHIND, 0, 10), seen("out", BEHIND, 20, 32)]
    shared = shared_frames(people, CLIP)
    assert (shared["one"], shared["two"]) == (set(range(10, 15)), set(range(15, 20)))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(seen("weak", BEHIND, 0, 10, faces=0), id="a second box that shows no face"),
        pytest.param(seen("child", [440.0, 300.0, 540.0, 430.0], 0, 10), id="a child, covered"),
        pytest.param(seen("beside", [500.0, 60.0, 760.0, 440.0], 0, 10), id="somebody beside"),
        pytest.param(seen("whole", BEHIND, 0, 32), id="somebody who is seen all the time"),
    ],
)
def test_others_leave_the_box_to_its_own_person(other):
    assert shared_frames([in_front(), other], CLIP)["front"] == set()


def test_who_leaves_at_the_side_is_not_hidden():
    wide, leaving = in_front((400.0, 60.0, 832.0, 440.0)), [560.0, 100.0, 830.0, 440.0]
    assert shared_frames([wide, seen("gone", leaving, 0, 10)], CLIP)["front"] == set()
