"""What is behind people is named where it is of one colour, and never people themselves."""

import math

import cv2
import numpy as np
import pytest

from pipeline.observing.surroundings import (
    Surroundings,
    common_surroundings,
    measure_surroundings,
)

NOBODY = np.zeros((240, 320), np.uint8)


def wall(colour: tuple[int, int, int]) -> np.ndarray:
    """Return a wall that is lit from the left, with a little noise."""
    light = np.linspace(1.08, 0.92, 320)[None, :, None]
    noise = np.random.default_rng(1).normal(0, 2, (240, 320, 3))
    return np.clip(np.array(colour) * light + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((165, 168, 166), "grey"),
        ((240, 240, 238), "white"),
        ((215, 200, 165), "beige"),
        ((40, 58, 44), "dark green"),
        ((20, 20, 22), "black"),
        ((30, 90, 200), "blue"),
    ],
)
def test_a_plain_wall_has_its_colour(colour, name):
    seen = measure_surroundings(wall(colour), NOBODY)
    assert seen.background_colour == name
    assert seen.background_evenness > 0.95
    assert seen.background_detail < 0.01


def test_a_shelf_has_detail_and_no_colour():
    picture = wall((120, 100, 80))
    for x in range(0, 320, 16):
        for y in range(0, 240, 16):
            colour = (200, 40, 40) if (x + y) % 32 else (30, 60, 160)
            cv2.rectangle(picture, (x, y), (x + 11, y + 11), colour, -1)
    seen = measure_surroundings(picture, NOBODY)
    assert seen.background_colour == ""
    assert seen.background_detail > 0.15


def test_people_are_no_background():
    picture, people = wall((165, 168, 166)), NOBODY.copy()
    picture[60:, 100:220] = (200, 30, 30)
    people[60:, 100:220] = 1
    assert measure_surroundings(picture, people).background_colour == "grey"
    alone = measure_surroundings(picture, np.ones_like(people))
    assert alone.background_colour == ""
    assert math.isnan(alone.background_detail)
    assert alone.chroma > 5  # the light is known all the same


def test_a_film_without_colours_has_no_chroma_and_lamplight_is_warm():
    grey = np.repeat(wall((128, 128, 128))[..., :1], 3, axis=2)
    assert measure_surroundings(grey, NOBODY).chroma < 1
    assert measure_surroundings(wall((210, 140, 60)), NOBODY).warmth > 16


def test_a_clip_has_what_its_pictures_agree_on():
    grey, red = Surroundings("grey", 1.0, 0.0, 0.6), Surroundings("red", 0.9, 0.2, 0.4)
    assert common_surroundings([grey] * 4 + [red]).background_colour == "grey"
    assert common_surroundings([grey, red]).background_colour == ""
    assert common_surroundings([grey, grey, red]).background_brightness == pytest.approx(0.6)
    assert math.isnan(common_surroundings([]).background_detail)
