"""The identity world tells the model what it should, and the study measures, resumes and pairs."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.method import run, study, table
from benchmarks.method.rows import Regime, regimes
from benchmarks.method.world import LAYOUT, World, draw_scenes
from trainer.flow import FlowConfig, draw

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wide() -> Regime:
    return replace(regimes()["wide"], steps=2, batch=2, frames=3)


def test_a_video_shows_the_person_in_the_light_of_the_prompt_and_the_reference_in_another():
    scenes = draw_scenes(World(), 64, seed=0, step=0)
    assert torch.equal(scenes.batch.text[:, 0, :5], scenes.light)
    shown = scenes.batch.video[:, LAYOUT:] - scenes.light[:, :, None, None, None]
    torch.testing.assert_close(shown, scenes.numbers[:, LAYOUT:], rtol=0, atol=1e-5)
    apart = (scenes.light - scenes.reference_light).norm(dim=1)
    assert apart.min() > 0


def test_scenes_depend_on_their_numbers_alone():
    first, again = (draw_scenes(World(), 4, 3, 7).batch for _ in range(2))
    other = draw_scenes(World(), 4, 3, 8).batch
    assert torch.equal(first.video, again.video)
    assert not torch.equal(first.video, other.video)


def test_a_reference_of_the_clip_is_its_first_frame():
    batch = draw_scenes(World(origin="clip"), 4, 0, 0).batch
    assert torch.equal(batch.reference[:, :, 0], batch.video[:, :, 0])
    augmented = draw_scenes(World(origin="clip augmented"), 4, 0, 0).batch
    assert not torch.equal(augmented.reference[:, :, 0], augmented.video[:, :, 0])


def test_a_layout_that_is_given_is_without_noise_at_every_sigma(wide):
    row = wide.rows["other"]
    model = study._model(wide, row, 0)
    batch = draw_scenes(World(3), 2, 0, 0).batch
    noising = study.pinned(draw(batch, FlowConfig(), 0), batch, model)
    assert torch.equal(noising.video_noise[:, :LAYOUT], batch.video[:, :LAYOUT])
    assert batch.other is not None
    assert torch.equal(noising.reference_noise[:, :LAYOUT], batch.other[:, :LAYOUT])
    assert not torch.equal(noising.video_noise[:, LAYOUT:], batch.video[:, LAYOUT:])


def test_a_perfect_answer_and_a_copy_are_told_apart():
    scenes = draw_scenes(World(3), 8, 0, 0)
    right = study._identity(scenes.batch.video, scenes)
    assert sum(right["error"]) == 0
    towards = (scenes.reference_light - scenes.light)[:, :, None, None, None]
    copied = scenes.batch.video.clone()
    copied[:, LAYOUT:] += towards
    sums = {name: sum(values) for name, values in study._identity(copied, scenes).items()}
    assert sums["light"] / sums["light_power"] == pytest.approx(1, abs=1e-4)


def test_whose_place_the_first_frame_takes_is_told_apart():
    scenes = draw_scenes(World(), 64, 0, 0)
    told, copied = scenes.batch.video, scenes.batch.video.clone()
    copied[:, :, 0] = scenes.batch.reference[:, :, 0]
    nowhere = told.mean(0, keepdim=True).expand_as(told)
    for shown, follows in (
        (told, (1, 0)),
        (copied, (0, 1)),
        ((told + copied) / 2, (0.5, 0.5)),
        (nowhere, (0, 0)),
    ):
        sums = {name: sum(values) for name, values in study._place(shown, scenes).items()}
        slopes = [sums[name] / sums[f"{name}_power"] for name in ("told", "pull")]
        assert slopes == pytest.approx(follows, abs=1e-3)


@pytest.mark.parametrize("key", ["road_emphasis", "other_clip", "other_two"])
def test_every_kind_of_row_is_trained_and_measured(wide, key):
    base = study.train_base(wide, 0, "cpu")
    measured = study.run_row(wide, wide.rows[key], 0, base, "cpu")
    assert {len(values) for values in measured.values()} == {study.HELD_OUT}
    assert np.isfinite(list(measured.values())).all()


def test_on_one_road_alone_self_attention_reads_no_reference(wide):
    row = wide.rows["road_emphasis"]
    model = study._model(wide, row, 0).eval()
    study._leave_road(model, row)
    batch = draw_scenes(World(3), 2, 0, 0).batch
    given = (batch.video, torch.full((2,), 500.0), batch.text)
    with torch.no_grad():  # emphasis is silent at first, so nothing of the reference is left
        assert torch.equal(model(*given, reference=batch.reference).sample, model(*given).sample)


def _write(folder: Path, key: str, seed: int, error: float) -> None:
    values = {"error": error + 0.01 * seed, "power": 1.0, "sampled_error": error}
    values |= {"light": 0.2, "light_power": 1.0, "first_error": 0.1, "first_power": 1.0}
    values |= {"last_error": 0.2, "last_power": 1.0, "pull": 0.0, "pull_power": 1.0}
    values |= {"told": 1.0, "told_power": 1.0}
    path = run.result_path(folder, ("wide", key, seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({name: [value] * 6 for name, value in values.items()}))


def test_rows_are_compared_with_the_same_seeds(tmp_path, wide):
    for seed in range(3):
        _write(tmp_path, "few_heads", seed, 0.3)
        _write(tmp_path, "no_emphasis", seed, 0.5)
    _write(tmp_path, "few_heads", 3, 0.9)  # without its pair
    text = table.write_report(tmp_path, {"wide": wide})
    [line] = [line for line in text.splitlines() if line.startswith("| without Emphasize")]
    assert "**-0.200 [-0.200, -0.200]**" in line
    assert (tmp_path / "figure.png").stat().st_size > 0


def test_a_difference_of_one_seed_is_not_called_sure(tmp_path, wide):
    _write(tmp_path, "few_heads", 0, 0.3)
    _write(tmp_path, "no_emphasis", 0, 0.5)
    text = table.report(tmp_path, {"wide": wide})
    assert "-0.200 [-0.200, -0.200]" in text
    assert "**-0.200" not in text


def test_seeds_that_an_older_version_measured_less_of_still_count(tmp_path, wide):
    for seed in range(2):
        _write(tmp_path, "few_heads", seed, 0.3)
    path = tmp_path / "rows" / "wide-few_heads-0.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "new": [1.0] * 6}))
    assert "| 2 | 0.695" in table.report(tmp_path, {"wide": wide})


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch, wide):
    for seed in range(2):
        _write(tmp_path, "few_heads", seed, 0.3)
    words = ["run", "--output", str(tmp_path), "--rows", "few_heads", "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(run, "regimes", lambda _large: {"wide": wide})
    assert run.main() == 0
    assert not (tmp_path / "bases").exists()
