"""A person's mask holds nothing of who stands beside, and engines say how sure they are."""

from collections.abc import Sequence

import numpy as np
import portraits
import pytest
from production import engine, weights_root

from pipeline.engines.interfaces import CutOut, EngineInfo, PersonImage
from pipeline.engines.masks.neighbours import cut_people, without_neighbours, without_others

OWN, BESIDE = np.array([30, 30, 100, 190], np.float32), np.array([80, 30, 150, 190], np.float32)


def person(*others: np.ndarray) -> PersonImage:
    """A red person on the left, a blue one on the right; their boxes overlap by 20 pixels."""
    picture = np.full((200, 180, 3), 200, np.uint8)
    picture[40:180, 35:88] = (200, 30, 30)
    picture[40:180, 88:145] = (30, 30, 200)
    noise = np.random.default_rng(3).integers(0, 12, picture.shape, np.uint8)
    return PersonImage(picture + noise, OWN, others=others)


def everybody() -> np.ndarray:
    mask = np.zeros((200, 180), np.uint8)
    mask[40:180, 35:145] = 255
    return mask


def test_what_lies_in_another_box_alone_is_no_part_of_the_person() -> None:
    mask = everybody()
    kept = without_others(person(BESIDE), mask)
    assert (kept[:, :100] == mask[:, :100]).all()  # where boxes overlap nobody knows
    assert not kept[:, 100:].any()
    assert (without_others(person(), mask) == mask).all()
    assert (without_others(person(OWN + 8), mask) == mask).all()  # a second box of the person


def test_where_boxes_overlap_colours_say_whose_a_pixel_is() -> None:
    kept = without_neighbours(person(BESIDE), everybody()) > 0
    assert kept[45:175, 40:85].mean() > 0.98
    assert kept[45:175, 92:100].mean() < 0.02


def test_a_person_alone_keeps_the_whole_mask() -> None:
    assert (without_neighbours(person(), everybody()) == everybody()).all()


class _Silent:
    info = EngineInfo("silent/1", "segmentation", "none", True)

    def segment(self, people: Sequence[PersonImage]) -> list[np.ndarray]:
        return [everybody() for _ in people]


class _Unsure(_Silent):
    def cut_out(self, people: Sequence[PersonImage]) -> list[CutOut]:
        return [CutOut(mask, 0.3) for mask in self.segment(people)]


def test_an_engine_that_cannot_say_how_sure_it_is_is_believed() -> None:
    [unsure], [silent] = (cut_people(each(), [person(BESIDE)]) for each in (_Unsure, _Silent))
    assert (unsure.trust, silent.trust) == (0.3, 1.0)
    assert not unsure.mask[:, 100:].any()


def test_selfie_masks_trust_a_portrait_and_not_a_wall_of_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("skimage")
    root = weights_root()
    if root is None:
        pytest.skip("test weights absent: set CONTEXTANYONE_MODELS to the folder that has them")
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(root))
    portrait = portraits.portrait()
    noise = np.random.default_rng(1).integers(0, 255, portrait.shape, np.uint8)
    box = np.array([100, 0, 400, 512], np.float32)
    clear, unclear = engine("masks", "selfie").cut_out(
        [PersonImage(portrait, box), PersonImage(noise, box)]
    )
    assert clear.trust > 0.9
    assert unclear.trust < 0.5
