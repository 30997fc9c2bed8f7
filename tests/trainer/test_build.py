"""The transformer that a training starts from."""

import functools
import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from tiny_model import IMAGE_DIM, WAN, tiny_inputs, tiny_model

from trainer.build import build_model
from trainer.distributed.zero import ZeroConfig, load_deepspeed
from trainer.lora import LoraConfig
from trainer.train_config import ModelConfig, TrainConfig

SMALL: dict[str, Any] = {
    "layers": 2,
    "heads": 2,
    "head_dim": 24,
    "ffn_dim": 64,
    "freq_dim": 32,
    "text_dim": 32,
}
FP32 = ZeroConfig(stage=0, precision="fp32")


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    """A Wan folder as its hub repository has it: transformer/ and other things beside."""
    folder = tmp_path_factory.mktemp("wan")
    torch.manual_seed(3)
    WanTransformer3DModel(**WAN).save_pretrained(folder / "transformer")
    return folder


def test_random_weights_depend_on_the_seed_alone():
    config = ModelConfig(**SMALL, image_dim=IMAGE_DIM)
    torch.rand(5)
    first, again, other = (build_model(config, FP32, seed) for seed in (1, 1, 2))
    for name, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert not torch.equal(first.proj_out.weight, other.proj_out.weight)


def built_whole(folder: str, form: bool | str) -> dict[str, torch.Tensor]:
    """Return what a process of a ZeRO-3 run starts from, gathered."""
    zero = ZeroConfig(stage=3, precision="fp32", persist_elements=0)
    model = build_model(_emphasizing(folder, form), zero, 0)
    spread: list[Any] = [p for _, p in model.named_parameters()]  # with what DeepSpeed adds
    shares = sum(p.ds_tensor.numel() for p in spread)
    with load_deepspeed().zero.GatheredParameters(list(model.parameters())):
        whole = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert shares < 0.6 * sum(value.numel() for value in whole.values())
    return whole


def _emphasizing(folder: str, form: Any) -> ModelConfig:
    return ModelConfig(pretrained=folder, image_dim=IMAGE_DIM, emphasize=form, emphasize_heads=1)


@pytest.mark.deepspeed
@pytest.mark.parametrize("form", ["few_heads", "low_rank", True])
def test_pretrained_weights_are_the_same_when_no_process_holds_them_all(wan, two, form):
    expected = build_model(_emphasizing(str(wan), form), FP32, 0)
    ranks = two.run(built_whole, str(wan), form)
    random = ("image_embedder", "add_k_proj", "emphasize.gate", ".down.")
    for name, value in expected.named_parameters():
        for whole in ranks:
            assert whole[name].shape == value.shape
            if not any(part in name for part in random):
                assert torch.equal(whole[name], value), name
        assert torch.equal(ranks[0][name], ranks[1][name])


def test_a_model_trained_with_other_choices_names_them(tmp_path):
    tiny_model(gap=7).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"gap is 7; set model\.gap=7"):
        build_model(ModelConfig(pretrained=str(tmp_path)), FP32, 0)
    model = build_model(ModelConfig(pretrained=str(tmp_path), gap=7), FP32, 0)
    assert model.config["gap"] == 7


def test_what_is_rebuilt_may_change_when_a_model_is_trained_further(tmp_path):
    tiny_model(reconstruction="clean").save_pretrained(tmp_path)
    model = build_model(ModelConfig(pretrained=str(tmp_path), reconstruction="other"), FP32, 0)
    assert model.config["reconstruction"] == "other"
    with pytest.raises(ValueError, match=r"set model\.reconstruction=clean"):
        build_model(ModelConfig(pretrained=str(tmp_path), reconstruction="video_timestep"), FP32, 0)


def test_several_characters_are_marked_in_what_is_trained_further(wan, tmp_path):
    """From a base, from a model of one character, and from one of two."""
    base = build_model(_emphasizing(str(wan), "few_heads"), FP32, 0, characters=2)
    assert base.config["marks"] == 2
    assert sum(".marks." in name for name in base.new_parameter_names()) == 2 * len(base.blocks)
    tiny_model().save_pretrained(tmp_path / "one")
    one = ModelConfig(pretrained=str(tmp_path / "one"))
    assert build_model(one, FP32, 0).config["marks"] == 0
    assert build_model(replace(one, marks=False), FP32, 0, 2).config["marks"] == 0
    two = build_model(one, FP32, 0, characters=2)
    marks = [value for name, value in two.named_parameters() if ".marks." in name]
    assert all(value.isfinite().all() and value.any() for value in marks)
    two.save_pretrained(tmp_path / "two")
    again = ModelConfig(pretrained=str(tmp_path / "two"))
    assert build_model(again, FP32, 0, characters=1).config["marks"] == 2
    kept = build_model(again, FP32, 1, characters=2)
    same = [value for name, value in kept.named_parameters() if ".marks." in name]
    assert all(torch.equal(*pair) for pair in zip(same, marks, strict=True))
    with pytest.raises(ValueError, match=r"marks 2 characters, data\.characters is 3"):
        build_model(again, FP32, 0, characters=3)


def test_a_folder_with_code_or_pickled_weights_is_refused(wan, tmp_path):
    shutil.copytree(wan, tmp_path / "code")
    (tmp_path / "code" / "transformer" / "modeling.py").write_text("raise SystemExit(3)")
    with pytest.raises(ValueError, match=r"modeling\.py"):
        build_model(ModelConfig(pretrained=str(tmp_path / "code"), image_dim=IMAGE_DIM), FP32, 0)
    shutil.copytree(wan, tmp_path / "pickled")
    for file in (tmp_path / "pickled" / "transformer").glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    with pytest.raises(ValueError, match=r"\.bin"):
        build_model(ModelConfig(pretrained=str(tmp_path / "pickled"), image_dim=IMAGE_DIM), FP32, 0)


def gradients_of(model, precision: str) -> dict[str, torch.Tensor]:
    """Return outputs and gradients of one fixed step."""
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
        output = model.train()(**tiny_inputs(1, seed=3))
    (output.sample.float().square().mean() + output.reference.float().square().mean()).backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {**found, "sample": output.sample, "reference": output.reference}


def test_a_frozen_backbone_in_two_bytes_changes_nothing_under_autocast():
    config = ModelConfig(**SMALL, image_dim=IMAGE_DIM, lora=LoraConfig(4, 6))
    autocast = ZeroConfig(stage=0, precision="autocast")
    half, whole = build_model(config, autocast, 1), build_model(config, FP32, 1)
    frozen = {p.dtype for n, p in half.named_parameters() if "base_layer.weight" in n}
    assert frozen == {torch.bfloat16}
    assert {p.dtype for p in half.parameters() if p.requires_grad} == {torch.float32}
    for model in (half, whole):
        torch.manual_seed(7)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.05 * torch.randn_like(parameter)
    ours, theirs = (gradients_of(model, "autocast") for model in (half, whole))
    assert len(ours) > 20
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


@pytest.mark.parametrize("precision", ["fp32", "autocast"])
def test_a_base_of_a_byte_a_number_trains_nearly_the_same_adapters(precision):
    lora = LoraConfig(4, 6, base="int8")
    config = ModelConfig(**SMALL, image_dim=IMAGE_DIM, lora=lora)
    exact = replace(config, lora=replace(lora, base="full"))
    model, whole = (build_model(each, FP32, 1) for each in (config, exact))
    kept = [b for name, b in model.named_buffers() if name.endswith("base_layer.weight")]
    assert {b.dtype for b in kept} == {torch.int8}
    names = {name for name, p in whole.named_parameters() if p.requires_grad}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == names
    for each in (model, whole):
        torch.manual_seed(7)
        for parameter in each.parameters():
            if parameter.requires_grad:
                parameter.data += 0.05 * torch.randn_like(parameter)
    ours, theirs = (gradients_of(each, precision) for each in (model, whole))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        apart = (ours[name] - value).norm() / value.norm()
        assert apart < (0.03 if name in ("sample", "reference") else 0.15), name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rank": 4, "kind": "dora"}, "other than dora, which reads exact weights; got 4 and dora"),
        ({"rank": 0}, r"needs model\.lora\.rank above 0"),
    ],
)
def test_a_base_of_a_byte_a_number_is_refused_where_it_cannot_be(settings, words):
    with pytest.raises(ValueError, match=words):
        LoraConfig(**settings, base="int8")
    with pytest.raises(ValueError, match=r"set zero\.stage to 2 or less"):
        TrainConfig(model=ModelConfig(lora=LoraConfig(4, base="int8")), zero=ZeroConfig(stage=3))


@pytest.mark.slow
def test_compiled_blocks_compute_the_same():
    made = {
        compiled: build_model(ModelConfig(**SMALL, image_dim=IMAGE_DIM, compile=compiled), FP32, 1)
        for compiled in (False, True)
    }
    assert made[True].state_dict().keys() == made[False].state_dict().keys()
    with torch.no_grad():
        ours, theirs = (made[compiled](**tiny_inputs(1, seed=3)) for compiled in (True, False))
    for part in ("sample", "reference"):
        torch.testing.assert_close(getattr(ours, part), getattr(theirs, part), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_compiled_blocks_that_keep_their_attention_have_the_same_gradients(monkeypatch):
    # What is kept is decided before the compiler for C++ begins, which would take a minute.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    gradients = []
    for compiled in (False, True):
        config = ModelConfig(
            **{**SMALL, "layers": 3},
            image_dim=IMAGE_DIM,
            compile=compiled,
            checkpointing=1,
            checkpointing_keeps="attention",
        )
        model = build_model(config, FP32, 1).train()
        made = model(**tiny_inputs(1, seed=3))
        (made.sample.square().mean() + made.reference.square().mean()).backward()
        gradients.append([part.grad for part in model.parameters() if part.grad is not None])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "zero", "named"),
    [
        (
            {"checkpointing_keeps": "attention", "attention": "sage"},
            {},
            "model.attention to one of native, _native_flash",
        ),
        ({"checkpointing_keeps": "attention"}, {"stage": 3}, "model.checkpointing_keeps=nothing"),
        ({"compile": True}, {"stage": 3}, "model.compile needs whole weights"),
        ({"lora": LoraConfig(4, 6, "dora")}, {"stage": 3}, "model.lora.kind=dora needs whole"),
        ({}, {"stage": 3, "optimizer": "adamw8bit"}, "zero.optimizer=adamw8bit needs zero.stage"),
        ({}, {"stage": 2, "offload": "optimizer", "optimizer": "adamw8bit"}, "zero.offload=none"),
    ],
)
def test_choices_that_exclude_each_other_are_named(model, zero, named):
    with pytest.raises(ValueError, match=named):
        TrainConfig(model=ModelConfig(**model), zero=ZeroConfig(**zero))
