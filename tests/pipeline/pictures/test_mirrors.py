"""Padding by reflection is found in a picture, and a plain picture is left alone."""

import cv2
import numpy as np
import pytest

from pipeline.pairing.augment import AugmentRecipe, move_of
from pipeline.pictures.mirrors import mirrored_share


def scene(seed: int = 0, height: int = 300, width: int = 260) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (height // 10, width // 10, 3))
    return cv2.resize(noise.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("sides", [(0, 45, 0, 0), (40, 0, 0, 0), (0, 0, 38, 0), (0, 0, 0, 38)])
def test_a_mirrored_rim_is_found_at_every_side(sides):
    top, bottom, left, right = sides
    padded = cv2.copyMakeBorder(scene(), top, bottom, left, right, cv2.BORDER_REFLECT_101)
    assert mirrored_share(padded) > 0.5
    plain = cv2.copyMakeBorder(
        scene(), top, bottom, left, right, cv2.BORDER_CONSTANT, value=(90, 90, 90)
    )
    assert mirrored_share(plain) == 0


def test_a_picture_that_was_turned_is_turned_back_by_its_recipe():
    picture = scene(1)
    size = picture.shape[1::-1]
    warp = move_of(AugmentRecipe(rotation_degrees=9.0, scale=0.8)).matrix(*size)
    turned = cv2.warpPerspective(picture, warp, size, borderMode=cv2.BORDER_REFLECT_101)
    assert mirrored_share(turned, None, warp) > 0.3
    alone = cv2.warpPerspective(picture, warp, size, borderValue=(90, 90, 90))
    assert mirrored_share(alone, None, warp) == 0


@pytest.mark.parametrize("seed", range(5))
def test_scenes_and_plain_grounds_mirror_nothing(seed):
    assert mirrored_share(scene(seed)) == 0
    assert mirrored_share(np.full((200, 150, 3), 30 * seed, np.uint8)) == 0
    gradient = np.linspace(0, 255, 200, dtype=np.uint8)[:, None, None].repeat(150, 1).repeat(3, 2)
    assert mirrored_share(gradient) == 0
