"""Everybody in a clip or a reference who is not its character is found, with a place a frame."""

import numpy as np
import pytest
from drawn_detectors import DrawnFaces, DrawnPeople, NoFaces
from tiny_dataset import draw_figure, encode_clip

from pipeline.observing.bystanders import BystanderFinder, FollowedPerson

SIZE, FRAMES = (320, 192), 32
GROUND = np.full((SIZE[1], SIZE[0], 3), (150, 170, 200), np.uint8)


def _drawn(second_from: int = 0, second_to: int = FRAMES) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return a clip of two figures who walk, and their boxes (FRAMES, 4)."""
    pictures, boxes = [], ([], [])
    for frame in range(FRAMES):
        picture = GROUND.copy()
        for who, x in ((0, 60 + frame), (1, 250 - 2 * frame)):
            seen = who == 0 or second_from <= frame < second_to
            onto = picture if seen else GROUND.copy()
            boxes[who].append(draw_figure(onto, who, x, 176, 150, frame))
        pictures.append(picture)
    return encode_clip(pictures), np.array(boxes[0]), np.array(boxes[1])


def _finder(faces=None, looks_per_s: float = 8.0) -> BystanderFinder:
    return BystanderFinder(DrawnPeople(), faces or DrawnFaces(), looks_per_s)


def _middle(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def test_a_person_whom_no_track_follows_is_found_in_every_frame():
    mp4, own, other = _drawn()
    found = _finder().in_clip(mp4, [FollowedPerson("own", 0, own)], [])
    [bystander] = found.bystanders
    assert bystander.found
    assert len(bystander.person.boxes) == FRAMES
    for frame in range(FRAMES):
        face = bystander.faces[frame]
        where = np.array([(other[frame][0] + other[frame][2]) / 2, 176 - 0.88 * 150])
        assert np.abs(_middle(face) - where).max() < 4, frame


def test_the_characters_face_is_known_and_is_nobody_elses():
    mp4, own, other = _drawn()
    cast, tracked = [FollowedPerson("own", 0, own)], [FollowedPerson("other", 0, other)]
    found = _finder().in_clip(mp4, cast, tracked)
    assert [bystander.person.name for bystander in found.bystanders] == ["other"]
    for frame in (0, 15, 30):
        [face] = found.cast_faces[frame]
        assert abs(_middle(face)[0] - (own[frame][0] + own[frame][2]) / 2) < 4


def test_a_face_is_whose_it_is_before_and_after_two_people_cross():
    pictures, boxes = [], ([], [])
    for frame in range(96):
        picture = GROUND.copy()
        for who, x in ((0, min(150, 40 + 4 * frame)), (1, max(60, 150 - 4 * frame))):
            boxes[who].append(draw_figure(picture, who, x, 176, 150, frame))
        pictures.append(picture)
    cast = [FollowedPerson("own", 0, np.array(boxes[0]))]
    tracked = [FollowedPerson("other", 0, np.array(boxes[1]))]
    found = _finder().in_clip(encode_clip(pictures), cast, tracked)
    [bystander] = [each for each in found.bystanders if each.person.name == "other"]
    for frame in (0, 6, 40, 60, 92):
        middle = (boxes[1][frame][0] + boxes[1][frame][2]) / 2
        assert abs(_middle(bystander.faces[frame])[0] - middle) < 8, frame


def test_a_second_track_of_the_character_is_no_bystander():
    mp4, own, _ = _drawn(second_to=0)
    twice = [FollowedPerson("again", 4, own[4:20] + 2.0)]
    assert _finder().in_clip(mp4, [FollowedPerson("own", 0, own)], twice).bystanders == ()


def test_who_comes_and_goes_is_held_a_little_longer_than_seen():
    mp4, own, _ = _drawn(second_from=10, second_to=20)
    [bystander] = _finder().in_clip(mp4, [FollowedPerson("own", 0, own)], []).bystanders
    assert bystander.person.first_frame <= 8
    assert bystander.person.first_frame + len(bystander.person.boxes) >= 21


def test_who_shows_no_face_is_said_and_has_a_head_above_the_body():
    mp4, own, other = _drawn()
    found = _finder(NoFaces()).in_clip(mp4, [FollowedPerson("own", 0, own)], [])
    [bystander] = found.bystanders
    assert not bystander.found
    disc = np.array([(other[16][0] + other[16][2]) / 2, 176 - 0.88 * 150])
    head = bystander.faces[16]
    assert (head[:2] < disc).all()
    assert (disc < head[2:]).all()


@pytest.mark.parametrize("looks_per_s", [4.0, 16.0])
def test_a_person_is_followed_at_any_number_of_looks(looks_per_s):
    mp4, own, _ = _drawn()
    found = _finder(looks_per_s=looks_per_s).in_clip(mp4, [FollowedPerson("own", 0, own)], [])
    assert len(found.bystanders) == 1


def test_in_a_reference_the_mask_says_who_is_meant():
    picture = GROUND.copy()
    draw_figure(picture, 1, 240, 176, 150)
    alone = picture.copy()
    draw_figure(picture, 0, 80, 176, 150)
    mask = np.where((picture != alone).any(axis=2), 255, 0).astype(np.uint8)
    found = _finder().in_picture(picture, mask)
    [face], [body] = found.faces, found.bodies
    assert abs(_middle(face)[0] - 240) < 4
    assert abs(_middle(body)[0] - 240) < 4
    assert found.own_face is not None
    assert abs(_middle(found.own_face)[0] - 80) < 4
    assert _finder().in_picture(alone, None).faces == ()
