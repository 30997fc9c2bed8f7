"""Masks drawn by eye: each belongs to a known person and moment, and agreement is counted right."""

import json

import numpy as np
import pytest
from places import GOLDEN

from benchmarks.masks import boundary_f, fill, overlap
from pipeline.pictures.boxes import iou

PEOPLE = json.loads((GOLDEN / "people_truth.json").read_text())
MASKS = json.loads((GOLDEN / "mask_truth.json").read_text())["masks"]


def square(left: int, top: int, side: int = 40) -> np.ndarray:
    mask = np.zeros((100, 100), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_every_mask_is_of_a_person_at_a_moment_of_the_truth() -> None:
    for each in MASKS:
        frames = PEOPLE["videos"][each["video"]]["frames"]
        people = next(f["people"] for f in frames if f["time_s"] == each["time_s"])
        assert people[each["person"]]["box"] == each["box"], each["person"]


def test_every_mask_fills_the_box_of_its_person() -> None:
    for each in MASKS:
        size = PEOPLE["videos"][each["video"]]
        mask = fill((size["height"], size["width"]), each["polygons"], each["holes"])
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        drawn = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1.0])
        found = float(iou(drawn[None], np.array(each["box"], float)[None])[0, 0])
        assert found > 0.7, (each["person"], drawn, each["box"])  # bags and hair may reach out


def test_half_of_the_people_are_kept_from_tuning() -> None:
    tuned = [each["video"] in PEOPLE["tuned_on"] for each in MASKS]
    assert (len(tuned), sum(tuned)) == (60, 30)


def test_a_mask_moved_by_a_quarter_agrees_in_three_fifths() -> None:
    assert overlap(square(20, 20), square(30, 20)) == pytest.approx(30 / 50)


def test_an_outline_a_pixel_beside_is_the_same_and_one_far_off_is_not() -> None:
    assert boundary_f(square(20, 20), square(21, 20)) == 1
    assert boundary_f(square(20, 20), square(35, 35)) < 0.15


def test_where_the_picture_ends_is_no_outline() -> None:
    cut, whole = square(0, 30), square(0, 30)
    whole[30:70, :5] = False
    assert boundary_f(cut, whole) < 1  # a missing strip at the edge is seen
    assert boundary_f(cut, cut) == 1


def test_a_hole_is_not_the_person() -> None:
    ring = [[10, 10], [50, 10], [50, 50], [10, 50]]
    hole = [[20, 20], [30, 20], [30, 30], [20, 30]]
    mask = fill((60, 60), [ring], [hole])
    assert mask[12, 12]
    assert not mask[25, 25]
