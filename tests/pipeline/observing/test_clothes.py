"""A garment's colour is the person's, and is said only when every image says it."""

import cv2
import numpy as np

from pipeline.engines.interfaces import PersonImage
from pipeline.observing.clothes import garment_colour

RED, BLUE, GREEN, SKIN = (190, 30, 30), (30, 40, 170), (30, 150, 40), (220, 180, 150)
BOX = np.array([60, 20, 180, 500], np.float32)
FACE = np.array([96, 40, 144, 100], np.float32)


def standing(top=RED, bottom=BLUE) -> tuple[PersonImage, np.ndarray]:
    """Return somebody before a green wall, and the mask."""
    picture = np.full((520, 240, 3), GREEN, np.uint8)
    mask = np.zeros((520, 240), np.uint8)
    for colour, left, up, right, down in (
        (SKIN, 90, 30, 150, 110), (top, 70, 110, 170, 290), (bottom, 76, 290, 164, 495),
    ):  # fmt: skip
        picture[up:down, left:right] = colour
        mask[up:down, left:right] = 255
    return PersonImage(picture, BOX, FACE), mask


def named(part: str, *people: tuple[PersonImage, np.ndarray]) -> str:
    return garment_colour(part, [person for person, _ in people], [mask for _, mask in people])


def test_what_all_images_show_is_named():
    assert named("top", standing(), standing()) == "red"
    assert named("bottom", standing(), standing()) == "blue"


def test_images_that_differ_name_nothing():
    assert named("top", standing(), standing(top=BLUE)) == ""
    assert named("bottom", standing(), standing(top=BLUE)) == "blue"


def test_stripes_of_black_and_white_are_no_grey_top():
    striped = standing(top=(20, 20, 22))
    for line in range(110, 290, 10):
        striped[0].picture[line : line + 2, 70:170] = (225, 225, 228)
        striped[0].picture[line + 2 : line + 6, 70:170] = (120, 121, 124)
    assert named("top", striped, striped) == ""
    plain = standing(top=(120, 121, 124))
    assert named("top", plain, plain) == "grey"


def test_a_subtitle_is_no_garment():
    lettered = []
    for person, mask in (standing(bottom=(20, 20, 20)), standing(bottom=(20, 20, 20))):
        for line in range(5):
            place = (40, 300 + 22 * line)
            cv2.putText(person.picture, "he said so HE SAID", place, 0, 0.6, (235, 220, 40), 4)
        lettered.append((person, mask))
    assert named("bottom", *lettered) != "yellow"


def test_a_mask_that_missed_the_garment_names_nothing():
    person, mask = standing()
    wall = mask.copy()
    wall[110:290] = 0  # the wall's green would be the colour of the top
    assert named("top", (person, wall), (person, wall)) == ""
    assert named("top", (person, np.full_like(mask, 255)), (person, np.full_like(mask, 255))) == ""


def test_without_a_face_no_colour_of_hair_or_skin_is_named_and_black_in_good_light_only():
    for colour, name in ((RED, "red"), ((150, 90, 50), "")):  # hair may hang over what is brown
        person, mask = standing(top=colour)
        person.picture[mask == 0] = (170, 190, 175)  # a light wall
        faceless = PersonImage(person.picture, BOX)
        assert named("top", (faceless, mask), (faceless, mask)) == name
    person, mask = standing(top=(14, 12, 15))
    person.picture[mask == 0] = (170, 190, 175)  # a light wall
    faceless = PersonImage(person.picture, BOX)
    assert named("top", (faceless, mask), (faceless, mask)) == "black"
    night = PersonImage((person.picture * 0.4).astype(np.uint8), BOX)
    assert named("top", (night, mask), (night, mask)) == ""


def test_a_colour_between_grey_and_blue_is_not_named():
    lilac_grey = standing(top=(118, 135, 170))
    assert named("top", lilac_grey, lilac_grey) == ""
    assert named("top", standing(top=(57, 120, 193)), standing(top=(57, 120, 193))) == "blue"


def test_bare_shoulders_are_no_beige_top():
    bare = standing(top=SKIN)
    assert named("top", bare, bare) == ""
    assert named("bottom", bare, bare) == "blue"


def portrait(top=RED, hair_down_to=100) -> tuple[PersonImage, np.ndarray]:
    """Return a head and what the picture still shows of the shoulders."""
    picture, mask = np.full((300, 300, 3), GREEN, np.uint8), np.zeros((300, 300), np.uint8)
    face = np.array([90, 60, 210, 215], np.float32)
    for colour, left, up, right, down in (
        ((25, 20, 18), 60, 20, 240, hair_down_to), (SKIN, 90, 60, 210, 215),
        (SKIN, 120, 215, 180, 245), (top, 20, 240, 280, 300),
    ):  # fmt: skip
        picture[up:down, left:right] = colour
        mask[up:down, left:right] = 255
    return PersonImage(picture, np.array([20, 20, 280, 300], np.float32), face), mask


def test_a_portrait_has_the_colour_of_its_shoulders():
    assert named("top", portrait(), portrait()) == "red"
    assert named("top", portrait(top=(20, 20, 22)), portrait(top=(20, 20, 22))) == "black"


def test_long_hair_over_the_shoulders_is_no_black_top():
    long_hair = portrait(top=(25, 20, 18), hair_down_to=260)
    assert named("top", long_hair, long_hair) == ""


def test_bare_shoulders_under_a_second_lamp_are_no_pink_top():
    """The lamp also falls on a quarter of the face."""
    lamp = (228, 172, 176)
    person, mask = portrait(top=lamp)
    assert named("top", (person, mask), (person, mask)) == "pink"
    person.picture[60:215, 172:210] = lamp
    assert named("top", (person, mask), (person, mask)) == ""
    pullover = portrait(top=(235, 90, 150))
    pullover[0].picture[60:215, 172:210] = lamp
    assert named("top", pullover, pullover) == "pink"


def test_cream_in_the_shade_is_no_grey_top():
    cream = portrait(top=(165, 160, 150))
    assert named("top", cream, cream) == ""


def test_from_behind_legs_below_a_coat_are_no_dark_bottoms():
    person, mask = standing(bottom=(20, 20, 22))
    assert named("bottom", (person, mask), (person, mask)) == "black"
    person.picture[mask == 0] = (170, 190, 175)  # a light wall
    faceless = PersonImage(person.picture, BOX)
    assert named("bottom", (faceless, mask), (faceless, mask)) == ""
