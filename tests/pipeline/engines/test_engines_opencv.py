"""The embedded engines: right on what they were made for, silent on everything else."""

import pickle
from itertools import permutations

import cv2
import numpy as np
import portraits
import pytest

from pipeline.engines.faces.opencv_faces import OpencvFaces
from pipeline.engines.identity.appearance import Appearance
from pipeline.engines.identity.colours import colour_name, most_named
from pipeline.engines.identity.regions import regions_of
from pipeline.engines.interfaces import PersonImage
from pipeline.engines.masks.grabcut import GrabCut
from pipeline.engines.people.opencv_people import OpencvPeople
from pipeline.engines.people.optical_flow import follow
from pipeline.engines.people.tracker import BoxSource, Look, Tracker
from pipeline.media.images import decode_image
from pipeline.pictures.boxes import area, inside, iou, padded_crop, suppress

FACE = np.array([170, 65, 285, 180], np.float32)  # of the astronaut, by eye


@pytest.fixture(scope="module")
def astronaut():
    pytest.importorskip("skimage")
    return portraits.portrait()


# --- boxes ------------------------------------------------------------------------------------


def random_boxes(seed, number=40):
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 80, (number, 2))
    return np.concatenate([corners, corners + random.uniform(1, 40, (number, 2))], 1).astype("f4")


def test_overlaps_agree_with_counting_pixels():
    boxes = np.round(random_boxes(0, 12))
    canvas = np.zeros((12, 130, 130), bool)
    for k, (x0, y0, x1, y1) in enumerate(boxes.astype(int)):
        canvas[k, y0:y1, x0:x1] = True
    for a in range(12):
        for b in range(12):
            shared, either = (canvas[a] & canvas[b]).sum(), (canvas[a] | canvas[b]).sum()
            assert iou(boxes, boxes)[a, b] == pytest.approx(shared / either, abs=1e-5)
            assert inside(boxes, boxes)[a, b] == pytest.approx(shared / canvas[a].sum(), abs=1e-5)


def test_suppression_keeps_the_best_and_does_not_depend_on_order():
    boxes, scores = random_boxes(1), np.random.default_rng(2).uniform(0, 1, 40)
    kept = suppress(boxes, scores, 0.5)
    assert kept[0] == scores.argmax()
    for a in kept:
        for b in kept:
            if a != b:
                smaller = min(area(boxes[a]), area(boxes[b]))
                assert inside(boxes[[a]], boxes[[b]])[0, 0] * area(boxes[a]) <= 0.501 * smaller
    order = np.random.default_rng(3).permutation(40)
    again = [order[k] for k in suppress(boxes[order], scores[order], 0.5)]
    assert again == kept


def test_a_crop_beyond_the_edge_repeats_the_edge():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, :20] = 200
    crop = padded_crop(picture, np.array([-20, 0, 20, 40]), (40, 40))
    assert crop.shape == (40, 40, 3)
    assert crop[:, :38].min() == 200


def test_a_box_that_leaves_the_picture_on_the_right_is_shrunk_in_proportion():
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[:, 300:320] = 255
    crop = padded_crop(picture, np.array([200, 0, 600, 400]), (100, 100))
    assert crop[50, 26].min() == 255  # a quarter of the way, not half of it
    assert not crop[50, 50].any()


# --- faces and people --------------------------------------------------------------------------


def test_a_face_is_found_once_with_its_eyes(astronaut):
    [faces] = OpencvFaces().detect([astronaut])
    assert len(faces.boxes) == 1
    assert iou(faces.boxes, FACE[None])[0, 0] > 0.6
    assert 0.5 < faces.scores[0] <= 1
    assert faces.yaw[0] == 0
    eyes = faces.landmarks[0, :2]
    assert np.isfinite(eyes).all()
    assert eyes[0, 0] < eyes[1, 0]
    assert ((eyes > FACE[:2]) & (eyes < FACE[2:])).all()


@pytest.mark.parametrize("size", [256, 512, 900])
def test_a_face_is_found_at_every_size(astronaut, size):
    picture = cv2.resize(astronaut, (size, size))
    [faces] = OpencvFaces().detect([picture])
    assert len(faces.boxes) == 1
    assert iou(faces.boxes, FACE[None] * size / 512)[0, 0] > 0.5


def test_a_face_is_found_in_black_and_white(astronaut):
    grey = np.repeat(cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    [faces] = OpencvFaces().detect([grey])
    assert iou(faces.boxes, FACE[None]).max() > 0.6


def pictures_without_people():
    random = np.random.default_rng(0)
    stripes = np.tile((np.arange(640) // 20 % 2 * 255).astype(np.uint8), (480, 1))
    ramp = np.tile(np.linspace(0, 255, 640).astype(np.uint8), (480, 1))
    skin = np.full((480, 640, 3), (205, 160, 135), np.uint8)
    noise = random.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    return {
        "stripes": np.repeat(stripes[..., None], 3, 2),
        "ramp": np.repeat(ramp[..., None], 3, 2),
        "plain skin": skin,
        "noise": noise,
        "noisy skin": np.clip(skin + random.normal(0, 12, skin.shape), 0, 255).astype(np.uint8),
        "black": np.zeros((480, 640, 3), np.uint8),
        "wall": portraits.ground(),
    }


@pytest.mark.parametrize("name", sorted(pictures_without_people()))
def test_nobody_is_found_where_nobody_is(name):
    picture = pictures_without_people()[name]
    [people] = OpencvPeople().detect([picture])
    assert len(people.boxes) == 0


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_nobody_is_found_in_photographs_of_things(name):
    data = pytest.importorskip("skimage.data")
    [people] = OpencvPeople().detect([getattr(data, name)()])
    assert len(people.boxes) == 0


@pytest.mark.slow
@pytest.mark.media
def test_nobody_is_found_in_animals_and_drawings(media):
    pictures = [decode_image((media / "images" / "lp-s40.jpg").read_bytes())]
    for name in ("sam2-blackswan.mp4", "tc-dog_eating_854132.mp4"):
        capture = cv2.VideoCapture(str(media / "videos" / name))
        for k in range(300):
            read, frame = capture.read()
            if read and k % 50 == 0:
                pictures.append(np.ascontiguousarray(frame[..., ::-1]))
    assert len(pictures) == 8
    for people in OpencvPeople().detect(pictures):
        assert not (people.scores >= 0.5).any()  # 0.5: confirmed by a face


def test_a_face_makes_a_person_down_to_the_pictures_edge(astronaut):
    [people] = OpencvPeople().detect([astronaut])
    assert len(people.boxes) == 1
    box = people.boxes[0]
    assert people.scores[0] > 0.5
    assert inside(FACE[None], box[None])[0, 0] == pytest.approx(1, abs=0.02)
    assert box[3] >= 505
    assert (box >= 0).all()
    assert (box <= 512).all()


def test_two_people_side_by_side_are_two(astronaut):
    pair = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    [people] = OpencvPeople().detect([pair])
    assert len(people.boxes) == 2
    centres = sorted((people.boxes[:, 0] + people.boxes[:, 2]) / 2)
    assert centres[0] < 512 < centres[1]


def test_detecting_twice_gives_the_same_bytes(astronaut):
    first, second = (OpencvPeople().detect([astronaut, astronaut[::2, ::2]]) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.boxes.tobytes() == other.boxes.tobytes()
        assert one.scores.tobytes() == other.scores.tobytes()


@pytest.mark.parametrize("engine", [OpencvPeople, OpencvFaces, Appearance, GrabCut])
def test_engines_travel_to_workers_and_name_their_licence(engine):
    engine = pickle.loads(pickle.dumps(engine()))
    assert engine.info.commercial
    assert "Apache-2.0" in engine.info.licence
    assert "/" in engine.info.id


# --- following ---------------------------------------------------------------------------------


def textured(seed=0, height=240, width=320):
    noise = np.random.default_rng(seed).normal(0, 1, (height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(smooth, smooth, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def test_flow_follows_a_known_shift():
    before = textured()
    after = np.roll(before, (3, 5), axis=(0, 1))
    box = np.array([100, 60, 180, 200], np.float32)
    moved = follow(before, after, box)
    assert moved is not None
    assert np.abs(moved - box - [5, 3, 5, 3]).max() < 0.5


def test_flow_says_when_it_is_lost():
    box = np.array([100, 60, 180, 200], np.float32)
    assert follow(textured(0), textured(1), box) is None


def looks_of(paths, signatures, greys=None, missing=()):
    """Turn {person: box per look} into looks; `missing` are (person, look) not detected."""
    grey = np.zeros((240, 320), np.uint8)
    looks = []
    for k in range(len(paths[0])):
        seen = [p for p in range(len(paths)) if (p, k) not in missing]
        order = seen if k % 2 else seen[::-1]  # the detector's order means nothing
        looks.append(
            Look(
                frame_index=4 * k,
                boxes=np.array([paths[p][k] for p in order], np.float32).reshape(-1, 4),
                scores=np.full(len(order), 0.9, np.float32),
                signatures=np.array([signatures[p] for p in order], np.float32),
                grey=grey if greys is None else greys[k],
                scale=1.0,
            )
        )
    return looks


def crossing(number=15):
    """Return two people who walk through each other."""
    left = [[10 + 16 * k, 60, 60 + 16 * k, 200] for k in range(number)]
    right = [[260 - 16 * k, 64, 310 - 16 * k, 204] for k in range(number)]
    return left, right


def test_people_who_cross_keep_their_tracks():
    left, right = crossing()
    paths = Tracker(min_iou=0.2).track(looks_of([left, right], np.eye(2)))
    assert len(paths) == 2
    assert np.allclose(paths[0].boxes, left, atol=1)
    assert np.allclose(paths[1].boxes, right, atol=1)


def test_links_agree_with_trying_every_assignment():
    random = np.random.default_rng(5)
    walks = []
    for person in range(4):
        start, step = np.array([20 + 70 * person, 60]), random.uniform(-5, 5, 2)
        corners = [start + step * k + random.normal(0, 2, 2) for k in range(12)]
        walks.append([[x, y, x + 60, y + 120] for x, y in corners])
    looks = looks_of(walks, np.full((4, 3), 3**-0.5))
    paths = Tracker().track(looks)
    assert len(paths) == 4
    for k in range(1, len(looks)):
        overlap = iou(looks[k - 1].boxes, looks[k].boxes)
        best = max(permutations(range(4)), key=lambda p: sum(overlap[i, p[i]] for i in range(4)))
        for path in paths:
            before = np.abs(looks[k - 1].boxes[:, 0] - path.boxes[k - 1][0]).argmin()
            after = np.abs(looks[k].boxes[:, 0] - path.boxes[k][0]).argmin()
            assert best[before] == after


def test_a_missed_look_is_bridged_on_the_line_and_marked():
    left, right = crossing(9)
    paths = Tracker().track(looks_of([left, right], np.eye(2), missing={(0, 2), (0, 6)}))
    path = paths[0]
    assert [k for k, s in enumerate(path.sources) if s is not BoxSource.DETECTED] == [2, 6]
    assert np.allclose(path.boxes, left, atol=1)


def test_flow_carries_a_box_where_the_detector_is_blind():
    scene, number = textured(3, 240, 640), 10
    greys = [np.ascontiguousarray(scene[:, 8 * k : 8 * k + 320]) for k in range(number)]
    boxes = [[200 - 8 * k, 60, 260 - 8 * k, 200] for k in range(number)]
    missing = {(0, k) for k in (0, 1, 4, 5, 6, 8, 9)}
    [path] = Tracker().track(looks_of([boxes], np.eye(1), greys, missing))
    assert path.looks == list(range(number))
    assert path.sources.count(BoxSource.DETECTED) == 3
    assert np.abs(np.array(path.boxes) - boxes).max() < 2


def test_other_clothes_in_the_same_place_begin_another_track():
    box = [[100, 60, 160, 200]] * 6
    looks = looks_of([box], np.eye(2)[:1])
    stranger = looks_of([box], np.eye(2)[1:])
    paths = Tracker().track([*looks[:3], *stranger[3:]])
    assert len(paths) == 2


# --- recognising -------------------------------------------------------------------------------


def person_image(picture, size=512):
    return PersonImage(picture, np.array([60, 10, 460, 512]) * size / 512, FACE * size / 512)


def test_vectors_have_unit_length_and_repeat(astronaut):
    people = [person_image(astronaut), person_image(portraits.recoloured(astronaut))]
    first, second = Appearance().embed(people), Appearance().embed(people)
    assert first.dtype == np.float32
    assert np.linalg.norm(first, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert first.tobytes() == second.tobytes()


def test_scale_and_light_change_less_than_other_colours(astronaut):
    smaller = cv2.resize(astronaut, (300, 300), interpolation=cv2.INTER_AREA)
    darker = (astronaut * 0.85).astype(np.uint8)
    other = portraits.recoloured(astronaut)
    vectors = Appearance().embed(
        [
            person_image(astronaut),
            person_image(smaller, 300),
            person_image(darker),
            person_image(other),
        ]
    )
    same, dark, strange = vectors[1:] @ vectors[0]
    windows = Appearance().windows
    assert same > windows.same_video
    assert dark > windows.reference_floor
    assert strange < windows.reference_floor


def test_without_a_face_clothes_are_compared(astronaut):
    blind = PersonImage(astronaut, np.array([60, 10, 460, 512]))
    vectors = Appearance().embed([blind, PersonImage(np.zeros_like(astronaut), blind.box)])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert set(regions_of(blind)) == {"top"}


# --- cutting out -------------------------------------------------------------------------------


def painted_person():
    """Return (picture, mask, box, face) of a figure in a red coat and dark trousers on grass."""
    random = np.random.default_rng(0)
    shape = (400, 300)
    mask = np.zeros(shape, np.uint8)
    cv2.circle(mask, (150, 62), 26, 1, -1)
    cv2.rectangle(mask, (142, 84), (158, 100), 1, -1)
    cv2.rectangle(mask, (105, 98), (195, 220), 1, -1)
    cv2.rectangle(mask, (115, 220), (185, 370), 1, -1)
    picture = np.empty((*shape, 3), np.float32)
    picture[:] = (70, 150, 60)
    colours = np.zeros((*shape, 3), np.float32)
    colours[:98], colours[98:220], colours[220:] = (220, 175, 150), (190, 40, 40), (40, 40, 90)
    picture[mask > 0] = colours[mask > 0]
    picture += random.normal(0, 10, picture.shape)
    box = np.array([103, 34, 197, 372], np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8), mask, box, np.array([128, 40, 172, 84])


@pytest.mark.parametrize("with_face", [True, False])
def test_the_mask_covers_the_person_and_little_else(with_face):
    picture, truth, box, face = painted_person()
    [mask] = GrabCut().segment([PersonImage(picture, box, face if with_face else None)])
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 255}
    found = mask > 0
    overlap = (found & (truth > 0)).sum() / (found | (truth > 0)).sum()
    assert overlap > 0.9


def test_a_hopeless_picture_gives_the_plain_shape_of_a_person():
    flat = np.full((400, 300, 3), 128, np.uint8)
    _, _, box, face = painted_person()
    [cut] = GrabCut().cut_out([PersonImage(flat, box, face)])
    assert cut.trust == 0
    x0, y0, x1, y1 = box.astype(int)
    assert 0.3 < (cut.mask[y0:y1, x0:x1] > 0).mean() < 0.99
    assert cut.mask[62, 150] == 255
    assert cut.mask[5, 5] == 0


def test_a_cut_is_trusted_where_colours_decide_and_less_in_noise():
    picture, _, box, face = painted_person()
    noise = np.random.default_rng(5).integers(0, 255, picture.shape, np.uint8)
    clear, unclear = GrabCut().cut_out([PersonImage(each, box, face) for each in (picture, noise)])
    assert unclear.trust < 0.5 < 0.9 < clear.trust


def test_cutting_twice_gives_the_same_bytes(astronaut):
    people = [person_image(astronaut)]
    first, second = (GrabCut().segment(people)[0] for _ in range(2))
    assert first.tobytes() == second.tobytes()


# --- colours -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((15, 15, 18), "black"),
        ((245, 245, 242), "white"),
        ((128, 130, 127), "grey"),
        ((200, 20, 30), "red"),
        ((240, 130, 20), "orange"),
        ((235, 215, 40), "yellow"),
        ((149, 95, 6), "yellow"),
        ((40, 150, 50), "green"),
        ((20, 140, 140), "teal"),
        ((40, 80, 190), "blue"),
        ((45, 60, 100), "blue"),  # jeans
        ((110, 40, 150), "purple"),
        ((240, 130, 170), "pink"),
        ((100, 60, 30), "brown"),
        ((215, 190, 155), "beige"),
    ],
)
def test_painted_cloth_is_named_as_people_name_it(rgb, name):
    folds = np.random.default_rng(0).normal(0, 6, (60, 60, 1))
    cloth = np.clip(np.array(rgb) + folds, 0, 255).astype(np.uint8)
    assert colour_name(cloth, np.array([0, 0, 60, 60])) == name


def test_a_pattern_of_many_colours_has_no_name():
    random = np.random.default_rng(0).integers(0, 256, (15, 15, 3), dtype=np.uint8)
    cloth = cv2.resize(random, (60, 60), interpolation=cv2.INTER_NEAREST)
    assert colour_name(cloth, np.array([0, 0, 60, 60])) == ""


def test_only_the_person_is_named():
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[:, :40], picture[:, 40:] = (40, 150, 50), (200, 20, 30)
    mask = np.zeros((60, 60), np.uint8)
    mask[:, 40:] = 255
    assert colour_name(picture, np.array([0, 0, 60, 60])) == "green"
    assert colour_name(picture, np.array([0, 0, 60, 60]), mask) == "red"


def test_a_garment_is_named_by_most_images_or_not_at_all():
    assert most_named(["red", "", "red", "blue"]) == "red"
    assert most_named(["red", "blue"]) == ""
    assert most_named(["", ""]) == ""
