"""The memory estimate agrees with what torch keeps, and its advice with its own numbers."""

import itertools
from dataclasses import replace
from typing import Any

import jsonargparse
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from kept_memory import TINY, bytes_kept, forward_of, sizes_of
from torch.profiler import ProfilerActivity, profile

from trainer.distributed.zero import ZeroConfig
from trainer.lora import LoraConfig, add_lora, frozen_bytes, shrink_frozen
from trainer.measures.activations import Activations
from trainer.measures.codec_memory import codec_bytes
from trainer.measures.estimate import (
    GIB,
    MemoryPlan,
    estimate,
    memory_bytes,
    refuse_or_advise,
)
from trainer.measures.flops import Sizes
from trainer.measures.parameter_counts import count_parameters
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.model.int8 import round_frozen
from trainer.plan import emphasis_share, plan_for
from trainer.train_config import ModelConfig, TrainConfig, preset_path

WAN_1_3B = {
    **TINY,
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "image_dim": 1280,
}
WAN_14B = {**WAN_1_3B, "num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}
CLIP_480P = Sizes.of_pixels(480, 832, 81)


@pytest.mark.filterwarnings("ignore:The use of `x.T`")
@pytest.mark.parametrize(
    ("reference", "form"),
    [(True, "few_heads"), (True, "full"), (True, "low_rank"), (True, True), (False, "few_heads")],
    ids=["few_heads", "full", "low_rank", "gated", "plain"],
)
@pytest.mark.parametrize("precision", ["fp32", "autocast"])
def test_a_block_keeps_what_was_counted(precision, reference, form):
    config = {**TINY, "emphasize": form, "num_layers": 3}
    two, three = (
        bytes_kept({**config, "num_layers": layers}, precision, reference) for layers in (2, 3)
    )
    counted = Activations(config, sizes_of(reference), precision, cuda=False)
    assert counted.block == pytest.approx(three - two, rel=0.02)  # all but modulation tables
    assert counted.peak() == pytest.approx(three, rel=0.04)


def peak_of_step(model, loss):
    """Return the most bytes that parameters, activations and gradients take in a step."""
    resident = sum(part.nbytes for part in (*model.parameters(), *model.buffers()))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loss().backward()
    assert profiler.profiler is not None
    results = profiler.profiler.kineto_results
    assert results is not None
    changes: list[Any] = [event for event in results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return resident + max(itertools.accumulate(event.nbytes() for event in changes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "every", "keeps"),
    [
        ("fp32", 0, "nothing"),
        ("autocast", 0, "nothing"),
        ("autocast", 1, "nothing"),
        ("autocast", 2, "nothing"),
        ("autocast", 1, "attention"),
        ("autocast", 2, "attention"),
    ],
)
def test_the_peak_of_a_step_is_what_was_estimated(precision, every, keeps):
    """The estimate counts all gradients as if there from the start: never less than measured."""
    config = {**TINY, "num_layers": 4}
    model, loss = forward_of(config, precision, every=every)
    model.enable_checkpointing(every, keeps)
    peak = peak_of_step(model, loss)
    plan = MemoryPlan(
        *(sizes_of(True), ZeroConfig(stage=0, precision=precision)),
        checkpointing=every,
        keeps=keeps,
        cuda=False,
    )
    estimated = estimate(config, plan)
    without_optimizer = estimated.total - estimated.parts["optimizer"]
    assert peak < without_optimizer < 1.2 * peak


@pytest.mark.slow
@pytest.mark.parametrize("every", [0, 1])
@pytest.mark.parametrize("base", ["full", "int8"])
@pytest.mark.parametrize("heads", [4, 12])
def test_the_peak_of_a_step_of_adapters_is_what_was_estimated(heads, base, every):
    config = {**TINY, "num_layers": 3, "num_attention_heads": heads, "ffn_dim": 128 * heads}
    model, loss = forward_of(config, "autocast", every=every)
    lora, zero = LoraConfig(8, base=base), ZeroConfig(stage=0, precision="autocast")
    add_lora(model, lora)
    if base == "int8":
        round_frozen(model.blocks)
    else:
        shrink_frozen(model)
    plan = MemoryPlan(
        *(sizes_of(True), zero),
        checkpointing=every,
        lora_rank=8,
        frozen_bytes=frozen_bytes(lora, zero),
        cuda=False,
    )
    estimated = estimate(config, plan)
    counted = estimated.total - estimated.parts["optimizer"]
    assert counted == pytest.approx(peak_of_step(model, loss), rel=0.04)


def test_published_models_are_counted_without_allocating():
    assert count_parameters(WAN_1_3B).backbone == 1_418_996_800
    assert count_parameters(WAN_14B).backbone == 14_288_491_584
    config = {**TINY, "num_layers": 2}
    model = ContextAnyoneTransformer3DModel(**config)
    counts = count_parameters(model.config)
    assert counts.trainable(None) == sum(p.numel() for p in model.parameters())
    assert counts.block == sum(p.numel() for p in model.blocks[0].parameters())


def test_what_each_stage_spreads():
    base = MemoryPlan(CLIP_480P, world_size=4, checkpointing=1)
    stages: list[Any] = [0, 1, 2, 3]
    made = [
        estimate(WAN_1_3B, replace(base, zero=ZeroConfig(stage=stage))).parts for stage in stages
    ]
    whole = 4 * count_parameters(WAN_1_3B).trainable(None)
    assert [parts["parameters"] for parts in made] == [whole, whole, whole, whole // 4]
    assert [parts["gradients"] for parts in made] == [whole, whole, whole // 4, whole // 4]
    moments, with_copy = 2 * whole, 3 * whole
    spread = [with_copy // 4, with_copy // 4, moments // 4]
    assert [parts["optimizer"] for parts in made] == [moments, *spread]


@pytest.mark.parametrize(
    ("zero", "expected"),
    [  # measured on DeepSpeed 0.19.8 with one process, after a backward pass of the second step
        (ZeroConfig(stage=0, precision="autocast"), 16),
        (ZeroConfig(stage=1, precision="autocast"), 20),
        (ZeroConfig(stage=2, precision="autocast"), 20),
        (ZeroConfig(stage=1, precision="bf16"), 20),
        (ZeroConfig(stage=2, precision="bf16"), 18),
        (ZeroConfig(stage=3, precision="bf16"), 20),
    ],
)
def test_bytes_of_each_parameter_are_those_that_deepspeed_keeps(zero, expected):
    parts = estimate(
        WAN_1_3B | {"num_layers": 4}, MemoryPlan(CLIP_480P, zero, checkpointing=1)
    ).parts
    states = sum(size for name, size in parts.items() if name not in ("activations", "workspace"))
    counts = count_parameters(WAN_1_3B | {"num_layers": 4})
    assert states / counts.trainable(None) == pytest.approx(expected, abs=0.01)


def test_offload_moves_states_to_the_host():
    plan = MemoryPlan(
        CLIP_480P, ZeroConfig(stage=3, offload="optimizer+parameters"), 2, checkpointing=1
    )
    estimated = estimate(WAN_1_3B, plan)
    assert set(estimated.host) == {"parameters", "optimizer", "gradients"}
    assert not set(estimated.parts) & set(estimated.host)
    assert "host: optimizer" in estimated.table()


def test_a_checkpoint_in_the_background_is_a_copy_on_the_host():
    """84 M parameters wrote 1,677.65 MB: weights, fp32 copies, moments and average."""
    config = {**TINY, "num_attention_heads": 12, "attention_head_dim": 64, "ffn_dim": 3072}
    config |= {"num_layers": 8, "text_dim": 256, "freq_dim": 64, "image_dim": None}
    plan = MemoryPlan(CLIP_480P, ZeroConfig(stage=2, precision="fp32"), ema=True, background=True)
    assert estimate(config, plan).host["copy for a checkpoint"] == pytest.approx(1.678e9, rel=0.01)


def test_lora_trains_adapters_and_the_new_modules_only():
    model = ContextAnyoneTransformer3DModel(**TINY, num_layers=2)
    add_lora(model, LoraConfig(rank=8))
    counts = count_parameters({**TINY, "num_layers": 2})
    trained = [p.numel() for p in model.parameters() if p.requires_grad]
    frozen = [p.numel() for p in model.parameters() if not p.requires_grad]
    assert (counts.trainable(8), counts.frozen(8)) == (sum(trained), sum(frozen))


@pytest.mark.parametrize(
    ("preset", "world_size", "gib"),
    [
        ("wan-1.3b", 1, 80),
        ("wan-1.3b-lora", 1, 24),
        ("wan-14b", 16, 80),
        ("wan2.2-ti2v-5b", 4, 80),
        ("wan2.2-a14b", 4, 80),
        ("skyreels-v2-14b", 4, 80),
    ],
)
def test_presets_fit_where_they_say(preset, world_size, gib):
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(TrainConfig, as_group=False)
    training = parser.instantiate(parser.parse_path(str(preset_path(preset))))
    training = TrainConfig(**vars(training))
    plan = plan_for(training, world_size, text=512, image=257)
    config = {**TINY, **training.model.fields()}
    assert estimate(config, plan).total < gib * GIB


def test_what_cannot_fit_is_refused_with_what_would_help():
    estimated = estimate(WAN_1_3B, MemoryPlan(CLIP_480P, ZeroConfig(stage=2)))
    with pytest.raises(
        ValueError, match=r"needs about \d+\.\d GiB on each device, but 80\.0"
    ) as no:
        refuse_or_advise(estimated, 80 * GIB)
    text = str(no.value)
    assert text.index("model.checkpointing=1") < text.index("offload") < text.index("lora")
    better = estimate(WAN_1_3B, replace(estimated.plan, checkpointing=1))
    assert f"saves {(estimated.total - better.total) / GIB:.1f} GiB" in text
    assert f"(recompute every block): {better.total / GIB:.1f} GiB" in text


def test_a_hopeless_plan_is_told_to_use_more_devices():
    with pytest.raises(ValueError, match="use larger devices"):
        refuse_or_advise(estimate(WAN_14B, MemoryPlan(CLIP_480P, ZeroConfig(stage=2))), 24 * GIB)


def test_a_tight_fit_is_allowed_with_advice():
    estimated = estimate(WAN_1_3B, MemoryPlan(CLIP_480P, ZeroConfig(stage=2), checkpointing=1))
    advice = refuse_or_advise(estimated, int(1.01 * estimated.total))
    assert "should it not fit" in advice
    assert "saves" in advice


def test_more_of_anything_never_needs_less():
    plan = MemoryPlan(CLIP_480P, ZeroConfig(stage=2), checkpointing=2)
    total = estimate(WAN_1_3B, plan).total
    for sizes in (
        replace(CLIP_480P, batch=2),
        replace(CLIP_480P, video=40_000),
        replace(CLIP_480P, reference=3_120),
        replace(CLIP_480P, image=514),
    ):
        assert estimate(WAN_1_3B, replace(plan, sizes=sizes)).total > total
    assert estimate(WAN_1_3B, replace(plan, checkpointing=0)).total > total
    assert estimate(WAN_1_3B, replace(plan, encoders_bytes=GIB)).total > total + GIB - 1


def test_the_memory_of_this_machine_is_known():
    assert memory_bytes(torch.device("cpu")) > 2**20


@pytest.mark.slow
@pytest.mark.parametrize("decodes", [True, False], ids=["decode", "encode"])
def test_the_peak_of_the_codec_is_what_was_estimated(decodes):
    height, width, frames = 64, 96, 5
    torch.manual_seed(0)
    codec = AutoencoderKLWan().eval()
    video = torch.randn(1, 3, frames, height, width)
    latents = torch.randn(1, 16, 2, height // 8, width // 8)
    with (
        torch.no_grad(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler,
    ):
        _ = codec.decode(latents) if decodes else codec.encode(video)
    assert profiler.profiler is not None
    results = profiler.profiler.kineto_results
    assert results is not None
    changes: list[Any] = [event for event in results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    peak = max(itertools.accumulate(event.nbytes() for event in changes))
    estimated = codec_bytes(height, width, frames, decodes=decodes)
    assert estimated == pytest.approx(peak, rel=0.1 if decodes else 0.2)


def test_the_codec_counts_where_it_takes_more_than_a_step():
    plan = MemoryPlan(CLIP_480P, ZeroConfig(stage=2, precision="bf16"), 1, 1, lora_rank=64)
    size = codec_bytes(480, 832, 81, decodes=True)
    tiled = codec_bytes(480, 832, 81, decodes=True, tiled=True)
    assert tiled < size / 3
    without = estimate(WAN_1_3B, plan)
    step = without.parts["activations"] + without.parts["workspace"]
    remedy = ("encoders.tiling=true", tiled)
    larger = estimate(WAN_1_3B, replace(plan, codec_bytes=step + size, codec_remedy=remedy))
    assert larger.total - without.total == pytest.approx(size, rel=0.3)
    assert estimate(WAN_1_3B, replace(plan, codec_bytes=1)).total == without.total
    with pytest.raises(ValueError, match=r"encoders\.tiling=true: saves"):
        refuse_or_advise(larger, larger.total - 1)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("few_heads", "Emphasize-Attention (few_heads): 70.8 M parameters, 4.3% of all; 1."),
        (True, "Emphasize-Attention (gated): 283.4 M parameters, 15.3% of all; 6."),
        ("none", "no Emphasize-Attention"),
    ],
)
def test_the_plan_says_what_emphasize_attention_takes(form, says):
    config = TrainConfig(model=ModelConfig(emphasize=form, emphasize_heads=3))  # 1.3B
    assert emphasis_share(config).startswith(says)
