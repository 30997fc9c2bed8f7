"""Detectors and masks from transformers: the library's own classes, tiny and random."""

import numpy as np
import pytest
from tiny_detectors import save_tiny_detector, save_tiny_sam2

from pipeline.engines.interfaces import PersonImage
from pipeline.engines.masks import sam2
from pipeline.engines.model_folders import licence_of
from pipeline.engines.people import detr
from pipeline.engines.registry import engine_class, weights_in_use

pytestmark = pytest.mark.slow
pytest.importorskip("transformers")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("kind", ["rt_detr_v2", "d_fine"])
def test_people_are_the_labelled_boxes_whatever_the_batch(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("CONTEXTANYONE_DEVICE", "cpu")
    monkeypatch.setenv(detr.FOLDER, str(save_tiny_detector(tmp_path / kind, kind)))
    monkeypatch.setattr(detr, "_SCORE", 0.0)  # random weights are sure of nothing
    found = engine_class("people", "detr")()
    pictures = [noise(90, 160, seed) for seed in range(3)]
    together = found.detect(pictures)
    assert any(len(each.boxes) for each in together)
    for picture, people in zip(pictures, together, strict=True):
        [alone] = found.detect([picture])
        assert np.allclose(people.boxes, alone.boxes, atol=0.1)
        assert (np.diff(people.scores) <= 0).all()
        assert (people.boxes >= 0).all()
        assert (people.boxes <= [160, 90, 160, 90]).all()
    [used] = weights_in_use([("people", "detr")]).values()
    assert used == found.info.weights_digest
    assert not found.info.commercial  # a folder of unknown origin


def test_a_model_that_knows_no_people_is_refused():
    with pytest.raises(ValueError, match="none of the model's 1 labels is a person"):
        detr._person_label({0: "dog"})


def test_each_person_gets_a_mask_near_the_own_box(tmp_path, monkeypatch):
    monkeypatch.setenv("CONTEXTANYONE_DEVICE", "cpu")
    monkeypatch.setenv(sam2.FOLDER, str(save_tiny_sam2(tmp_path / "sam2")))
    found = engine_class("masks", "sam2")()
    boxes = [np.array([20, 10, 60, 80], np.float32), np.array([70, 30, 120, 85], np.float32)]
    people = [PersonImage(noise(90, 160), box) for box in boxes]
    masks = found.segment(people)
    for box, mask in zip(boxes, masks, strict=True):
        assert mask.shape == (90, 160)
        assert set(np.unique(mask)) <= {0, 255}
        rows, columns = np.nonzero(mask)
        reach = 0.13 * float((box[2:] - box[:2]).max())
        if len(rows):
            assert columns.min() >= box[0] - reach - 1
            assert rows.max() <= box[3] + reach + 1
    alone = [found.segment([person])[0] for person in people]
    assert all(np.array_equal(one, other) for one, other in zip(masks, alone, strict=True))


def test_licences_are_known_by_name():
    assert licence_of("PekingU/rtdetr_v2_r18vd") == ("Apache-2.0", True)
    assert licence_of("somebody/else") == ("not stated", False)
