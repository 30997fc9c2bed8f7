"""Boxes that a user gives say where each character is to be."""

import json

import numpy as np
import pytest

from trainer.sampling.layout import check_boxes, check_layout, read_boxes, track
from trainer.sampling.model_folder import VideoSize

SIZE = VideoSize(height=64, width=96, frames=9)


def test_a_box_stands_still_and_several_move_in_straight_lines():
    assert track([(0, 0.25, 0.5, 1)], SIZE).tolist() == [[0, 16, 48, 64]] * 9
    moving = track([(0, 0, 0.25, 1), (0.5, 0, 0.75, 1), (0.5, 0, 0.75, 0.5)], SIZE)
    assert moving[:, 0].tolist() == [0, 12, 24, 36, 48, 48, 48, 48, 48]
    assert moving[:, 3].tolist() == [64, 64, 64, 64, 64, 56, 48, 40, 32]
    assert moving.dtype == np.float32


@pytest.mark.parametrize(
    ("box", "wrong"),
    [
        ([0, 0, 1], "four numbers"),
        (["a", 0, 1, 1], "four numbers"),
        ([0.5, 0, 0.5, 1], "left < right"),
        ([0, 0, 640, 480], "from 0 to 1"),
        ([float("nan"), 0, 1, 1], "left < right"),
    ],
)
def test_what_is_no_part_of_a_picture_is_refused(box, wrong):
    with pytest.raises(ValueError, match=wrong):
        check_boxes("anna", [box])


def test_boxes_of_all_or_of_none_by_a_model_that_reads_them():
    box = ((0.0, 0.0, 0.5, 1.0),)
    check_layout({}, ["anna", "bob"], 0)
    check_layout({"anna": box, "bob": box}, ["anna", "bob"], 2)
    with pytest.raises(ValueError, match="bob has none"):
        check_layout({"anna": box}, ["anna", "bob"], 2)
    with pytest.raises(ValueError, match="boxes of carl, the characters are anna, bob"):
        check_layout({"carl": box}, ["anna", "bob"], 2)
    with pytest.raises(ValueError, match="trained without marks"):
        check_layout({"anna": box, "bob": box}, ["anna", "bob"], 0)


def test_a_file_of_boxes_is_read_and_a_wrong_one_refused(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"anna": [[0, 0, 0.5, 1], [0.1, 0, 0.6, 1]]}))
    assert read_boxes(path) == {"anna": ((0, 0, 0.5, 1), (0.1, 0, 0.6, 1))}
    path.write_text(json.dumps({"anna": 3}))
    with pytest.raises(ValueError, match="list of boxes"):
        read_boxes(path)
