"""Two experts share the noise levels: each is trained on its own, and both make a video."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from distributed import Team
from PIL import Image
from tiny_bases import write_wan
from tiny_dataset import write_dataset
from tiny_model import tiny_model, tiny_pipeline
from training_command import arguments, metrics, run_main

from trainer import generate
from trainer.data.batch import LatentBatch
from trainer.export import export
from trainer.flow import FlowConfig, draw, held_out_sigmas
from trainer.sampling.model_folder import read_published
from trainer.sampling.pipeline import ContextAnyonePipeline
from trainer.sampling.sampler import Conditions, LowNoise, Part, SamplingConfig, sample
from trainer.train_config import ModelConfig

BOUNDARY = 0.875


@pytest.mark.parametrize("sigmas", ["uniform", "logit_normal"])
def test_an_expert_draws_its_own_levels_and_both_draw_as_one_model_would(sigmas):
    flow = FlowConfig(sigmas=sigmas, shift=5.0)
    nothing = torch.zeros(2, 1, 1, 1, 1)
    batch = LatentBatch(0, (0, 1), ("a", "b"), nothing, nothing, nothing, nothing)

    def drawn(levels: tuple[float, float]) -> torch.Tensor:
        steps = (replace(batch, step=step) for step in range(700))
        return torch.cat([draw(each, flow, 0, levels).sigma for each in steps])

    whole, high, low = drawn((0, 1)), drawn((BOUNDARY, 1)), drawn((0, BOUNDARY))
    assert high.min() >= BOUNDARY
    assert low.max() <= BOUNDARY
    for part, same in ((high, whole[whole >= BOUNDARY]), (low, whole[whole < BOUNDARY])):
        for share in (0.1, 0.5, 0.9):
            spread = (part.max() - part.min()).item()
            assert part.quantile(share).item() == pytest.approx(
                same.quantile(share).item(), abs=0.06 * spread
            )


def test_held_out_levels_lie_within_those_of_the_expert():
    assert held_out_sigmas() == tuple(step / 10 for step in range(1, 10))
    high = held_out_sigmas(ModelConfig(expert="high").levels)
    assert (len(high), high[0], high[-1]) == (9, 0.8875, 0.9875)
    assert held_out_sigmas(ModelConfig(expert="low").levels)[-1] < BOUNDARY


class Recorder:
    """A model that notes at which levels it is asked, and by which text."""

    config = SimpleNamespace(reference_noise="clean", reconstruction="clean")
    dtype, uncacheable_settings = torch.float32, ()

    def __init__(self, towards: float) -> None:
        self.towards, self.seen = towards, []

    def __call__(self, latents: torch.Tensor, timestep: torch.Tensor, text: Any, **_: Any) -> Any:
        sigma = timestep[0].item() / 1000
        self.seen.append(round(sigma, 4))
        return SimpleNamespace(sample=(latents - self.towards) / sigma)


def text_only() -> Conditions:
    return Conditions(torch.ones(1, 1, 4), torch.zeros(1, 1, 4))


def test_each_expert_is_asked_on_its_side_of_the_boundary():
    high, low = Recorder(5.0), Recorder(2.0)
    config = SamplingConfig(steps=20, shift=12.0, guidance="none")
    joint = SamplingConfig(steps=3, guidance="joint", text_guidance=3.0)
    made = sample(
        *(high, text_only(), (1, 1, 1, 2, 2), config),
        generator=torch.Generator().manual_seed(0),
        low_noise=LowNoise(low, BOUNDARY, joint),
    )
    assert min(high.seen) >= BOUNDARY > max(low.seen)
    assert len(high.seen) + len(low.seen) / 2 == 20  # joint guidance is two passes a step
    torch.testing.assert_close(made, torch.full_like(made, 2.0), atol=1e-4, rtol=0)


def test_a_part_ends_with_the_clean_video_that_is_seen_there():
    clean = torch.full((1, 1, 1, 2, 2), 7.0)
    config = SamplingConfig(steps=20, shift=12.0, guidance="none")
    for levels in ((BOUNDARY, 1.0), (0.0, BOUNDARY)):
        model = Recorder(3.0)
        made = sample(
            *(model, text_only(), (1, 1, 1, 2, 2), config),
            generator=torch.Generator().manual_seed(0),
            part=Part(levels, clean),
        )
        assert all(levels[0] <= sigma <= levels[1] for sigma in model.seen)
        torch.testing.assert_close(made, torch.full_like(made, 3.0), atol=1e-4, rtol=0)
    assert Part((0.99, 1.0), clean).steps([0.9, 0.5]) == range(1)


def test_two_experts_of_the_same_weights_are_one_model(tmp_path):
    whole = tiny_pipeline()
    both = replace(whole.published, expert="both", low_sampling=whole.published.sampling)
    second = tiny_model(image_dim=32)
    pair = ContextAnyonePipeline(whole.transformer, whole.encoders, both, second)
    picture = Image.new("RGB", (40, 60), "red")
    one, two = (made("a", picture, output_type="latent").frames for made in (whole, pair))
    assert torch.equal(one, two)
    pair.save_pretrained(tmp_path)
    loaded = ContextAnyonePipeline.from_pretrained(tmp_path)
    assert loaded.published == both
    assert torch.equal(loaded("a", picture, output_type="latent").frames, two)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), size=(96, 64), frames=9)


def train(one: Team, data: Path, run: Path, code: int = 0, **changes: Any) -> str:
    [outcome] = one.run(run_main, arguments(data, run, train__micro_batch=4, **changes))
    assert outcome.code == code, outcome.errors
    return outcome.errors


@pytest.fixture(scope="module")
def runs(one, data, tmp_path_factory) -> dict[str, Path]:
    """Two steps of each expert, with a stop after the first."""
    root = tmp_path_factory.mktemp("experts")
    base = write_wan(root / "base", ("transformer", "transformer_2"))
    index = {"_class_name": "WanPipeline", "boundary_ratio": BOUNDARY}
    index["transformer_2"] = ["diffusers", "WanTransformer3DModel"]
    (base / "model_index.json").write_text(json.dumps(index))
    for expert in ("high", "low"):
        for steps in (1, 2):
            settings = {"model__expert": expert, "encoders__codec": "wan", "encoders__path": base}
            settings |= {"train__steps": steps, "validation__sampling__steps": 4}
            train(one, data, root / expert, model__pretrained=base, **settings)
    return {"base": base, "high": root / "high", "low": root / "low"}


def generated(monkeypatch, output: Path, *words: Any) -> dict[str, Any]:
    picture = output.with_suffix(".png")
    Image.new("RGB", (32, 32), "red").save(picture)
    words = (*words, "--reference", picture, "--prompt", "a", "--steps", 4, "--output", output)
    monkeypatch.setattr(sys, "argv", ["generate.py", *map(str, words)])
    assert generate.main() == 0
    return json.loads(output.with_suffix(".json").read_text())


def test_experts_train_go_on_export_and_generate_together(runs, tmp_path, monkeypatch):
    for expert, inside in (("high", "0.8875"), ("low", "0.0875")):
        assert [line["step"] for line in metrics(runs[expert]) if "loss/total" in line] == [1, 2]
        assert any(f"validation/loss_sigma_{inside}" in line for line in metrics(runs[expert]))
        assert list((runs[expert] / "validation" / "step-00000002").glob("*.jpg"))
        export(runs[expert], tmp_path / expert)
    export(runs["high"], tmp_path / "both", low=runs["low"])
    apart = ("--model", tmp_path / "high", "--low", tmp_path / "low")
    first = generated(monkeypatch, tmp_path / "apart.mp4", *apart)
    second = generated(monkeypatch, tmp_path / "both.mp4", "--model", tmp_path / "both")
    assert (tmp_path / "apart.mp4").read_bytes() == (tmp_path / "both.mp4").read_bytes()
    assert first["low_digest"] == second["low_digest"] != first["model_digest"]
    assert second["boundary"] == BOUNDARY
    made_by = read_published(tmp_path / "both").made_by
    assert made_by is not None
    assert made_by["low"]["base"] == str(runs["base"])


def test_experts_that_do_not_belong_together_are_refused(runs, tmp_path, monkeypatch, capsys):
    for expert in ("high", "low"):
        export(runs[expert], tmp_path / expert)
    with pytest.raises(ValueError, match="the one for low ones is needed as well"):
        ContextAnyonePipeline.from_pretrained(tmp_path / "high")
    with pytest.raises(ValueError, match="got low and high"):
        ContextAnyonePipeline.from_pretrained(tmp_path / "low", low=tmp_path / "high")
    with pytest.raises(ValueError, match="got low and high"):
        export(runs["low"], tmp_path / "both", low=runs["high"])
    assert not (tmp_path / "both").exists()
    index = tmp_path / "low" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"boundary_ratio": 0.9}))
    with pytest.raises(ValueError, match=r"boundary 0\.875 and 0\.9"):
        ContextAnyonePipeline.from_pretrained(tmp_path / "high", low=tmp_path / "low")


def test_the_wrong_half_of_a_base_is_refused(one, data, runs, tmp_path):
    settings = {"encoders__codec": "wan", "encoders__path": runs["base"]}
    whole = {"model__pretrained": runs["base"], **settings}
    said = train(one, data, tmp_path / "run", code=2, **whole)
    assert "made for high noise levels, and model.expert=none trains on all" in said
    half = {"model__pretrained": runs["base"] / "transformer_2", "model__expert": "high"}
    assert "model.expert=low" in train(one, data, tmp_path / "run", code=2, **half, **settings)
    other = {"model__expert": "low", "model__boundary": 0.9}
    assert "set model.boundary=0.875" in train(
        one, data, tmp_path / "run", code=2, **whole, **other
    )
    said = train(*(one, data, runs["high"]), code=2, train__steps=3, **whole, model__expert="low")
    assert "model.expert" in said
