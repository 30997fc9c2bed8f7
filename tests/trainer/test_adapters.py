"""Adapters that were trained here load elsewhere, and those of others load here."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers.loaders.lora_pipeline import WanLoraLoaderMixin
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_model import WAN, tiny_inputs, tiny_model, tiny_pipeline

from trainer import generate
from trainer.adapter_names import NAMINGS
from trainer.adapters import (
    ScaledAdapter,
    apply_adapters,
    is_ours,
    metadata_of,
    new_modules_file,
    write_adapter,
)
from trainer.lora import LoraConfig, add_lora, merge_lora
from trainer.model import ContextAnyoneTransformer3DModel

WORDS = {"trigger": "ohwx person", "licence": "CC0-1.0", "contextanyone": "{}"}
KINDS = [LoraConfig(4, 6), LoraConfig(4, 6, "rslora"), LoraConfig(4, 6, "dora")]


def trained(lora: LoraConfig, **fields) -> ContextAnyoneTransformer3DModel:
    """Return the tiny model with adapters that do something, and new modules of its own."""
    model = tiny_model(seed=0, **fields)
    add_lora(model, lora)
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
        assert parameter.requires_grad or ".lora_" not in name
    return model


def plain_wan() -> WanTransformer3DModel:
    """Return diffusers' own model with the weights of the tiny model's backbone."""
    ours = tiny_model(seed=0).state_dict()
    model = WanTransformer3DModel(**WAN)
    model.load_state_dict({name: ours[name] for name in model.state_dict()})
    return model.eval()


def output_of_wan(model) -> torch.Tensor:
    """Return what plain text-to-video makes of fixed inputs."""
    names = ("hidden_states", "timestep", "encoder_hidden_states")
    with torch.no_grad():
        return model(**{name: tiny_inputs(1, seed=3)[name] for name in names}).sample


def output_of(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**tiny_inputs(1, seed=3)).sample


def write(file: Path, lora: LoraConfig, naming: str = "diffusers") -> Path:
    weights = trained(lora).state_dict()
    write_adapter(file, weights, lora, naming, WORDS)  # pyright: ignore[reportArgumentType]
    return file


@pytest.mark.parametrize("lora", KINDS, ids=lambda lora: lora.kind)
def test_plain_diffusers_loads_the_shared_part(tmp_path, lora):
    expected = output_of_wan(trained(lora))
    wan = plain_wan()
    assert not torch.allclose(output_of_wan(wan), expected, atol=1e-3)
    file = write(tmp_path / "her.safetensors", lora)
    wan.load_lora_adapter(str(tmp_path), weight_name=file.name)
    torch.testing.assert_close(output_of_wan(wan), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("naming", ["comfyui", "kohya"])
@pytest.mark.parametrize("lora", KINDS[:2], ids=lambda lora: lora.kind)
def test_other_namings_mean_the_same(tmp_path, lora, naming):
    write(tmp_path / "her.safetensors", lora, naming)
    names = load_file(tmp_path / "her.safetensors")
    first = {
        "comfyui": "diffusion_model.blocks.0.self_attn.q.lora_down.weight",
        "kohya": "lora_unet_blocks_0_self_attn_q.lora_down.weight",
    }[naming]
    assert first in names
    assert sum(name.endswith(".alpha") for name in names) == 10 * WAN["num_layers"]
    wan = plain_wan()
    wan.load_lora_adapter(WanLoraLoaderMixin.lora_state_dict(dict(names)))
    torch.testing.assert_close(output_of_wan(wan), output_of_wan(trained(lora)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("lora", KINDS, ids=lambda lora: lora.kind)
def test_our_own_model_takes_both_files(tmp_path, lora):
    whole = trained(lora)
    expected = output_of(whole)
    merge_lora(whole, lora)
    torch.testing.assert_close(output_of(whole), expected, rtol=0, atol=1e-5)
    model = tiny_model(seed=0)
    apply_adapters(model, [ScaledAdapter(write(tmp_path / "her.safetensors", lora))])
    assert model.state_dict().keys() == whole.state_dict().keys()
    torch.testing.assert_close(output_of(model), expected, rtol=0, atol=1e-5)


def test_several_are_added_by_their_scales(tmp_path):
    file = write(tmp_path / "her.safetensors", KINDS[0])
    new_modules_file(file).unlink()
    once, twice = tiny_model(seed=0), tiny_model(seed=0)
    apply_adapters(once, [ScaledAdapter.of_flag(f"{file}:0.75")])
    apply_adapters(twice, [ScaledAdapter(file, 0.5), ScaledAdapter.of_flag(f"{file}:0.25")])
    torch.testing.assert_close(output_of(once), output_of(twice), rtol=0, atol=1e-5)
    assert not torch.allclose(output_of(once), output_of(tiny_model(seed=0)), atol=1e-3)


@pytest.mark.parametrize("naming", NAMINGS)
def test_a_file_says_what_it_is(tmp_path, naming):
    file = write(tmp_path / "her.safetensors", KINDS[0], naming)
    assert is_ours(file)
    for path in (file, new_modules_file(file)):
        about = metadata_of(path)
        assert (about["trigger"], about["licence"], about["rank"]) == (
            "ohwx person",
            "CC0-1.0",
            "4",
        )
    assert not any("base_layer" in name for name in load_file(file))
    assert {name.split(".")[2] for name in load_file(new_modules_file(file))} >= {"emphasize"}


def test_what_does_not_fit_is_refused_by_name(tmp_path):
    file = write(tmp_path / "her.safetensors", KINDS[0])
    with pytest.raises(ValueError, match=r"is of another base: .*has shape"):
        apply_adapters(tiny_model(num_attention_heads=4), [ScaledAdapter(file)])
    deeper = {
        f"transformer.blocks.9.attn1.to_q.lora_{part}.weight": torch.zeros(4, 4) for part in "AB"
    }
    save_file(deeper, tmp_path / "deeper.safetensors")
    with pytest.raises(ValueError, match=r"blocks\.9\.attn1\.to_q does not exist"):
        apply_adapters(tiny_model(), [ScaledAdapter(tmp_path / "deeper.safetensors")])
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds no adapter"):
        apply_adapters(tiny_model(), [ScaledAdapter(tmp_path / "other.safetensors")])
    with pytest.raises(ValueError, match="must be FILE or FILE:SCALE"):
        ScaledAdapter.of_flag("her.safetensors:much")


def test_generate_adds_adapters_also_for_few_steps(tmp_path, monkeypatch, capsys):
    pipeline = tiny_pipeline()
    pipeline.save_pretrained(tmp_path / "model")
    lora, model = KINDS[0], pipeline.transformer
    add_lora(model, lora)
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    write_adapter(tmp_path / "fast.safetensors", model.state_dict(), lora, "kohya", WORDS)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "her.png")
    words = ["--model", tmp_path / "model", "--reference", tmp_path / "her.png", "--prompt", "a"]
    words += ["--steps", 4, "--guidance", "none", "--size", "32x32", "--frames", 5]
    made = {}
    for name, more in {
        "without": [],
        "with": ["--lora", tmp_path / "fast.safetensors"],
        "half": ["--lora", f"{tmp_path / 'fast.safetensors'}:0"],
        "wrong": ["--lora", tmp_path / "her.png"],
    }.items():
        line = [*words, "--output", tmp_path / f"{name}.mp4", *more]
        monkeypatch.setattr(sys, "argv", ["generate.py", *map(str, line)])
        code = generate.main()
        assert code == (2 if name == "wrong" else 0), capsys.readouterr().err
        if not code:
            made[name] = (tmp_path / f"{name}.mp4").read_bytes()
    assert made["with"] != made["without"] == made["half"]
