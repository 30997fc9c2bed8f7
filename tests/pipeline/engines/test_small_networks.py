"""Small permissive networks: who somebody is, and who is cut out, without a hub."""

import cv2
import numpy as np
import portraits
import pytest
from production import engine, six_people, weights_root

from pipeline.engines.identity.dlib_face import as_cosines, model_files
from pipeline.engines.identity.dlib_network import SIDE, face_model
from pipeline.engines.interfaces import PersonImage
from pipeline.engines.onnx_session import open_session
from pipeline.observing.tracks import PeopleConfig
from pipeline.pictures.boxes import inside, iou

FACE = np.array([180, 65, 275, 190], np.float32)  # of the portrait
BODY = np.array([100, 0, 400, 512], np.float32)
POINTS = np.full((5, 2), np.nan, np.float32)  # the detector knows none
FIVE = np.array([(203, 104), (248, 104), (224, 128), (204, 143), (243, 144)], np.float32)


def person(picture, face=FACE, box=BODY):
    return PersonImage(picture, box, face, POINTS)


@pytest.fixture(scope="module")
def astronaut():
    pytest.importorskip("skimage")
    return portraits.portrait()


@pytest.fixture
def weights(monkeypatch):
    root = weights_root()
    if root is None:
        pytest.skip("test weights absent: set CONTEXTANYONE_MODELS to the folder that has them")
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(root))


@pytest.mark.parametrize(("height", "width"), [(512, 960), (960, 512)])
def test_somebody_is_found_where_he_is_in_wide_and_in_tall_pictures(
    weights, astronaut, height, width
):
    picture = np.full((height, width, 3), 200, np.uint8)
    place = np.array([width - 512, height - 512] * 2, np.float32)
    picture[height - 512 :, width - 512 :] = astronaut
    alone, found = (engine("people", "yolox").detect([each])[0] for each in (astronaut, picture))
    assert float(iou(alone.boxes[:1] + place, found.boxes[:1])[0, 0]) > 0.8


def test_distances_of_dlib_become_cosines_of_a_gaussian():
    random = np.random.default_rng(1)
    for length in (0.1, 0.3, 0.5, 0.8):
        step = random.standard_normal(128)
        first = 0.12 * random.standard_normal(128)
        second = first + length * step / np.linalg.norm(step)
        cosine = float(as_cosines(first) @ as_cosines(second))
        assert cosine == pytest.approx(np.exp(-(length**2) / 0.32), abs=0.1)
        assert np.linalg.norm(as_cosines(first)) == pytest.approx(1)


def test_the_network_gives_the_vectors_that_dlib_itself_gives(astronaut):
    dlib = pytest.importorskip("dlib")
    path, _ = model_files()
    itself, ours = dlib.face_recognition_model_v1(str(path)), open_session(face_model(path))
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    faces = np.stack([cv2.resize(astronaut[65:190, 165:290], (SIDE, SIDE)), noise])
    [vectors] = ours.run(None, {"faces": faces.transpose(0, 3, 1, 2).astype(np.float32)})
    theirs = np.stack([np.array(itself.compute_face_descriptor(face)) for face in faces])
    assert np.allclose(vectors, theirs, atol=1e-5)


def test_a_face_is_the_same_in_other_light_size_and_clothes(astronaut):
    pytest.importorskip("dlib")
    recogniser = engine("recogniser", "dlib_appearance")
    half = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    dark = (0.6 * astronaut).astype(np.uint8)
    dressed = astronaut.copy()
    dressed[230:] = portraits.recoloured(astronaut)[230:]
    people = [
        person(astronaut),
        person(half, *(np.float32(0.5) * box for box in (FACE, BODY))),
        person(dark),
        person(dressed),
    ]
    vectors = recogniser.embed(people)
    assert (vectors[1:] @ vectors[0] >= recogniser.windows.cross_video).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_without_a_face_that_can_be_known_clothes_decide_and_prove_nothing(astronaut):
    pytest.importorskip("dlib")
    recogniser = engine("recogniser", "dlib_appearance")
    tiny = np.array([200, 100, 220, 122], np.float32)
    for shown in (PersonImage(astronaut, BODY), person(astronaut, tiny)):
        [vector] = recogniser.embed([shown])
        face, body = (np.linalg.norm(space.block(vector)) for space in recogniser.spaces)
        assert face == 0
        assert body == pytest.approx(1, abs=1e-5)
    assert not recogniser.spaces[1].windows.prove


def test_a_face_is_itself_tilted_and_mirrored_and_decides_nothing_where_it_must_not(astronaut):
    pytest.importorskip("dlib")
    recogniser = engine("recogniser", "dlib")
    turn = cv2.getRotationMatrix2D((224, 125), 25, 1)
    tilted = cv2.warpAffine(astronaut, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    other_side = (np.array([511, 0]) + np.array([-1, 1]) * FIVE)[[1, 0, 2, 4, 3]]
    straight = PersonImage(astronaut, BODY, FACE, FIVE)
    people = [
        straight,
        PersonImage(tilted, BODY, FACE, FIVE @ turn[:, :2].T + turn[:, 2]),
        PersonImage(mirrored, BODY, FACE, other_side),
    ]
    own, *others = recogniser.embed(people)
    assert [float(own @ other) for other in others] == pytest.approx([1, 1], abs=0.03)
    assert not recogniser.embed([straight.undecided()]).any()
    assert np.allclose(recogniser.embed_turned([straight.undecided()]), own, atol=1e-6)


def test_matting_keeps_hair_that_has_the_colour_of_nothing_else(astronaut):
    pytest.importorskip("pymatting")
    picture = portraits.placed(100, 100, 380)
    face, box = ((box * 380 / 512 + 100).astype(np.float32) for box in (FACE, BODY))
    [mask] = engine("masks", "matting").segment([person(picture, face, box)])
    assert mask.shape == picture.shape[:2]
    assert set(np.unique(mask)) == {0, 255}
    x0, y0, x1, y1 = np.round(face).astype(int)
    hair = mask[y0 - 14 : y0, x0 + 20 : x1 - 10]  # between the face and the crown
    assert (hair > 0).mean() > 0.9
    assert (mask[y0:y1, x0:x1] > 0).mean() > 0.9
    assert not mask[:, :60].any()


def test_every_person_of_six_gets_a_mask_around_the_own_face(weights):
    picture = six_people()
    [people], [faces] = (
        engine(*e).detect([picture]) for e in (("people", "yolox"), ("faces", "yunet"))
    )
    owner = inside(faces.boxes, people.boxes).argmax(axis=1)
    images = [
        PersonImage(picture, people.boxes[k], face)
        for k, face in zip(owner, faces.boxes, strict=True)
    ]
    for image, mask in zip(images, engine("masks", "selfie").segment(images), strict=True):
        assert image.face is not None
        x0, y0, x1, y1 = np.round(image.face).astype(int)
        assert (mask[y0:y1, x0:x1] > 0).mean() > 0.85
        a, b, c, d = np.round(image.box).astype(int)
        assert (mask[b:d, a:c] > 0).mean() > 0.4
        assert (mask > 0).sum() < 1.3 * (c - a) * (d - b)


def test_a_network_is_believed_without_a_face_and_cascades_are_not(weights):
    weak = PeopleConfig().weak_detectors
    assert not engine("people", "yolox").info.id.startswith(weak)
    assert engine("people", "opencv").info.id.startswith(weak)
