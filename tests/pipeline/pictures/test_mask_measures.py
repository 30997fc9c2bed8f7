"""A mask is judged by itself: what is lost, spilled, torn or off the edges is seen."""

import cv2
import numpy as np
import pytest

from pipeline.pictures.mask_measures import measure_mask

BOX = np.array([50, 20, 190, 300], np.float32)
FACE = np.array([95, 55, 145, 110], np.float32)


def figure() -> tuple[np.ndarray, np.ndarray]:
    """Return a red figure before grey, and its mask."""
    mask = np.zeros((320, 240), np.uint8)
    cv2.ellipse(mask, (120, 75), (40, 52), 0, 0, 360, 255, -1)
    cv2.rectangle(mask, (60, 120), (180, 300), 255, -1)
    picture = np.full((320, 240, 3), 120, np.uint8)
    picture[mask > 0] = (190, 60, 50)
    return picture, mask


def quality(mask: np.ndarray, face: np.ndarray | None = FACE) -> float:
    return measure_mask(figure()[0], mask, BOX, face).quality


def lost_hair(mask: np.ndarray) -> np.ndarray:
    mask[:60] = 0
    return mask


def lost_face(mask: np.ndarray) -> np.ndarray:
    mask[:115] = 0
    return mask


def torn(mask: np.ndarray) -> np.ndarray:
    mask[115:200] = 0
    return mask


def spilled(mask: np.ndarray) -> np.ndarray:
    mask[:, 200:] = 255
    return mask


def moved(mask: np.ndarray) -> np.ndarray:
    return np.roll(mask, 40, axis=1)


def test_a_mask_that_fits_is_good():
    assert quality(figure()[1]) > 0.9


@pytest.mark.parametrize("spoil", [lost_hair, lost_face, torn, spilled, moved])
def test_a_spoiled_mask_is_worse(spoil):
    assert quality(spoil(figure()[1].copy())) < 0.75


def test_nothing_and_everything_are_no_masks():
    _, mask = figure()
    assert quality(np.zeros_like(mask)) == 0
    assert quality(np.full_like(mask, 255)) < 0.5
    few = np.zeros_like(mask)
    few[200:206, 100:106] = 255
    assert quality(few, face=None) == 0
