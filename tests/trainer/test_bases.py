"""Published bases: their weights find their places, and a training goes on from each of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from distributed import Team
from PIL import Image
from tiny_bases import write_ti2v
from tiny_dataset import write_dataset
from training_command import arguments, metrics, run_main

from trainer.export import export
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.sampling.pipeline import ContextAnyonePipeline

# Source: diffusers' scripts/convert_wan_to_diffusers.py, which wrote the published config.json.
WAN_14B = {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}
PUBLISHED: dict[str, dict[str, Any]] = {
    "wan-1.3b": {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    "wan-14b": WAN_14B,
    "wan2.2-a14b": WAN_14B,  # each of its experts
    "wan2.2-ti2v-5b": {
        "num_attention_heads": 24,
        "ffn_dim": 14336,
        "num_layers": 30,
        "in_channels": 48,
        "out_channels": 48,
    },
}
PARAMETERS = {
    "wan-1.3b": 1_418_996_800,
    "wan-14b": 14_288_491_584,
    "wan2.2-a14b": 14_288_491_584,
    "wan2.2-ti2v-5b": 4_999_787_712,
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_every_published_weight_has_its_place_in_the_preset(preset):
    from trainer.train import parse

    words = ["--preset", preset, "--data", "d", "--output", "r"]
    fields = parse(words).model.fields()
    with torch.device("meta"):
        base = WanTransformer3DModel(**PUBLISHED[preset])
        ours = ContextAnyoneTransformer3DModel(**fields)
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    theirs = {name: value.shape for name, value in base.state_dict().items()}
    assert sum(shape.numel() for shape in theirs.values()) == PARAMETERS[preset]
    assert all(shapes[name] == shape for name, shape in theirs.items())
    assert set(shapes) - set(theirs) == ours.new_parameter_names()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), size=(128, 64), frames=9)


def train(one: Team, data: Path, run: Path, code: int = 0, **changes: Any) -> str:
    words = arguments(data, run, **{"train__micro_batch": 4, **changes})
    [outcome] = one.run(run_main, words)
    assert outcome.code == code, outcome.errors
    return outcome.errors


def test_ti2v_trains_goes_on_exports_and_generates(one, data, tmp_path):
    base, run = write_ti2v(tmp_path / "base"), tmp_path / "run"
    settings: dict[str, Any] = {
        "model__pretrained": base,
        "model__channels": 48,
        "model__reconstruction": "other",
        "encoders__codec": "wan2.2",
        "encoders__path": base,
        "data__buckets": "[32x64x5]",
        "flow__subject_weight": 1.0,
    }
    train(one, data, run, train__steps=1, **settings)
    assert "going on after step 1" in train(one, data, run, train__steps=2, **settings)
    assert [line["step"] for line in metrics(run) if "loss/total" in line] == [1, 2]
    export(run, tmp_path / "model")
    pipeline = ContextAnyonePipeline.from_pretrained(tmp_path / "model")
    assert pipeline.transformer.config["in_channels"] == 48
    picture = Image.new("RGB", (64, 32), "red")
    made = pipeline("a", picture, num_inference_steps=1, output_type="latent").frames
    assert made.shape == (1, 48, 2, 2, 4)
    assert pipeline("a", picture, num_inference_steps=1).frames.shape == (1, 5, 32, 64, 3)
    with pytest.raises(ValueError, match="height must be a multiple of 32"):
        pipeline("a", picture, height=48)
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    assert index["trained_sizes"] == ["32x64x5"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"encoders__codec": "wan2.2", "data__buckets": "[32x64x5]"},
            "model.channels must be those of the codec wan2.2, 48",
        ),
        ({"model__channels": 48}, "model.channels must be those of the codec lapped, 16"),
        (
            {"encoders__codec": "wan2.2", "model__channels": 48, "data__buckets": "[48x64x5]"},
            "data.buckets: height must be a multiple of 32 with this codec, got 48",
        ),
    ],
)
def test_a_codec_that_does_not_fit_is_named(one, data, tmp_path, settings, said):
    assert said in train(one, data, tmp_path, code=2, **settings)


def test_a_base_that_is_none_is_refused_by_name(one, data, tmp_path):
    base = write_ti2v(tmp_path / "base")
    config = base / "transformer" / "config.json"
    fields = json.loads(config.read_text())
    settings = {"model__pretrained": base}
    config.write_text(json.dumps(fields | {"_class_name": "MochiTransformer3DModel"}))
    said = train(one, data, tmp_path / "run", code=2, **settings)
    assert "begin with WanTransformer3DModel" in said
    assert "not with MochiTransformer3DModel" in said
    config.write_text(json.dumps(fields | {"in_channels": 100}))
    said = train(one, data, tmp_path / "run", code=2, **settings)
    assert "it is made for image-to-video" in said


@torch.no_grad()
def test_a_timestep_of_every_token_is_that_of_ti2v():
    """Tokens of a given frame are at 0, those of the rest at the video's timestep."""
    sizes: dict[str, Any] = {
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "ffn_dim": 64,
        "num_layers": 2,
    }
    sizes |= {"text_dim": 32, "freq_dim": 32, "in_channels": 48, "out_channels": 48}
    torch.manual_seed(7)
    wan = WanTransformer3DModel(**sizes).eval()
    model = ContextAnyoneTransformer3DModel(**sizes).eval()
    model.load_state_dict(wan.state_dict(), strict=False)
    timestep = torch.full((2, 3 * 4 * 6), 700.0)
    timestep[:, : 4 * 6] = 0
    inputs = {
        "hidden_states": torch.randn(2, 48, 3, 8, 12),
        "timestep": timestep,
        "encoder_hidden_states": torch.randn(2, 10, 32),
    }
    assert torch.equal(model(**inputs).sample, wan(**inputs).sample)
    alike = {**inputs, "timestep": torch.full_like(timestep, 700)}
    single = {**inputs, "timestep": torch.full((2,), 700.0)}
    torch.testing.assert_close(model(**alike).sample, model(**single).sample, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="one timestep a video"):
        model(**inputs, rebuilt=torch.randn(2, 48, 1, 8, 12))
