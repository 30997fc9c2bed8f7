"""Hair is called dark or blond where the picture shows it, and nothing else is said."""

import numpy as np
import pytest

from pipeline.engines.interfaces import PersonImage
from pipeline.observing.hair import hair_colour

FACE = np.array([80, 90, 160, 190], np.float32)
BOX = np.array([60, 40, 180, 300], np.float32)
DARK, BLOND, CAP, GREY = (40, 30, 25), (190, 155, 100), (225, 225, 235), (140, 138, 135)


def portrait(hair: tuple[int, int, int], skin=(205, 160, 135)) -> tuple[PersonImage, np.ndarray]:
    """Return a head before a white wall, and the mask."""
    picture, mask = np.full((300, 240, 3), 235, np.uint8), np.zeros((300, 240), np.uint8)
    picture[50:95, 65:175], picture[95:190, 80:160] = hair, skin
    mask[50:300, 65:175] = 255
    return PersonImage(picture, BOX, FACE), mask


def named(*heads: tuple[PersonImage, np.ndarray]) -> str:
    return hair_colour([person for person, _ in heads], [mask for _, mask in heads])


@pytest.mark.parametrize(
    ("hair", "name"), [(DARK, "dark"), (BLOND, "blond"), (CAP, ""), (GREY, "")]
)
def test_hair_is_named_where_it_is_sure(hair, name):
    assert named(portrait(hair), portrait(hair)) == name


def test_grey_hair_in_warm_light_is_not_blond():
    """Measured: hair (17, 62, 175) and skin (13, 87, 233), in hue, saturation and value."""
    grey_in_warm_light, lit_skin = (175, 156, 132), (233, 188, 154)
    assert named(*[portrait(grey_in_warm_light, skin=lit_skin)] * 2) == ""
    assert named(*[portrait((175, 140, 90), skin=lit_skin)] * 2) == "blond"


def test_pictures_that_differ_name_nothing():
    assert named(portrait(DARK), portrait(BLOND)) == ""


def test_in_the_dark_all_hair_is_dark_and_none_is_named():
    assert named(portrait(BLOND, skin=(60, 45, 40)), portrait(DARK, skin=(60, 45, 40))) == ""


def test_a_wall_above_the_forehead_is_no_hair():
    person, mask = portrait(DARK)
    mask[:92] = 0
    assert named((person, mask), (person, mask)) == ""


def test_a_head_that_is_cut_off_or_small_says_nothing():
    person, mask = portrait(DARK)
    cut = PersonImage(person.picture[88:], BOX - 88, FACE - np.array([0, 88, 0, 88], np.float32))
    assert named((cut, mask[88:]), (cut, mask[88:])) == ""
    tiny = PersonImage(person.picture, BOX, np.array([110, 90, 130, 115], np.float32))
    assert named((tiny, mask), (tiny, mask)) == ""
