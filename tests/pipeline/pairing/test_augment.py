"""Augmented references: reproducible, recorded, and free of the old background."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from pipeline.pairing.augment import (
    BACKGROUNDS,
    AugmentConfig,
    AugmentRecipe,
    apply_recipe,
    draw_recipe,
    fit_recipe,
    recipe_from_json,
    recipe_to_json,
)
from pipeline.pictures.cutout import cut_out, without_holes
from pipeline.pictures.relight import temperature_gains

GREEN, RED = (20, 200, 30), (200, 50, 40)


def portrait(blend: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """A red oval on green whose colours mix over `blend` pixels at the outline, and its mask."""
    y, x = np.mgrid[0:320, 0:240].astype(float)
    distance = (1 - np.hypot((x - 120) / 70, (y - 160) / 110)) * 85  # about pixels, inside > 0
    part = np.clip(distance / blend + 0.5, 0, 1)[..., None]
    image = part * np.array(RED) + (1 - part) * np.array(GREEN)
    return np.round(image).astype(np.uint8), ((distance > 0) * 255).astype(np.uint8)


def greenness(image: np.ndarray) -> np.ndarray:
    """How much of the old ground shows: green above the larger of red and blue."""
    values = image.astype(int)
    return values[..., 1] - np.maximum(values[..., 0], values[..., 2])


def test_a_recipe_is_a_function_of_the_ids_alone():
    assert draw_recipe("sample", "reference") == draw_recipe("sample", "reference")
    assert draw_recipe("sample", "reference") != draw_recipe("sample", "another")
    assert draw_recipe("sample", "reference") != draw_recipe("another", "reference")


def test_json_is_the_recipe():
    for number in range(20):
        recipe = draw_recipe("sample", str(number))
        assert recipe_from_json(recipe_to_json(recipe)) == recipe
    assert recipe_from_json("") == AugmentRecipe()


def test_applying_a_stored_recipe_again_gives_the_same_pixels():
    image, mask = portrait()
    recipe = draw_recipe("sample", "reference")
    first = apply_recipe(image, mask, recipe)
    second = apply_recipe(image, mask, recipe_from_json(recipe_to_json(recipe)))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_the_empty_recipe_changes_no_pixel():
    image, mask = portrait()
    same, same_mask = apply_recipe(image, mask, AugmentRecipe())
    assert np.array_equal(same, image)
    assert np.array_equal(same_mask, mask)


def test_drawn_values_stay_inside_the_configured_ranges():
    config = AugmentConfig()
    drawn = [draw_recipe("sample", str(number), config) for number in range(500)]
    assert max(abs(row.rotation_degrees) for row in drawn) <= config.rotation_degrees
    assert min(row.scale for row in drawn) >= 2**-config.shrink_octaves - 1e-3
    assert max(row.scale for row in drawn) <= 2**config.grow_octaves + 1e-3
    assert max(abs(row.exposure_ev) for row in drawn) <= config.exposure_ev
    assert {row.jpeg_quality for row in drawn} <= set(range(config.jpeg_quality, 96))
    replaced = sum(row.background != "keep" for row in drawn) / len(drawn)
    assert replaced == pytest.approx(config.background, abs=0.05)  # about 4 sigma
    assert {row.background for row in drawn} == set(BACKGROUNDS)
    assert not any(row.flip for row in drawn)  # text and asymmetry would be mirrored


def test_without_a_mask_the_background_is_kept():
    drawn = [draw_recipe("sample", str(number), has_mask=False) for number in range(50)]
    assert {row.background for row in drawn} == {"keep"}


@pytest.mark.parametrize("blend", [1.0, 4.0, 7.0])
def test_nothing_of_the_old_background_is_left_at_the_edge(blend):
    image, mask = portrait(blend)
    recipe = AugmentRecipe(background="colour", colours=(90, 60, 150, 0, 0, 0))
    changed, _ = apply_recipe(image, mask, recipe)
    assert greenness(image).max() > 150  # the old ground is very green
    assert greenness(changed).max() <= 3  # red, violet and their mixtures are not
    outside = np.all(changed == recipe.colours[:3], axis=2)
    assert outside[mask == 0].all()


def test_the_person_itself_keeps_its_colours():
    image, mask = portrait()
    changed, _ = apply_recipe(image, mask, AugmentRecipe(background="colour"))
    colours, alpha = cut_out(image, mask)
    core = alpha > 0.999
    assert core.mean() > 0.2
    assert np.abs(changed[core].astype(int) - image[core]).max() <= 1
    assert colours[core].mean(axis=0) == pytest.approx(np.array(RED) / 255, abs=0.02)


def test_image_and_mask_move_together():
    image, mask = portrait(blend=1.0)
    recipe = AugmentRecipe(
        rotation_degrees=9.0, scale=0.9, shift_x=0.05, perspective=(0.01, -0.01) * 4, flip=True
    )
    changed, moved = apply_recipe(image, mask, recipe)
    assert set(np.unique(moved)) == {0, 255}
    person = np.abs(changed.astype(int) - RED).sum(axis=2) < 60
    agreement = (person & (moved > 0)).sum() / (person | (moved > 0)).sum()
    assert agreement > 0.97  # the rest is the blended outline
    assert not np.array_equal(moved, mask)


def fitted(number: int, mask: np.ndarray, face=(), **changes) -> AugmentRecipe:
    return fit_recipe(replace(draw_recipe("sample", str(number)), **changes), mask, face)


def test_a_person_inside_the_picture_stays_inside():
    image, mask = portrait()
    for number in range(20):
        recipe = fitted(number, mask, shift_y=-0.3, shift_x=0.2)
        _, moved = apply_recipe(image, mask, recipe)
        assert moved.any()
        assert not moved[0].any()
        assert not moved[:, -1].any()


def test_a_person_cut_off_below_stays_cut_off_below():
    image, mask = portrait()
    image, mask = image[:200], mask[:200]
    recipe = fit_recipe(AugmentRecipe(scale=0.8, shift_y=-0.05, background="colour"), mask, [])
    changed, moved = apply_recipe(image, mask, recipe)
    assert moved[-1].any()
    assert moved.sum() < 0.8 * mask.sum()
    assert greenness(changed)[moved > 0].mean() < 0


CROPS = {  # rows and columns of the portrait: which of its sides cut the person off
    "below": (slice(0, 200), slice(0, 240)),
    "left and below": (slice(0, 200), slice(90, 240)),
    "left and right": (slice(0, 320), slice(80, 160)),
    "on all sides": (slice(90, 230), slice(80, 160)),
}
MOLE = (20, 20, 240)  # a colour that is nowhere else


@pytest.mark.parametrize("crop", CROPS.values(), ids=list(CROPS))
def test_no_part_of_a_person_is_shown_twice_and_no_cut_comes_inside(crop):
    image, mask = portrait(blend=1.0)
    image, mask = (np.ascontiguousarray(each[crop]) for each in (image, mask))
    height, width = mask.shape
    for row, column in ((height - 9, width // 2), (height // 2, 8), (height // 2, width - 9)):
        image[row - 3 : row + 3, column - 3 : column + 3] = MOLE
    cut = [mask[:4].any(), mask[-4:].any(), mask[:, :4].any(), mask[:, -4:].any()]
    for number in range(30):
        recipe = fitted(number, mask, blur=0.0, noise=0.0, jpeg_quality=0, light_ev=0.0)
        changed, moved = apply_recipe(image, mask, recipe)
        blue = changed[..., 2].astype(int) - changed[..., :2].max(axis=2) > 90
        blobs = cv2.connectedComponents((blue & (moved > 0)).astype(np.uint8))[0] - 1
        assert blobs <= 3, recipe
        still = [moved[0].any(), moved[-1].any(), moved[:, 0].any(), moved[:, -1].any()]
        assert still == cut, recipe
        for line, lost in zip((moved[0], moved[-1], moved[:, 0], moved[:, -1]), cut, strict=True):
            assert not lost or line.mean() > 20, recipe  # the cut lies at the side, not a corner


def test_a_background_that_is_kept_uncovers_nothing():
    y, x = np.mgrid[0:200, 0:160]
    image = np.stack([x + 60, y, 0 * x], axis=2).astype(np.uint8)  # no place looks like another
    mask = np.zeros((200, 160), np.uint8)
    mask[60:140, 50:110] = 255
    for number in range(30):
        plain = {"blur": 0.0, "noise": 0.0, "jpeg_quality": 0, "exposure_ev": 0.0}
        recipe = fitted(number, mask, background="keep", light_ev=0.0, **plain)
        changed, _ = apply_recipe(image, mask, replace(recipe, temperature_k=6500.0))
        across = np.diff(changed[..., 0].astype(int), axis=1)
        down = np.diff(changed[..., 1].astype(int), axis=0)
        assert across.min() >= 0, recipe  # mirrored, they would fall
        assert down.min() >= 0, recipe
        assert (changed[:, -1, 0].astype(int) - changed[:, 0, 0]).min() > 100, recipe


def test_a_move_is_recorded_as_it_was_made():
    image, mask = portrait()
    image, mask = image[:200, 80:160], mask[:200, 80:160]
    recipe = fitted(3, mask)
    assert recipe != draw_recipe("sample", "3")  # two opposite sides cut: it cannot shrink
    assert recipe.scale >= 1
    stored = recipe_from_json(recipe_to_json(recipe))
    first, second = apply_recipe(image, mask, recipe), apply_recipe(image, mask, stored)
    assert np.array_equal(first[0], second[0])


def test_moves_stay_strong_where_nobody_is_cut_off():
    _, mask = portrait()
    drawn = [draw_recipe("sample", str(number)) for number in range(100)]
    kept = [fit_recipe(recipe, mask, []) for recipe in drawn]
    turned = np.mean([abs(r.rotation_degrees) for r in kept])
    assert turned > 0.8 * np.mean([abs(r.rotation_degrees) for r in drawn])


def test_small_holes_of_a_mask_are_filled_and_gaps_between_limbs_are_not():
    _, mask = portrait()
    holed = mask.copy()
    holed[150:156, 110:116] = 0
    assert np.array_equal(without_holes(holed) > 0, mask > 0)
    holed[120:180, 100:130] = 0  # an arm akimbo
    assert not without_holes(holed)[150, 115]


def test_a_mask_that_missed_the_face_keeps_the_background():
    _, mask = portrait()
    recipe = AugmentRecipe(background="texture", exposure_ev=0.2)
    assert fit_recipe(recipe, mask, [100.0, 80.0, 140.0, 130.0]) == recipe
    assert fit_recipe(recipe, mask, []) == recipe
    missed = fit_recipe(recipe, mask, [0.0, 0.0, 40.0, 40.0])
    assert missed == replace(recipe, background="keep")


def test_light_comes_from_where_the_recipe_says():
    image, mask = portrait()
    for degrees, axis, sign in ((0, 1, 1), (180, 1, -1), (90, 0, -1), (270, 0, 1)):
        lit, _ = apply_recipe(
            image, mask, AugmentRecipe(light_ev=1.2, light_degrees=float(degrees))
        )
        red = np.where(mask > 0, lit[..., 0].astype(float), np.nan)
        low, high = np.array_split(red, 2, axis=axis)
        assert sign * (np.nanmean(high) - np.nanmean(low)) > 8


def test_exposure_and_temperature_do_what_they_say():
    image, mask = portrait()
    brighter, _ = apply_recipe(image, mask, AugmentRecipe(exposure_ev=0.5))
    assert brighter.mean() > image.mean() + 5
    assert temperature_gains(6500.0) == pytest.approx([1, 1, 1], abs=1e-6)
    warm, cold = temperature_gains(4500.0), temperature_gains(9000.0)
    assert warm[0] > 1 > warm[2]
    assert cold[0] < 1 < cold[2]
    for gains in (warm, cold):
        assert gains @ [0.2126, 0.7152, 0.0722] == pytest.approx(1, abs=1e-6)


def test_every_parameter_changes_the_picture():
    image, mask = portrait()
    values = {
        "rotation_degrees": 5.0, "scale": 0.9, "shift_x": 0.1, "shift_y": 0.1,
        "perspective": (0.05, 0.0) * 4, "flip": True, "exposure_ev": 0.3,
        "temperature_k": 5000.0, "light_ev": 1.0, "background": "gradient", "blur": 0.9,
        "noise": 0.01, "jpeg_quality": 70,
    }  # fmt: skip
    image = image.copy()
    image[100:120, 100:110] = 255  # not symmetric
    for name, value in values.items():
        changed, _ = apply_recipe(image, mask, replace(AugmentRecipe(), **{name: value}))
        assert not np.array_equal(changed, image), name
    modifiers = {"light_degrees", "colours", "seed"}  # of light, background and noise
    assert values.keys() | modifiers == {field.name for field in fields(AugmentRecipe)}


def test_sizes_must_agree():
    image, mask = portrait()
    with pytest.raises(ValueError, match=r"\(320, 240\).*\(10, 240\)"):
        apply_recipe(image, mask[:10], AugmentRecipe(exposure_ev=1.0))


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"pair\.augment\.flip must be from 0 to 1, got 2"):
        AugmentConfig(flip=2.0)
    with pytest.raises(ValueError, match="exposure_ev must be from 0 to 8 stops, got -1"):
        AugmentConfig(exposure_ev=-1.0)
    with pytest.raises(ValueError, match="sunset"):
        AugmentRecipe(background="sunset")
