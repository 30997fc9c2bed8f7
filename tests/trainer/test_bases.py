"""Published bases: their weights find their places, and a training goes on from each of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2Transformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from distributed import Team
from PIL import Image
from tiny_bases import TRANSFORMER, write_ti2v, write_wan
from tiny_dataset import write_dataset
from training_command import arguments, metrics, run_main

from trainer.export import export
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.sampling.pipeline import ContextAnyonePipeline

# Source: diffusers scripts convert_{wan,skyreelsv2}_to_diffusers.py, which wrote the configs.
WAN_14B = {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}
PUBLISHED: dict[str, dict[str, Any]] = {
    "wan-1.3b": {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    "wan-14b": WAN_14B,
    "wan2.2-a14b": WAN_14B,  # each of its experts
    "skyreels-v2-14b": WAN_14B,
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
    "skyreels-v2-14b": 14_288_491_584,
    "wan2.2-ti2v-5b": 4_999_787_712,
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_every_published_weight_has_its_place_in_the_preset(preset):
    from trainer.train import parse

    words = ["--preset", preset, "--data", "d", "--output", "r"]
    fields = parse(words).model.fields()
    with torch.device("meta"):
        theirs = SkyReelsV2Transformer3DModel if "skyreels" in preset else WanTransformer3DModel
        base: Any = theirs(**PUBLISHED[preset])
        ours = ContextAnyoneTransformer3DModel(**fields)
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    theirs = {name: value.shape for name, value in base.state_dict().items()}
    assert sum(shape.numel() for shape in theirs.values()) == PARAMETERS[preset]
    assert all(shapes[name] == shape for name, shape in theirs.items())
    assert set(shapes) - set(theirs) == ours.new_parameter_names()


@pytest.mark.parametrize("preset", [*PUBLISHED, "wan-1.3b-lora"])
def test_presets_rebuild_another_picture_at_the_weight_that_was_measured_best(preset):
    from trainer.train import parse

    parsed = parse(["--preset", preset, "--data", "d", "--output", "r"])
    assert (parsed.model.reconstruction, parsed.flow.reference_weight) == ("other", 0.3)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), size=(128, 64), frames=9)


def train(one: Team, data: Path, run: Path, code: int = 0, **changes: Any) -> str:
    words = arguments(data, run, **{"train__micro_batch": 4, **changes})
    [outcome] = one.run(run_main, words)
    assert outcome.code == code, outcome.errors
    return outcome.errors


def check_path(one: Team, data: Path, root: Path, **settings: Any) -> ContextAnyonePipeline:
    """Train, go on, export; return the pipeline."""
    train(one, data, root / "run", train__steps=1, **settings)
    said = train(one, data, root / "run", train__steps=2, **settings)
    assert "going on after step 1" in said
    losses = [line for line in metrics(root / "run") if "loss/total" in line]
    assert [line["step"] for line in losses] == [1, 2]
    export(root / "run", root / "model")
    return ContextAnyonePipeline.from_pretrained(root / "model")


def test_ti2v_trains_goes_on_exports_and_generates(one, data, tmp_path):
    base = write_ti2v(tmp_path / "base")
    settings: dict[str, Any] = {
        "model__pretrained": base,
        "model__channels": 48,
        "model__reconstruction": "other",
        "encoders__codec": "wan2.2",
        "encoders__path": base,
        "data__buckets": "[32x64x5]",
        "flow__subject_weight": 1.0,
    }
    pipeline = check_path(one, data, tmp_path, **settings)
    assert pipeline.transformer.config["in_channels"] == 48
    picture = Image.new("RGB", (64, 32), "red")
    made = pipeline("a", picture, num_inference_steps=1, output_type="latent").frames
    assert made.shape == (1, 48, 2, 2, 4)
    assert pipeline("a", picture, num_inference_steps=1).frames.shape == (1, 5, 32, 64, 3)
    with pytest.raises(ValueError, match="height must be a multiple of 32"):
        pipeline("a", picture, height=48)
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    assert index["trained_sizes"] == ["32x64x5"]


@pytest.mark.parametrize("base", ["wan", "skyreels"])
def test_wan_and_skyreels_train_go_on_export_and_generate(one, data, tmp_path, base):
    folder = write_wan(tmp_path / "base")
    if base == "skyreels":
        torch.manual_seed(3)
        made = SkyReelsV2Transformer3DModel(**TRANSFORMER, in_channels=16, out_channels=16)
        made.save_pretrained(folder / "transformer")
    codec = {"encoders__codec": "wan", "encoders__path": folder}
    pipeline = check_path(one, data, tmp_path, model__pretrained=folder, **codec)
    picture = Image.new("RGB", (48, 32), "red")
    assert pipeline("a", picture, num_inference_steps=1).frames.shape == (1, 5, 32, 48, 3)


@torch.no_grad()
def test_without_a_reference_it_is_skyreels(tmp_path):
    """Not to the bit: it computes the sines of a timestep in double precision."""
    torch.manual_seed(3)
    base = SkyReelsV2Transformer3DModel(**TRANSFORMER, in_channels=16, out_channels=16).eval()
    base.save_pretrained(tmp_path)
    model = ContextAnyoneTransformer3DModel.from_pretrained(tmp_path, image_dim=32)
    inputs = {
        "hidden_states": torch.randn(2, 16, 3, 4, 6),
        "timestep": torch.tensor([950.0, 20.0]),
        "encoder_hidden_states": torch.randn(2, 10, 64),
    }
    torch.testing.assert_close(model(**inputs).sample, base(**inputs).sample, rtol=0, atol=1e-4)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"inject_sample_info": True}))
    with pytest.raises(ValueError, match="inject_sample_info computes something else"):
        ContextAnyoneTransformer3DModel.from_pretrained(tmp_path)


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
