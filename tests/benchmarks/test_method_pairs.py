"""The world of two persons tells what it should, and its measure knows a swap from a blend."""

import json
from typing import Any

import pytest
import torch

from benchmarks.method import pairs
from benchmarks.method.pair_world import DOES, LAYOUT, PairWorld, draw_pairs

NUMBERS = slice(LAYOUT, None)


def test_the_prompt_says_of_each_figure_what_it_does_in_which_light_and_its_name():
    scenes = draw_pairs(PairWorld(), 16, 0, 0)
    batch = scenes.batch
    assert batch.name is not None
    names = [batch.name, batch.characters[0].name]
    for person in range(2):
        figure = scenes.figures[:, person, 1:].sum(1)  # (B, F, S, W)
        cells = figure.sum((1, 2, 3))
        does = (batch.video[:, LAYOUT - DOES : LAYOUT] * figure[:, None]).sum((2, 3, 4))
        told = batch.text[:, person]
        assert torch.allclose(does / cells[:, None], told[:, 10:14], atol=1e-5)
        assert torch.equal(told[:, :5], scenes.lights[:, person])
        assert torch.equal(told[:, 5:10], names[person][:, 0, 5:10])
        assert not names[person][:, 0, 10:].any()  # a name alone tells nothing else


def test_only_a_mask_or_a_name_is_shared_by_a_reference_and_its_figure():
    for told in ("name", "place", "mask", "nothing"):
        batch = draw_pairs(PairWorld(told=told), 8, 0, 0).batch
        assert batch.name is not None
        assert batch.name.any() == (told == "name")
        assert batch.reference[:, LAYOUT - DOES : LAYOUT].any() == (told == "mask")
        assert batch.text[:, :, 5:10].any() == (told in ("name", "place"))


def test_marks_are_at_the_words_and_the_figure_of_each():
    scenes = draw_pairs(PairWorld(frames=2), 4, 0, 0)
    batch = scenes.batch
    assert batch.mentions is not None
    assert batch.mentions.tolist() == [[[1, 0], [0, 1]]] * 4
    assert batch.boxes is not None
    shown = batch.video[:, 1:LAYOUT].sum(1)
    assert torch.equal(batch.boxes.sum(1) > 0, shown > 0)
    assert not (batch.boxes[:, 0] * batch.boxes[:, 1]).any()


def test_a_right_answer_a_swap_and_a_blend_are_told_apart():
    scenes = draw_pairs(PairWorld(), 64, 0, 0)
    right = scenes.batch.video

    def judged(persons: torch.Tensor) -> dict[str, float]:
        lit = persons + scenes.lights[:, :, None]
        shown = torch.einsum("bpkfyx,bpkn->bnfyx", scenes.figures[:, :, 1:], lit)
        return pairs._judge(torch.cat([right[:, :LAYOUT], shown], 1), scenes)

    perfect = judged(scenes.persons)
    assert perfect["identity"] == pytest.approx(1)
    assert perfect["swaps"] == perfect["assignment_swaps"] == 0
    swapped = judged(scenes.persons.flip(1))
    assert swapped["swaps"] == 1
    assert swapped["assignment_swaps"] == 0  # both are there; the evaluation knows no places
    assert swapped["identity"] < 0
    blended = judged(scenes.persons.mean(1, keepdim=True).expand_as(scenes.persons))
    assert blended["identity"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
def test_a_row_is_trained_and_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "_BASE_STEPS", 1)
    base, row = pairs.train_base(2, 0), pairs.ROWS["name_other"]
    found: dict[str, Any] = pairs.measure_row(pairs.train_row(row, 0, 1, base), row)
    assert set(found) == {"identity", "swaps", "matched", "assignment_swaps"}
    row = pairs.ROWS["marks"]
    marked = pairs.measure_row(pairs.train_row(row, 0, 1, base), row)
    assert {f"{by}{name}" for by in ("", "text_", "boxes_") for name in found} == set(marked)
    assert len({marked[f"{by}identity"] for by in ("", "text_", "boxes_")}) > 1
    for seed in range(2):
        (tmp_path / f"name-{seed}.json").write_text(json.dumps(found))
    (tmp_path / "one-0.json").write_text(json.dumps({"identity": 0.5}))
    text = pairs.table(tmp_path)
    assert pairs.ROWS["one"].label in text
    assert "| names, read by prompt and references | 2 |" in text
