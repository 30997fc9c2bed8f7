"""Faces belong to the right person, in the right pixels, and every track gets a vector."""

from dataclasses import dataclass, field, replace

import numpy as np
import portraits
import pytest
import rows

from pipeline.engines.faces.opencv_faces import OpencvFaces
from pipeline.engines.identity.appearance import Appearance
from pipeline.engines.identity.spaces import Space, join
from pipeline.engines.interfaces import EngineInfo, SimilarityWindows
from pipeline.engines.interfaces import Faces as FoundFaces
from pipeline.engines.people.opencv_people import OpencvPeople
from pipeline.execution.stage import Still
from pipeline.observing.candidates import ProposeReferences
from pipeline.observing.faces import (
    FaceMatch,
    FindFaces,
    box_in_still,
    share_out,
    to_clip,
    to_still,
)
from pipeline.observing.tracks import PeopleConfig, TrackPeople
from pipeline.pictures.boxes import iou
from schemas.reasons import Reason

STILL = Still(8, 0.5, 1920, 1080, scale=2.25, left=24.0, top=-3.0, jpeg=b"")


_NONE = np.zeros(0, np.float32)
NO_FACE = FoundFaces(np.zeros((0, 4)), _NONE, np.zeros((0, 5, 2)), _NONE)


@dataclass
class NoFaces:
    """Finds nothing."""

    info: EngineInfo = field(default=EngineInfo("test-faces/1", "face_detection", "", True))

    def detect(self, pictures):
        return [NO_FACE for _ in pictures]


@pytest.fixture(scope="module")
def walk():
    """A clip at 640x480 whose stills are 1.5 times as large."""
    pytest.importorskip("skimage")
    return TrackPeople(OpencvPeople()).process(
        portraits.clip_row(portraits.walking(2.0), scale=1.5)
    )


@pytest.fixture(scope="module")
def found(walk):
    return FindFaces(OpencvFaces(), Appearance()).process(walk)


def test_going_to_the_still_and_back_changes_nothing():
    box = np.array([10, 20, 110, 220], np.float32)
    placed = to_still(box, STILL)
    assert placed.tolist() == pytest.approx([46.5, 42, 271.5, 492])
    assert to_clip(placed, STILL).tolist() == pytest.approx(box.tolist())
    points = np.array([[1, 2], [3, 4]], np.float32)
    assert np.allclose(to_clip(to_still(points, STILL), STILL), points)


def test_a_still_outside_the_track_has_no_box():
    clip = rows.clip("clip")
    late = replace(rows.track("track", clip), first_frame=9)
    assert box_in_still(late, STILL) is None
    assert box_in_still(replace(late, first_frame=8), STILL) is not None


def test_every_still_shows_the_face_where_it_is_in_the_clip(found):
    [track] = found.tracks
    assert track.face_rate == 1.0
    assert [face.frame_index for face in track.faces] == [0, 8, 16, 24]
    for face in track.faces:
        left = 30 + round(200 * face.frame_index / 32)
        scale = 320 / 512
        x0, y0, x1, y1 = np.array([170, 65, 285, 180]) * scale
        truth = np.array([[x0 + left, y0 + 160, x1 + left, y1 + 160]])
        assert iou(np.array([face.box]), truth)[0, 0] > 0.5
        assert face.yaw == 0
        assert len(face.landmarks) in (0, 10)


def test_the_track_has_one_unit_vector_of_the_recogniser(found):
    [embedding] = found.embeddings
    assert embedding.track_id == found.tracks[0].track_id
    assert embedding.reference_id == ""
    assert embedding.recogniser == "opencv-appearance/1"
    assert embedding.num_images == 4
    assert np.linalg.norm(embedding.vector) == pytest.approx(1, abs=1e-5)


def test_two_runs_give_equal_rows(walk, found):
    again = FindFaces(OpencvFaces(), Appearance()).process(walk)
    assert repr(again) == repr(found)  # an eye that is not seen is NaN, unlike itself


def test_a_person_without_a_face_still_gets_a_vector(walk):
    done = FindFaces(NoFaces(), Appearance()).process(walk)
    [track] = done.tracks
    assert track.faces == []
    assert track.face_rate == 0
    [embedding] = done.embeddings
    assert np.linalg.norm(embedding.vector) == pytest.approx(1, abs=1e-5)


def test_a_clip_without_people_passes_untouched():
    row = portraits.clip_row([portraits.ground()] * 16)
    assert FindFaces(NoFaces(), Appearance()).process(row) is row


def test_a_face_that_two_boxes_hold_belongs_to_one(walk):
    [track] = walk.tracks
    shifted = [[x0 + 70, y0, x1 + 70, y1] for x0, y0, x1, y1 in track.boxes]
    rival = replace(track, track_id="rival", boxes=shifted)
    done = FindFaces(OpencvFaces(), Appearance()).process(replace(walk, tracks=(track, rival)))
    first, second = done.tracks
    assert len(first.faces) == 4
    assert len(second.faces) == 0


def claim(left: float, fit: float) -> FaceMatch:
    face = np.array([left, 50, left + 40, 100], np.float32)
    return FaceMatch(0, face, np.zeros((5, 2), np.float32), 0.9, 0.0, fit)


def test_who_stands_behind_a_shoulder_keeps_the_own_face():
    """Both faces lie in her box, and his sits even better in it than her own."""
    shares = share_out({"his": [claim(100, 0.4)], "hers": [claim(101, 0.05), claim(150, 0.1)]})
    assert [match.face[0] for match in shares["his"]] == [100]
    assert [match.face[0] for match in shares["hers"]] == [150]


def test_one_face_in_two_boxes_goes_where_it_sits_better():
    shares = share_out({"one": [claim(100, 0.3)], "other": [claim(102, 0.1)]})
    assert shares["one"] == []
    assert len(shares["other"]) == 1
    assert share_out({"one": []}) == {"one": []}


@dataclass
class FacesByMood:
    """Knows a face by the brightness of the picture; sees one on every still."""

    info: EngineInfo = field(default=EngineInfo("test/1", "recognition", "", True))
    windows: SimilarityWindows = rows.WINDOWS

    def detect(self, pictures):
        box = np.array([[100.0, 40.0, 160.0, 100.0]], np.float32)
        points = np.full((1, 5, 2), 120, np.float32)
        one = np.ones(1, np.float32)
        return [FoundFaces(box, one, points, 0 * one) for _ in pictures]

    def embed(self, people):
        return np.eye(2, dtype=np.float32)[[int(p.picture.mean() > 127) for p in people]]


@pytest.mark.parametrize(("moods", "purity"), [([0, 0, 0, 0], 1.0), ([0, 0, 200, 200], 0.5)])
def test_faces_tell_that_a_track_shows_two_people_in_the_same_clothes(moods, purity):
    frames = [np.full((480, 640, 3), moods[k // 8], np.uint8) for k in range(32)]
    row = portraits.clip_row(frames)
    track = rows.track("track", row.clip, boxes=[[0.0, 0.0, 260.0, 480.0]] * 32, purity=0.9)
    engine = FacesByMood()
    [done] = FindFaces(engine, engine).process(replace(row, tracks=(track,))).tracks
    assert done.face_rate == 1
    assert done.purity == purity


def test_a_strayed_face_does_not_speak_for_the_track():
    frames = [np.full((480, 640, 3), 200 if k < 8 else 0, np.uint8) for k in range(40)]
    row = portraits.clip_row(frames)
    track = rows.track("track", row.clip, boxes=[[0.0, 0.0, 260.0, 480.0]] * 40, purity=0.9)
    engine = FacesByMood()
    done = FindFaces(engine, engine).process(replace(row, tracks=(track,)))
    assert done.tracks[0].purity == 0.9  # that of the clothes: one face is no second person
    [embedding] = done.embeddings
    assert embedding.vector == [1.0, 0.0]
    assert embedding.num_images == 4


@dataclass
class TurningHead:
    """Finds a head turned by so many degrees, picture after picture; notes what it recognises."""

    yaws: tuple[float, ...]
    info: EngineInfo = field(default=EngineInfo("test/1", "recognition", "", True))
    windows: SimilarityWindows = rows.WINDOWS
    recognised: list = field(default_factory=list)

    def detect(self, pictures):
        one = np.ones(1, np.float32)
        box = np.array([[100.0, 40.0, 160.0, 100.0]], np.float32)
        return [
            FoundFaces(box, one, self.points(self.yaws[k % len(self.yaws)]), 0 * one)
            for k in range(len(pictures))
        ]

    def points(self, yaw):
        nose = 0.43 * 24 * np.tan(np.radians(yaw))
        points = [[118, 60], [142, 60], [130 + nose, 74], [120, 88], [140, 88]]
        return np.array([points], np.float32)

    def embed(self, people):
        self.recognised += people
        return np.tile(np.eye(2, dtype=np.float32)[0], (len(people), 1))

    def segment(self, people):
        return [np.full(person.picture.shape[:2], 255, np.uint8) for person in people]


@pytest.mark.parametrize(
    ("yaws", "images", "pictures"),
    [((10, 30, -20, 40), [True] * 4, True), ((70, 20, -10, 80), [True] * 2, True),
     ((70, -60, 80, 20), [False] * 4, False)],
)  # fmt: skip
def test_a_profile_does_not_say_who_somebody_is(yaws, images, pictures):
    """Profiles are alike whoever they are. Where two look up front, the others are left out of who
    it is, and stay references; else no face network sees the track or its references."""
    row = portraits.clip_row([np.full((480, 640, 3), 90, np.uint8)] * 32)
    track = rows.track("track", row.clip, boxes=[[0.0, 0.0, 260.0, 480.0]] * 32)
    engine = TurningHead(yaws)
    done = FindFaces(engine, engine).process(replace(row, tracks=(track,)))
    assert [person.landmarks is not None for person in engine.recognised] == images
    assert len(done.tracks[0].faces) == 4
    engine.recognised.clear()
    found = ProposeReferences(engine, engine).process(done).candidates
    assert len(engine.recognised) == len(found) > 0
    assert {person.landmarks is not None for person in engine.recognised} == {pictures}
    assert not any(np.isnan(candidate.smile) for candidate in found)


@dataclass
class OneProfile(TurningHead):
    """Finds the head in the second picture alone."""

    def detect(self, pictures):
        return [face if k == 1 else NO_FACE for k, face in enumerate(super().detect(pictures))]


def test_who_shows_one_profile_is_known_by_all_looks():
    """A body's only look may be a pose that its others are unlike: the references were refused."""
    row = portraits.clip_row([np.full((480, 640, 3), 90, np.uint8)] * 32)
    track = rows.track("track", row.clip, boxes=[[0.0, 0.0, 260.0, 480.0]] * 32)
    engine = OneProfile((70,))
    [vector] = FindFaces(engine, engine).process(replace(row, tracks=(track,))).embeddings
    assert vector.num_images == len(row.stills) == 4
    assert [person.face is not None for person in engine.recognised] == [True, *[False] * 3]


@dataclass
class FacesAndBodies(TurningHead):
    """Two spaces; no face is known in dark pictures."""

    spaces = (Space("face", 0, 2, rows.WINDOWS), Space("body", 2, 4, rows.WINDOWS))

    def embed(self, people):
        known = np.array([[person.picture.mean() > 60] for person in people])
        face, body = np.eye(2, dtype=np.float32)
        return join([known * face, np.tile(body, (len(people), 1))])


def test_faces_alone_speak_for_a_track_that_shows_some():
    frames = [np.full((480, 640, 3), 90 if k < 16 else 30, np.uint8) for k in range(32)]
    row = portraits.clip_row(frames)
    track = rows.track("track", row.clip, boxes=[[0.0, 0.0, 260.0, 480.0]] * 32)
    engine = FacesAndBodies((0,))
    [embedding] = FindFaces(engine, engine).process(replace(row, tracks=(track,))).embeddings
    assert embedding.vector == pytest.approx([1, 0, 0, 0.01], abs=1e-4)
    assert embedding.num_images == 2


@pytest.mark.parametrize("moves", [False, True])
def test_a_portrait_beside_somebody_who_moves_is_still(moves):
    """The box of the portrait holds a part of the other one, and changes with him."""
    frames = []
    for k in range(32):
        picture = np.full((480, 640, 3), 90, np.uint8)
        picture[200:, 180:260] = (8 * k) % 256
        picture[40:100, 100 + 3 * k * moves : 160 + 3 * k * moves : 6] = 220
        frames.append(picture)
    row = portraits.clip_row(frames)
    track = rows.track("track", row.clip, boxes=[[0.0, 0.0, 260.0, 480.0]] * 32, motion=20.0)
    engine = FacesByMood()
    [done] = FindFaces(engine, engine).process(replace(row, tracks=(track,))).tracks
    refused = PeopleConfig(min_purity=0).check(done, row.clip)
    assert (refused is not None and refused.reason is Reason.STILL_PICTURE) != moves


@pytest.mark.parametrize(
    ("search_px", "max_images", "says"),
    [(32, 8, r"faces\.search_px .* got 32"), (224, 0, r"faces\.max_images .* got 0")],
)
def test_senseless_settings_are_refused(search_px, max_images, says):
    from pipeline.observing.faces import FacesConfig

    with pytest.raises(ValueError, match=says):
        FacesConfig(search_px, max_images)


def observed(path):
    """Return the clips of a real video after tracks and faces, in time order."""
    from dataclasses import make_dataclass

    from pipeline.dataset.units import VideoPart
    from pipeline.media.limits import ProbeConfig
    from pipeline.media.probe import probe
    from pipeline.observing.clips import ClipsConfig, cut_video
    from pipeline.observing.shots import ShotsConfig
    from schemas.tables import Video

    config = make_dataclass("Config", ["probe", "shots", "clips"])(
        ProbeConfig(), ShotsConfig(), ClipsConfig(min_s=1.0)
    )
    video = probe(str(path), path.name, config.probe)
    assert isinstance(video, Video)
    cut = cut_video(str(path), video, VideoPart(), config)
    stages = [TrackPeople(OpencvPeople()), FindFaces(OpencvFaces(), Appearance())]
    done = []
    for row in cut.clips:
        for stage in stages:
            row = stage.process(row)
        done.append(row)
    return sorted(done, key=lambda row: row.clip.start_s)


@pytest.mark.media
@pytest.mark.slow
def test_two_people_who_come_back_are_two_characters(media):
    clips = observed(media / "videos" / "derived-intercut-two-people.mp4")
    gate = PeopleConfig()
    vectors = {"A": [], "B": []}
    for row in clips:
        middle = (row.clip.start_s + row.clip.end_s) / 2
        kept = [track for track in row.tracks if gate.check(track, row.clip) is None]
        if 10 < middle < 12:
            assert kept == []  # the puppy
            continue
        [track] = kept
        person = "A" if middle < 3 or 5.4 < middle < 7.4 or middle > 12 else "B"
        [embedding] = [e for e in row.embeddings if e.track_id == track.track_id]
        vectors[person].append(np.array(embedding.vector))
    a, b = np.array(vectors["A"]), np.array(vectors["B"])
    assert len(a) >= 2
    assert len(b) >= 2
    windows = Appearance().windows
    assert (a @ a.T).min() >= windows.same_video
    assert (b @ b.T).min() >= windows.same_video
    assert (a @ b.T).max() < windows.reference_floor


@pytest.mark.media
@pytest.mark.parametrize(
    "name",
    [
        "intel-asl-book.mkv",
        pytest.param("lp-driving-d12.mp4", marks=pytest.mark.slow),
        pytest.param("lp-source-s32.mp4", marks=pytest.mark.slow),
    ],
)
def test_the_main_person_of_a_real_video_passes_the_gate(media, name):
    row = observed(media / "videos" / name)[0]
    [track] = [t for t in row.tracks if PeopleConfig().check(t, row.clip) is None]
    assert track.coverage > 0.9
    assert track.face_rate > 0.5  # a signing hand hides the face now and then; the gate asks 0.2
    assert row.clip.num_people == 1


@pytest.mark.media
@pytest.mark.slow
@pytest.mark.parametrize("name", ["tc-dog_eating_854132.mp4", "psd-testvideo.mp4"])
def test_no_track_of_a_video_without_people_passes_the_gate(media, name):
    for row in observed(media / "videos" / name):
        assert not [t for t in row.tracks if PeopleConfig().check(t, row.clip) is None]
        assert row.clip.num_people == 0
