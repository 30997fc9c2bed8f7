"""What a head does is said from its landmarks, and only where they leave no doubt."""

from collections.abc import Sequence

import numpy as np
import pytest
from rows import clip, track

from pipeline.engines.captions.head_motion import head_phrases
from schemas.tables import FaceBox, Track

_POINTS = np.array([[-20, -20], [20, -20], [0, 4], [-15, 20], [15, 20]], float)


def face(moment: int, yaw: float = 0.0, roll: float = 0.0, left: float = 0.0) -> FaceBox:
    """Return a face of 80 x 100 px; the nose lies between eyes and mouth."""
    angle = np.radians(roll)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = _POINTS @ turn.T + [300 + left, 200]
    box = [260.0 + left, 150.0, 340.0 + left, 250.0]
    return FaceBox(8 * moment, box, points.ravel().tolist(), 0.9, yaw)


def seen(**series: Sequence[float]) -> list[str]:
    moments = max(len(values) for values in series.values())
    faces = [
        face(k, **{name: values[k] for name, values in series.items()}) for k in range(moments)
    ]
    return head_phrases(_with(faces))


def _with(faces: list[FaceBox], **columns) -> Track:
    return track("me", clip("clip", length_s=10.0), faces=faces, **columns)


@pytest.mark.parametrize(
    ("yaws", "says"),
    [
        ([-30, -25, -10, 10, 25, 30], "turning the head to the right of the picture"),
        ([40, 35, 10, -5, -20, -25], "turning the head to the left of the picture"),
        ([0, 30, 0, -30, 0, 30], "turning the head from side to side"),
        ([0, 0, 50, 50, 0, 0], "turning the head"),
        ([-5, 10, 20, 28, 28, 10], "turning the head a little"),
        ([70, 75, 68, 72], "in profile, facing the right of the picture"),
        ([-40, -50, -45, -48], "half turned to the left of the picture"),
        ([22, 24, 20, 25], "turned a little to the right of the picture"),
        ([2, -3, 4, 0], "facing the camera"),
    ],
)
def test_the_way_of_a_turn_is_that_of_the_picture(yaws, says):
    assert seen(yaw=yaws)[:1] == [says]


def test_one_profile_that_is_mirrored_does_not_count():
    assert seen(yaw=[75, 74, -73, 70]) == ["in profile, facing the right of the picture"]
    assert seen(yaw=[85, -70, 86]) == ["in profile, facing the right of the picture"]
    assert seen(yaw=[85, -70, -75, 86]) == []  # who knows
    film = [35, 41, 45, 30, -43, -65, -73, -49, 14, 22]  # in between it passes the camera
    assert seen(yaw=film) == ["turning the head from side to side"]


def test_a_leaning_head_is_tilted_and_one_that_rocks_is_tilting():
    assert "with the head tilted to the right" in seen(roll=[12, 14, 11, 13])
    assert "with the head tilted to the left" in seen(roll=[-12, -14, -11, -13])
    assert "tilting the head" in seen(roll=[-12, 0, 12, 0, -12])
    assert not any("tilt" in phrase for phrase in seen(roll=[5, 7, 4, 6]))


def test_a_head_keeps_still_while_nothing_of_it_moves():
    assert "keeping the head still" in seen(left=[0, 1, 0, 2, 1])
    assert "keeping the head still" not in seen(left=[0, 8, 0, 9, 1])
    assert "keeping the head still" not in seen(roll=[0, 5, 0, 9, 0])
    assert "keeping the head still" not in seen(left=[0, 1, 0])  # for a second


def test_a_bowed_head_faces_nothing():
    bowed = []
    for moment in range(4):
        points = np.array(face(moment).landmarks).reshape(5, 2)
        points[2, 1] += 10  # the nose comes near the mouth
        bowed.append(FaceBox(8 * moment, [260, 150, 340, 250], points.ravel().tolist(), 0.9, 1.0))
    assert head_phrases(_with(bowed)) == []


def test_few_faces_and_faces_without_landmarks_say_nothing():
    faces = [face(k, yaw=75.0) for k in range(4)]
    assert head_phrases(_with(faces[:2])) == []
    assert head_phrases(_with(faces, face_rate=0.6)) == []
    assert head_phrases(_with([FaceBox(0, [0, 0, 9, 9], [], 0.9, 75.0)] * 4)) == []
