"""People are followed through a clip, and only well measured tracks pass the gate."""

from dataclasses import dataclass, field, replace

import numpy as np
import portraits
import pytest
import rows

from pipeline.engines.interfaces import Detections, EngineInfo
from pipeline.engines.people.opencv_people import OpencvPeople
from pipeline.engines.people.tracker import Look, Tracker
from pipeline.observing.tracks import (
    PeopleConfig,
    TrackPeople,
    TracksConfig,
    agreement,
    every_frame,
    shot_size,
    two_people,
)
from schemas.reasons import Reason
from schemas.tables import FaceBox


@dataclass
class ScriptedPeople:
    """Finds what the test says, look by look."""

    script: list[list[list[float]]]
    info: EngineInfo = field(default=EngineInfo("test-people/1", "person_detection", "", True))
    scores: list[float] = field(default_factory=list)  # look by look, of every box; else 0.9
    sure: float = 0.0
    looks_per_s: float = 2.0

    def detect(self, pictures):
        assert len(pictures) == len(self.script)
        scores = self.scores or [0.9] * len(self.script)
        return [
            Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), score))
            for boxes, score in zip(self.script, scores, strict=True)
        ]


@pytest.fixture(scope="module")
def walk():
    pytest.importorskip("skimage")
    return portraits.clip_row(portraits.walking(3.0))


@pytest.fixture(scope="module")
def followed(walk):
    return TrackPeople(OpencvPeople()).process(walk)


@pytest.mark.slow
def test_a_person_is_followed_through_the_whole_clip(followed):
    assert followed.clip.num_people == 1
    [track] = followed.tracks
    assert track.coverage == 1.0
    assert track.first_frame == 0
    assert len(track.boxes) == len(track.detected) == followed.clip.num_frames == 48
    assert sum(track.detected) == 6  # two looks a second
    assert track.purity == 1.0
    assert track.shot_size in ("close-up", "medium")
    assert track.score > 0.5
    assert track.detector == "opencv-hog-haar/1"


def test_boxes_move_with_the_person_between_looks(followed):
    [track] = followed.tracks
    centres = np.array([(box[0] + box[2]) / 2 for box in track.boxes])
    truth = np.array([30 + 160 * 0.9 + round(200 * k / 48) for k in range(48)])
    off = centres - truth
    assert np.ptp(off) < 40  # px; the face is 75 wide
    assert np.abs(np.diff(centres)).max() < 20


def test_two_runs_give_equal_rows(walk, followed):
    assert TrackPeople(OpencvPeople()).process(walk) == followed


def test_an_empty_room_has_no_tracks():
    row = portraits.clip_row([portraits.ground()] * 32)
    done = TrackPeople(OpencvPeople()).process(row)
    assert done.tracks == ()
    assert done.clip.num_people == 0


def test_one_lonely_detection_is_no_track():
    row = portraits.clip_row([portraits.ground()] * 32)
    script = [[], [[100, 100, 200, 300]], [], []]
    assert TrackPeople(ScriptedPeople(script)).process(row).tracks == ()


def test_a_clip_shorter_than_one_look_is_survived():
    row = portraits.clip_row([portraits.ground()] * 2)
    assert TrackPeople(ScriptedPeople([[]])).process(row).tracks == ()


def test_somebody_else_in_the_same_place_does_not_make_a_pure_track():
    pytest.importorskip("skimage")
    person = portraits.portrait()
    other = portraits.recoloured(person, 150)
    frames = [portraits.placed(120, 160, 320, person if k < 24 else other) for k in range(48)]
    box = [150.0, 160.0, 430.0, 480.0]
    done = TrackPeople(ScriptedPeople([[box]] * 6)).process(portraits.clip_row(frames))
    gate = PeopleConfig()
    for track in done.tracks:
        long_enough = gate.check(track, done.clip) is None
        both = track.first_frame < 16 and track.first_frame + len(track.boxes) > 32
        assert not (long_enough and both)


def test_a_portrait_beside_a_person_is_not_one_of_the_people():
    """A picture pasted in never moves; a person does, if only a little."""
    frames = [portraits.placed(300 + k % 6, 160, 320, mosaic()) for k in range(48)]
    for frame in frames:
        frame[20:220, 20:220] = mosaic()[:200, :200]
    boxes = [[20.0, 20.0, 220.0, 220.0], [300.0, 160.0, 620.0, 480.0]]
    done = TrackPeople(ScriptedPeople([boxes] * 6)).process(portraits.clip_row(frames))
    assert done.clip.num_people == 1
    pasted, person = sorted(done.tracks, key=lambda track: track.boxes[0][0])
    assert pasted.motion < 0.5 < 2 < person.motion
    rejected = PeopleConfig().check(pasted, done.clip)
    assert rejected is not None
    assert rejected.reason == Reason.STILL_PICTURE


def test_a_detector_that_costs_little_looks_more_often_and_people_move_as_much():
    frames = [portraits.placed(100 + 3 * k, 160, 320, mosaic()) for k in range(48)]
    row, box, motions = portraits.clip_row(frames), [100.0, 160.0, 560.0, 480.0], []
    for rate in (2, 4, 8):
        people = ScriptedPeople([[box]] * (3 * rate), looks_per_s=rate)
        [track] = TrackPeople(people).process(row).tracks
        assert sum(track.detected) == 3 * rate
        motions.append(track.motion)
    assert motions == pytest.approx([motions[0]] * 3, rel=0.1)


@pytest.mark.parametrize(
    ("scores", "seen"),
    [
        ([0.9, 0.3, 0.3, 0.3], [4]),
        ([0.3, 0.3, 0.3, 0.9], [4]),
        ([0.4, 0.45, 0.45, 0.4], []),
    ],
)
def test_weak_boxes_are_a_person_where_one_is_strong(scores, seen):
    row = portraits.clip_row([portraits.ground()] * 32)
    people = ScriptedPeople([[[100, 100, 300, 400]]] * 4, scores=scores, sure=0.5)
    done = TrackPeople(people).process(row)
    assert [sum(track.detected) for track in done.tracks] == seen


def mosaic() -> np.ndarray:
    """Return a picture of 320x320 full of edges."""
    coarse = np.random.default_rng(7).integers(0, 255, (20, 20, 3), np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))


@pytest.mark.parametrize(("score", "number"), [(0.45, 1), (0.9, 2)])
def test_a_weak_second_box_on_somebody_begins_no_path(score, number):
    """Detectors give a person who reaches out two boxes; two people have two good ones."""
    grey = np.random.default_rng(0).integers(0, 255, (240, 320), np.uint8)
    boxes = np.array([[100, 40, 200, 200], [100, 40, 160, 200]], np.float32)
    scores, alike = np.array([0.9, score], np.float32), np.ones((2, 1), np.float32)
    looks = [Look(4 * k, boxes, scores, alike, grey, 1.0) for k in range(4)]
    assert len(Tracker().track(looks)) == number


def test_interpolation_agrees_with_doing_it_by_hand():
    random = np.random.default_rng(0)
    frames = [3, 5, 9, 17]
    boxes = random.uniform(0, 100, (4, 4))
    dense = every_frame(frames, boxes)
    assert len(dense) == 15
    for frame in range(3, 18):
        after = next(k for k in range(4) if frames[k] >= frame)
        before = max(after - 1, 0)
        span = max(frames[after] - frames[before], 1)
        share = (frame - frames[before]) / span
        expected = (1 - share) * boxes[before] + share * boxes[after]
        assert np.allclose(dense[frame - 3], expected, atol=1e-4)


def test_purity_falls_with_every_neighbour_that_disagrees():
    one, other = np.eye(2)
    assert agreement([one] * 5, 0.75) == 1.0
    assert agreement([one, one, other, other, other], 0.75) == 0.6
    assert agreement([one, one, other, one, one], 0.75) == 0.5
    assert agreement([one, other, one], 0.75) == 0.0
    assert agreement([one], 0.75) == 1.0


@pytest.mark.parametrize(
    ("box", "face_side", "size"),
    [
        ([0, 0, 480, 480], 220.0, "close-up"),
        ([250, 100, 550, 480], 100.0, "medium"),
        ([300, 20, 450, 440], 55.0, "full"),
        ([300, 20, 450, 440], None, "full"),
        ([400, 200, 460, 380], None, "wide"),
        ([200, 100, 600, 480], None, "close-up"),
        ([300, 40, 500, 480], None, "medium"),
    ],
)
def test_shot_sizes_have_their_film_makers_names(box, face_side, size):
    assert shot_size(np.array(box, np.float32), 832, 480, face_side) == size


def test_slower_following_than_looking_is_refused():
    with pytest.raises(ValueError, match=r"follow_fps \(2\)"):
        TracksConfig(detect_fps=4, follow_fps=2)


# --- the gate ----------------------------------------------------------------------------------

CLIP = rows.clip("clip")
GOOD = rows.track("track", CLIP)
FACE = FaceBox(frame_index=0, box=[320, 70, 380, 130], landmarks=[], score=0.8, yaw=0.0)


def test_a_good_track_passes():
    assert PeopleConfig().check(GOOD, CLIP) is None


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"coverage": 0.3}, Reason.TRACK_TOO_SHORT),
        ({"boxes": GOOD.boxes[:10]}, Reason.TRACK_TOO_SHORT),
        ({"area": 0.03}, Reason.PERSON_TOO_SMALL),
        ({"motion": 0.3}, Reason.STILL_PICTURE),
        ({"purity": 0.6}, Reason.IMPURE_TRACK),
        ({"detector": "opencv-hog-haar/1", "faces": [FACE]}, Reason.UNCONFIRMED_PERSON),
        (
            {"detector": "opencv-hog-haar/1", "faces": [FACE] * 2, "face_rate": 0.1},
            Reason.UNCONFIRMED_PERSON,
        ),
    ],
)
def test_every_threshold_refuses_with_its_reason(columns, reason):
    rejected = PeopleConfig().check(replace(GOOD, **columns), CLIP)
    assert rejected is not None
    assert rejected.reason == reason
    assert rejected.value is not None
    assert rejected.threshold is not None
    assert rejected.value < rejected.threshold


def test_hands_and_trunks_without_a_face_are_refused():
    wide = {"boxes": [[300.0, 60.0, 700.0, 460.0]] * len(GOOD.boxes), "detector": "yolo/11"}
    hands = replace(GOOD, faces=[], face_rate=0.0, **wide)
    rejected = PeopleConfig().check(hands, CLIP)
    assert rejected is not None
    assert (rejected.reason, rejected.value) == (Reason.BODY_PART, 1.0)
    assert PeopleConfig().check(replace(hands, faces=[FACE] * 3, face_rate=0.8), CLIP) is None
    once = replace(hands, faces=[FACE], face_rate=0.25)  # a trunk whose head bends in once
    rejected = PeopleConfig().check(once, CLIP)
    assert rejected is not None
    assert rejected.reason is Reason.BODY_PART
    assert PeopleConfig().check(replace(once, face_rate=0.5), CLIP) is None
    assert PeopleConfig().check(replace(hands, boxes=GOOD.boxes), CLIP) is None  # from behind


def test_a_crowd_is_refused():
    rejected = PeopleConfig().check(GOOD, replace(CLIP, num_people=7))
    assert rejected is not None
    assert rejected.reason == Reason.TOO_MANY_PEOPLE


def test_small_in_a_small_clip_is_refused_by_pixels():
    small = replace(CLIP, width=208, height=120)
    rejected = PeopleConfig().check(replace(GOOD, area=0.2), small)
    assert rejected is not None
    assert rejected.reason == Reason.PERSON_TOO_SMALL
    assert rejected.detail == "pixels"


def test_a_weak_detector_is_believed_with_faces_and_a_strong_one_without():
    seen = replace(GOOD, detector="opencv-hog-haar/1", faces=[FACE] * 3, face_rate=0.8)
    assert PeopleConfig().check(seen, CLIP) is None
    assert (
        PeopleConfig().check(replace(GOOD, detector="yolo/11", faces=[], face_rate=0), CLIP) is None
    )


def faces_of(*people: int, likeness: float) -> np.ndarray:
    """Return a unit vector a face, those of one person with a cosine of `likeness`."""
    own = np.eye(64)[list(people)] * likeness**0.5
    chance = np.eye(64)[10 + np.arange(len(people))] * (1 - likeness) ** 0.5
    return (own + chance).astype(np.float32)


def test_faces_in_two_groups_are_two_people_and_scattered_ones_are_one():
    assert two_people(faces_of(0, 0, 0, 1, 1, 1, likeness=0.7), 0.45)
    assert two_people(faces_of(0, 1, 0, 0, 1, 0, likeness=0.7), 0.45)  # now this one, now that
    assert not two_people(faces_of(0, 0, 0, 0, 0, 0, likeness=0.3), 0.45)
    assert not two_people(faces_of(0, 0, 0, 0, 0, 1, likeness=0.7), 0.45)  # one strayed face
    assert not two_people(faces_of(0, 0, 0, likeness=0.7), 0.45)
