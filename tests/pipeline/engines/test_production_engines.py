"""The production engines on real weights: who is found, who is who, and nobody in animals."""

import io
import re
import sys
from subprocess import run

import cv2
import numpy as np
import pytest
from production import engine, frames, image, six_people, weights_root

from pipeline.engines.engines_config import EnginesConfig, engines_preset
from pipeline.engines.faces.landmarks import yaw_of
from pipeline.engines.identity.arcface import alignment
from pipeline.engines.identity.spaces import CARRIED, Space, compare, deciding, join, spaces_of
from pipeline.engines.interfaces import PersonImage, SimilarityWindows
from pipeline.engines.letterbox import letterbox, thin_out
from pipeline.engines.onnx_session import open_session
from pipeline.engines.people.ultralytics_yolo import stability
from pipeline.engines.registry import REGISTRY, load_engine
from pipeline.engines.weights import Found, entry, find
from pipeline.observing.observe_config import ObserveConfig
from pipeline.pictures.boxes import inside, iou

pytestmark = pytest.mark.slow

PEOPLE, FACES = ("ultralytics", "yolox"), ("scrfd", "yunet")


@pytest.fixture(autouse=True, scope="module")
def _weights():
    root = weights_root()
    if root is None:
        pytest.skip("test weights absent: set CONTEXTANYONE_MODELS to the folder that has them")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTEXTANYONE_MODELS", str(root))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def person_of(picture, faces="scrfd"):
    """Return the best person with the best face in it, as the pipeline would hand it on."""
    [people] = engine("people", "yolox").detect([picture])
    [found] = engine("faces", faces).detect([picture])
    return PersonImage(picture, people.boxes[0], found.boxes[0], found.landmarks[0])


# --- people -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PEOPLE)
def test_six_people_are_six_boxes_with_a_face_each(name):
    picture = six_people()
    [people] = engine("people", name).detect([picture])
    [faces] = engine("faces", "scrfd").detect([picture])
    assert len(people.boxes) == 6
    assert len(faces.boxes) == 6
    holds = inside(faces.boxes, people.boxes) > 0.95
    assert holds.any(axis=0).all()
    assert holds.any(axis=1).all()
    assert (np.diff(people.scores) <= 0).all()
    assert people.boxes.dtype == people.scores.dtype == np.float32


@pytest.mark.parametrize("name", PEOPLE)
def test_a_batch_of_unlike_sizes_gives_what_single_pictures_give(name, media):
    pictures = [six_people(), *frames(media, "lp-source-s20.mp4", [10])]
    pictures.append(np.zeros((90, 40, 3), np.uint8))
    together = engine("people", name).detect(pictures)
    for one, picture in zip(together, pictures, strict=True):
        [alone] = engine("people", name).detect([picture])
        assert one.boxes.tobytes() == alone.boxes.tobytes()
        assert one.scores.tobytes() == alone.scores.tobytes()
    assert len(together[2].boxes) == 0
    assert engine("people", name).detect([]) == []


def test_the_library_takes_no_more_threads_than_its_worker_has():
    backend = engine("people", "ultralytics")._yolo.model.predictor.model.backend
    assert backend.session.get_session_options().intra_op_num_threads == 1


def test_threads_do_not_compute_while_they_wait():
    found = open_session(find("yolox_nano").path, gpu=False).get_session_options()
    assert found.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_weights_are_settings_so_that_two_recognisers_never_meet(monkeypatch, tmp_path):
    settings = ObserveConfig(engines=engines_preset("production").observing).identity()
    assert settings["weights"]["recogniser"].startswith(
        f"mobilefacenet_128 {entry('mobilefacenet_128').sha256}"
    )
    assert set(settings["weights"]) == {"people", "faces", "recogniser", "masks"}
    assert "weights" not in ObserveConfig(engines=engines_preset("embedded").observing).identity()
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"engines\.people=ultralytics: weights are missing"):
        ObserveConfig(engines=engines_preset("production").observing).identity()


def test_both_detectors_agree_on_boxes():
    picture = six_people()
    first, second = (engine("people", name).detect([picture])[0].boxes for name in PEOPLE)
    assert (iou(first, second).max(axis=1) > 0.7).all()


@pytest.mark.media
@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize(
    ("video", "indices", "number"),
    [
        ("lp-source-s32.mp4", (20, 120), 1),
        ("sam2-01_dog.mp4", (60, 200), 1),
        ("sam2-05_default_juggle.mp4", (30, 150), 1),
        ("intel-asl-book.mkv", (50,), 1),
        ("sam2-bedroom.mp4", (160,), 2),
    ],
)
def test_people_of_real_videos_are_counted(media, name, video, indices, number):
    for found in engine("people", name).detect(frames(media, video, indices)):
        assert len(found.boxes) == number


@pytest.mark.media
@pytest.mark.parametrize("people", PEOPLE)
@pytest.mark.parametrize("faces", FACES)
def test_nobody_is_seen_in_animals_when_box_and_face_must_agree(media, people, faces):
    pictures = frames(media, "tc-dog_eating_854132.mp4", (57, 115, 230, 287))
    pictures += frames(media, "sam2-blackswan.mp4", (25,))
    pictures += frames(media, "psd-testvideo.mp4", (120, 300))
    pictures.append(image(media / "images" / "lp-s40.jpg"))  # a drawn cat: boxes, but no face
    bodies = engine("people", people).detect(pictures)
    heads = engine("faces", faces).detect(pictures)
    for body, head in zip(bodies, heads, strict=True):
        assert not (inside(head.boxes, body.boxes) > 0.5).any()


@pytest.mark.media
def test_faces_alone_would_take_the_puppy_for_a_person(media):
    puppy = frames(media, "tc-dog_eating_854132.mp4", (230, 287))
    assert any(len(found.boxes) for found in engine("faces", "yunet").detect(puppy))


# --- faces ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FACES)
def test_landmarks_lie_in_their_face_in_order(name):
    [faces] = engine("faces", name).detect([six_people()])
    assert len(faces.boxes) == 6
    corner, size = faces.boxes[:, None, :2], (faces.boxes[:, 2:] - faces.boxes[:, :2])[:, None]
    relative = (faces.landmarks - corner) / size
    assert ((relative > 0) & (relative < 1)).all()
    assert (relative[:, 0, 0] < relative[:, 1, 0]).all()  # left eye, right eye
    assert (relative[:, :2, 1].max(axis=1) < relative[:, 3:, 1].min(axis=1)).all()  # above mouth
    turned = int(np.abs(faces.yaw).argmax())  # the man who stands looks to the picture's left
    assert -65 < faces.yaw[turned] < -40
    assert faces.boxes[turned, 1] == faces.boxes[:, 1].min()


@pytest.mark.media
@pytest.mark.parametrize("name", FACES)
def test_a_face_that_fills_the_picture_is_found(media, name):
    for picture in frames(media, "lp-driving-d3.mp4", (0, 150, 340)):
        for side in (512, 640, 1024):
            [faces] = engine("faces", name).detect([cv2.resize(picture, (side, side))])
            assert len(faces.boxes) == 1
            assert faces.boxes[0, 3] - faces.boxes[0, 1] > 0.6 * side


@pytest.mark.media
def test_without_the_second_look_scrfd_misses_the_large_face(media):
    [picture] = frames(media, "lp-driving-d3.mp4", (150,))
    boxes, _, _ = engine("faces", "scrfd")._search(cv2.resize(picture, (640, 640)), 640, 1.0)
    assert len(boxes) == 0


def test_yaw_follows_a_turned_head_and_ignores_a_tilted_one():
    head = np.array([[-31, -30, 0], [31, -30, 0], [0, 0, 27], [-25, 35, 5], [25, 35, 5]], float)
    for degrees in (-60, -20, 0, 35, 70):
        turn = np.radians(degrees)
        x = head[:, 0] * np.cos(turn) + head[:, 2] * np.sin(turn)
        seen = np.stack([x, head[:, 1]], axis=1)
        tilt = np.array([[0.9, -0.436], [0.436, 0.9]])
        for points in (seen, 3 * seen @ tilt.T + 50):
            assert yaw_of(points[None])[0] == pytest.approx(degrees, abs=3)
    assert np.isnan(yaw_of(np.full((1, 5, 2), np.nan))[0])
    assert yaw_of(np.zeros((0, 5, 2))).shape == (0,)


def network_of_points(path, degrees):
    """Write a network in the form of 1k3d68 that sees a head turned by `degrees` everywhere."""
    from insightface.data import get_object
    from onnx import TensorProto, checker, helper, numpy_helper, save

    head = np.asarray(get_object("meanshape_68.pkl"))
    turn = np.radians(degrees)
    turned = head - head.mean(axis=0)
    turned[:, 0], turned[:, 2] = (
        turned[:, 0] * np.cos(turn) + turned[:, 2] * np.sin(turn),
        turned[:, 2] * np.cos(turn) - turned[:, 0] * np.sin(turn),
    )
    points = np.zeros((1, 1103, 3), np.float32)
    points[0, -68:] = turned
    places = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("data", [1, 3, 192, 192]), ("fc1", [1, 3309]))
    ]
    nodes = [
        helper.make_node("ReduceMean", ["data"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "points"], ["fc1"]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((), np.float32), "zero"),
        numpy_helper.from_array(points.reshape(1, -1), "points"),
    ]
    graph = helper.make_graph(nodes, "pose", places[:1], places[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    save(model, str(path))


@pytest.mark.parametrize("degrees", [-50, 25])
def test_yaw_is_that_of_the_packs_pose_network_where_it_is_asked(tmp_path, monkeypatch, degrees):
    """The network is the library's own class; negative is to the picture's left, as elsewhere."""
    network_of_points(tmp_path / "points.onnx", degrees)
    found = Found(entry("1k3d68"), tmp_path / "points.onnx", "e" * 64)
    monkeypatch.setattr("pipeline.engines.faces.scrfd_pose.find_for", lambda *_: found)
    posed, plain = load_engine("faces", "scrfd_pose"), engine("faces", "scrfd")
    [faces], [expected] = posed.detect([six_people()]), plain.detect([six_people()])
    assert np.array_equal(faces.boxes, expected.boxes)
    assert faces.yaw == pytest.approx([degrees] * 6, abs=0.1)
    assert posed.info.id == "insightface-scrfd_500m_bnkps+1k3d68/1"
    assert posed.info.task == "face_detection"
    assert posed.info.weights_digest not in (plain.info.weights_digest, found.sha256)


def test_a_network_of_other_points_is_no_pose_network(monkeypatch):
    other = Found(entry("1k3d68"), find("mobilefacenet_128").path, "e" * 64)
    monkeypatch.setattr("pipeline.engines.faces.scrfd_pose.find_for", lambda *_: other)
    with pytest.raises(ValueError, match=r"take 1k3d68\.onnx"):
        load_engine("faces", "scrfd_pose")


def test_alignment_is_that_of_insightface():
    face_align = pytest.importorskip("insightface.utils.face_align")
    random = np.random.default_rng(0)
    for _ in range(20):
        points = face_align.arcface_dst * random.uniform(0.5, 4) + random.normal(0, 6, (5, 2))
        with pytest.warns(FutureWarning):
            theirs = face_align.estimate_norm(points)
        assert np.allclose(alignment(points, face_align.arcface_dst), theirs, atol=1e-4)


# --- masks ------------------------------------------------------------------------------------


def test_every_person_gets_an_own_mask_inside_the_own_box():
    picture = six_people()
    [people] = engine("people", "yolox").detect([picture])
    masks = engine("masks", "yolo_seg").segment([PersonImage(picture, b) for b in people.boxes])
    areas = np.array([(mask > 0).mean() for mask in masks])
    assert ((areas > 0.04) & (areas < 0.12)).all()  # of the picture; looked at, they fit
    for box, mask in zip(people.boxes, masks, strict=True):
        assert mask.shape == picture.shape[:2]
        assert set(np.unique(mask)) == {0, 255}
        x0, y0, x1, y1 = box.astype(int)
        assert (mask[y0:y1, x0:x1] > 0).sum() > 0.95 * (mask > 0).sum()
        assert cv2.connectedComponents(mask)[0] == 2
    shared = [((a > 0) & (b > 0)).sum() for i, a in enumerate(masks) for b in masks[:i]]
    assert max(shared) < 0.1 * areas.min() * masks[0].size


def test_a_person_that_is_not_there_gets_no_mask():
    picture = six_people()
    nobody, somebody = engine("masks", "yolo_seg").cut_out(
        [PersonImage(picture, np.array(box)) for box in ([0, 0, 60, 60], [344, 210, 675, 649])]
    )
    assert not nobody.mask.any()
    assert (nobody.trust, somebody.trust > 0.3) == (0, True)


def test_a_mask_of_yolo_is_trusted_as_far_as_a_stricter_threshold_finds_the_same():
    logits = np.full((40, 40), -5.0)
    logits[5:35, 10:30] = 5.0
    box = np.array([8, 3, 32, 37])
    assert stability(logits, box) == 1
    logits[5:35, 20:30] = 0.5  # hardly the person
    assert stability(logits, box) == pytest.approx(0.5)
    assert stability(logits, np.array([0, 0, 20, 40])) == 1


# --- recognising ------------------------------------------------------------------------------

CLIPS = ("lp-driving-d3", "lp-driving-d9", "lp-driving-d10", "lp-driving-d12", "lp-driving-d20")


@pytest.mark.media
def test_windows_part_the_same_from_others(media):
    recogniser = engine("recogniser", "arcface_osnet")
    means = []
    for clip in CLIPS:
        for indices in ((5, 40, 70), (100, 130, 160)):  # as two tracks of one person
            shown = [person_of(picture) for picture in frames(media, f"{clip}.mp4", indices)]
            mean = recogniser.embed(shown).mean(axis=0)
            means.append(mean / np.linalg.norm(mean))
    cosines = np.stack(means) @ np.stack(means).T
    same = np.kron(np.eye(len(CLIPS)), np.ones((2, 2))).astype(bool)
    windows = recogniser.windows
    assert cosines[same].min() > windows.same_video + 0.1
    assert cosines[~same].max() < windows.reference_floor - 0.05
    assert windows.reference_floor < windows.same_video <= windows.cross_video < windows.duplicate


@pytest.mark.media
def test_film_actors_are_matched_to_portraits_of_another_year(media):
    recogniser = engine("recogniser", "arcface_osnet")
    names = ("rose", "jack")
    portraits = [person_of(image(media / "images" / f"movienet-portrait_{n}.jpg")) for n in names]
    known = recogniser.embed(portraits)
    seen = {name: [] for name in names}
    for picture in frames(media, "movienet-test.mp4", (28, 33, 39, 44, 50)):
        [faces] = engine("faces", "scrfd").detect([picture])
        order = np.argsort(faces.boxes[:, 0])
        for name, k in zip(("jack", "rose"), order, strict=True):  # he stands behind her, left
            shown = PersonImage(picture, faces.boxes[k], faces.boxes[k], faces.landmarks[k])
            seen[name].append(recogniser.embed([shown])[0])
    for index, name in enumerate(names):
        mean = np.mean(seen[name], axis=0)
        cosines = known @ (mean / np.linalg.norm(mean))
        assert cosines[index] > recogniser.windows.reference_floor
        assert cosines[1 - index] < 0.2


def test_one_recogniser_keeps_faces_and_bodies_apart(media):
    [picture] = frames(media, "lp-source-s32.mp4", [60])
    whole = person_of(picture)
    bare = PersonImage(picture, whole.box)
    recogniser = engine("recogniser", "arcface_osnet")
    rows = recogniser.embed([whole, bare, whole])
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert list(deciding(rows, recogniser.spaces)) == [0, 1, 0]
    assert abs(rows[0] @ rows[1]) <= CARRIED + 1e-6  # below every window: they do not compare
    assert rows[0] @ rows[2] == pytest.approx(1, abs=1e-5)
    cosines, where = compare(rows[0], rows, recogniser.spaces)
    assert list(where) == [0, 1, 0]
    assert cosines[1] == pytest.approx(1, abs=1e-4)  # the same box: the same body
    body = recogniser.spaces[1].windows
    assert body.cross_video > 1  # clothes never join two videos
    assert not body.prove  # nor two tracks of one, without time and place


def test_a_tiny_or_unmarked_face_is_no_face(media):
    [picture] = frames(media, "lp-source-s32.mp4", [60])
    whole = person_of(picture)
    assert whole.face is not None
    assert whole.landmarks is not None
    scale = 16 / float(whole.face[2] - whole.face[0])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tiny = PersonImage(small, whole.box * scale, whole.face * scale, whole.landmarks * scale)
    eyes_only = whole.landmarks.copy()
    eyes_only[2:] = np.nan
    unmarked = PersonImage(picture, whole.box, whole.face, eyes_only)
    rows = engine("recogniser", "arcface").embed([whole, tiny, unmarked])
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 0, 0], abs=1e-5)


def test_spaces_join_and_compare_as_plain_cosines():
    random = np.random.default_rng(0)
    windows = SimilarityWindows(0.4, 0.4, 0.3, 0.9)
    spaces = (Space("face", 0, 6, windows), Space("body", 6, 14, windows))
    faces, bodies = random.normal(size=(2, 4, 8))
    faces = faces[:, :6] / np.linalg.norm(faces[:, :6], axis=1, keepdims=True)
    bodies /= np.linalg.norm(bodies, axis=1, keepdims=True)
    faces[2:] = 0
    rows = join([faces, bodies])
    assert list(deciding(rows, spaces)) == [0, 0, 1, 1]
    assert rows[0] @ rows[1] == pytest.approx(faces[0] @ faces[1], abs=2e-4)
    assert rows[2] @ rows[3] == pytest.approx(bodies[2] @ bodies[3], abs=1e-6)
    cosines, where = compare(rows[0], rows, spaces)
    assert list(where) == [0, 0, 1, 1]
    expected = [1, faces[0] @ faces[1], bodies[0] @ bodies[2], bodies[0] @ bodies[3]]
    assert cosines == pytest.approx(expected, abs=1e-4)
    nobody = compare(np.zeros(14, np.float32), rows, spaces)
    assert np.isnan(nobody[0]).all()
    assert (nobody[1] == -1).all()
    assert join([np.zeros((0, 6)), np.zeros((0, 8))]).shape == (0, 14)


def test_recognisers_of_one_space_are_one_space():
    recogniser = load_engine("recogniser", "appearance")
    [space] = spaces_of(recogniser)
    rows = np.eye(3, dtype=np.float32)
    assert space.block(rows).shape == (3, 3)
    assert space.windows == recogniser.windows


def test_sface_reads_five_points_and_any_network_of_its_form(media, monkeypatch):
    stand_in = find("mobilefacenet_128")  # SFace's own weights are not among the test weights
    found = Found(entry("sface_2021dec"), stand_in.path, stand_in.sha256)
    monkeypatch.setattr("pipeline.engines.identity.sface.find_for", lambda *_: found)
    from pipeline.engines.identity.sface import SFace

    recogniser = SFace()
    [picture] = frames(media, "lp-source-s32.mp4", [60])
    whole = person_of(picture, "yunet")
    rows = recogniser.embed([whole, whole, PersonImage(picture, whole.box)])
    assert rows[0] @ rows[1] == pytest.approx(1, abs=1e-5)
    assert not rows[2].any()
    assert recogniser.info.commercial


# --- choosing ---------------------------------------------------------------------------------


def test_presets_name_engines_that_exist():
    for name in ("embedded", "production", "permissive"):
        chosen = engines_preset(name)
        assert chosen.chosen
        for task, named in chosen.chosen:
            assert named in REGISTRY[task]
    assert engines_preset("auto").observing == EnginesConfig()
    with pytest.raises(ValueError, match="auto, embedded, production, permissive"):
        engines_preset("fast")


def test_a_face_network_needs_a_detector_with_five_points():
    with pytest.raises(
        ValueError, match=r"observe.engines.faces to one of scrfd, scrfd_pose, yunet"
    ):
        EnginesConfig(faces="opencv", recogniser="arcface_osnet")


def test_heavy_libraries_stay_out_until_an_engine_is_built():
    code = (
        "import sys; import pipeline.engines.people.ultralytics_yolo, pipeline.engines.faces.scrfd,"
        "pipeline.engines.identity.arcface, pipeline.engines.identity.osnet,"
        "pipeline.engines.people.yolox, pipeline.engines.identity.face_and_body,"
        "pipeline.engines.identity.sface, pipeline.engines.faces.yunet;"
        "heavy = {'torch', 'ultralytics', 'insightface', 'onnxruntime', 'dlib', 'numba'};"
        "heavy &= set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0


def test_ultralytics_neither_installs_nor_phones_home():
    import ultralytics  # noqa: F401  # as somebody else may have done before
    from PIL import Image

    engine("people", "ultralytics")
    from ultralytics.utils import checks, events

    with pytest.raises(Image.UnidentifiedImageError):  # it would ask for another library
        Image.open(io.BytesIO(b"no picture"))
    assert not vars(checks)["AUTOINSTALL"]
    assert not events.events.enabled


@pytest.mark.parametrize(
    ("task", "name"),
    [("people", n) for n in PEOPLE]
    + [("faces", n) for n in FACES]
    + [("recogniser", "arcface_osnet"), ("recogniser", "arcface"), ("masks", "yolo_seg")],
)
def test_every_engine_says_who_it_is(task, name):
    info = engine(task, name).info
    assert len(info.weights_digest) == 64
    assert re.search(r"/\d+$", info.id)
    assert info.licence


# --- boxes ------------------------------------------------------------------------------------


def test_a_letterbox_leads_back_to_the_picture():
    picture = np.zeros((300, 500, 3), np.uint8)
    fitted = letterbox(picture, 416)
    box = np.array([[100, 50, 400, 290]], np.float32)
    assert np.allclose(fitted.back(box * fitted.scale), box, atol=1e-3)
    assert (fitted.square[300:] == 114).all()
    assert letterbox(picture, 640, enlarge=False).scale == 1


def test_thinning_keeps_who_stands_before_somebody():
    boxes = np.array([[0, 0, 100, 300], [30, 100, 90, 300], [2, 2, 101, 299]], np.float32)
    assert thin_out(boxes, np.array([0.9, 0.8, 0.7]), 0.6) == [0, 1]
    assert thin_out(boxes[:0], np.zeros(0), 0.6) == []
