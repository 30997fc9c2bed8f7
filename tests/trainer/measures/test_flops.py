"""The analytical FLOPs are those that torch counts, for every variant of the model."""

import dataclasses
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch.utils.flop_counter import FlopCounterMode

from trainer.measures.flops import (
    Sizes,
    forward_flops,
    num_checkpointed,
    plain_flops,
    predicted_ratio,
    training_flops,
)
from trainer.model import Character, ContextAnyoneTransformer3DModel, Marks
from trainer.model.recompute import Keeps

WAN: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 80,
    "num_layers": 2,
}
SIZES = Sizes(video=3 * 4 * 5, reference=2 * 3 * 3, text=7, image=10, batch=2)
# The published Wan2.1-T2V-1.3B and 14B, with the CLIP of image-to-video.
PUBLISHED: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "image_dim": 1280,
}
LARGE = {**PUBLISHED, "num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}
CLIP_480P = Sizes.of_pixels(480, 832, 81)


def _inputs(config: Any):
    reference = torch.randn(2, 16, 2, 6, 6)
    image = torch.randn(2, 10, config.image_dim) if config.image_dim else None
    return (
        {
            "hidden_states": torch.randn(2, 16, 3, 8, 10),
            "timestep": torch.tensor([300.0, 700.0]),
            "encoder_hidden_states": torch.randn(2, 7, 32),
        },
        {"reference": reference, "image_embeds": image},
    )


def _counted(call):
    with FlopCounterMode(display=False) as counter:
        output = call()
    return counter.get_total_flops(), output


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"information_flow": "symmetric"},
        {"emphasize": "none"},
        {"emphasize": "full"},
        {"emphasize": "low_rank", "emphasize_rank": 8},
        {"emphasize": "few_heads", "emphasize_heads": 1},
        {"emphasize": True},
        {"emphasize_rope": "gap"},
        {"reference_text": "prompt"},
        {"image_dim": None},
    ],
    ids=str,
)
def test_the_forward_count_is_torchs(variant):
    model = ContextAnyoneTransformer3DModel(**WAN, **{"image_dim": 40, **variant})
    video, conditions = _inputs(model.config)
    sizes = SIZES if variant.get("image_dim", 40) else dataclasses.replace(SIZES, image=0)
    counted, _ = _counted(lambda: model(**video, **conditions))
    assert forward_flops(model.config, sizes).total == counted


@pytest.mark.parametrize("text", ["none", "prompt"])
@pytest.mark.parametrize("flow", ["asymmetric", "symmetric"])
def test_the_count_with_a_rebuilt_picture_is_torchs(text, flow):
    model = ContextAnyoneTransformer3DModel(
        **WAN, image_dim=40, reference_text=text, information_flow=flow
    )
    video, conditions = _inputs(model.config)
    rebuilt = torch.randn(2, 16, 1, 6, 6)
    counted, _ = _counted(lambda: model(**video, **conditions, rebuilt=rebuilt))
    assert forward_flops(model.config, dataclasses.replace(SIZES, rebuilt=9)).total == counted


def test_the_count_with_a_cached_reference_is_torchs():
    model = ContextAnyoneTransformer3DModel(**WAN, image_dim=40)
    video, conditions = _inputs(model.config)
    cache = model.cache_reference(**conditions)
    counted, _ = _counted(
        lambda: model(**video, image_embeds=conditions["image_embeds"], reference_cache=cache)
    )
    assert forward_flops(model.config, SIZES, cached=True).total == counted


def test_without_a_reference_ours_and_plain_wan_count_the_same():
    ours = ContextAnyoneTransformer3DModel(**WAN, image_dim=40)
    plain = WanTransformer3DModel(**WAN)
    video, _ = _inputs(ours.config)
    counts = [_counted(lambda model=model: model(**video))[0] for model in (ours, plain)]
    assert counts == [plain_flops(ours.config, SIZES).total] * 2
    assert plain_flops(plain.config, SIZES).total == counts[0]


def test_training_costs_what_torch_counts_up_to_what_needs_no_gradient():
    """Torch recomputes scores in the backward pass (2.5 to our 2) and skips inputs' gradients."""
    model = ContextAnyoneTransformer3DModel(**WAN, image_dim=40)
    video, conditions = _inputs(model.config)

    def train():
        output = model(**video, **conditions)
        (output.sample.sum() + output.reference.sum()).backward()

    flops = forward_flops(model.config, SIZES)
    dim = 48
    first_layers = SIZES.tokens * 64 * dim + SIZES.text * 32 * dim  # patches and text
    # Image features are normalised by a layer with weights before their first product.
    without_gradient = 2 * SIZES.batch * (first_layers + 2 * 32 * dim)
    ways: list[tuple[int, Keeps]] = [(0, "nothing"), (1, "nothing"), (2, "nothing")]
    for every, keeps in [*ways, (1, "attention"), (2, "attention")]:
        model.enable_checkpointing(every, keeps)
        counted, _ = _counted(train)
        executed = flops.executed(every, keeps=keeps)
        assert counted == executed + flops.scores // 2 - without_gradient, (every, keeps)


def test_the_numbers_of_the_method_are_reproduced():
    plain = plain_flops(PUBLISHED, CLIP_480P)
    assert plain.total == pytest.approx(283.0e12, rel=1e-4)
    assert plain.training() == pytest.approx(849.0e12, rel=1e-4)
    assert training_flops(PUBLISHED, Sizes(32760)) == plain.training()
    assert plain_flops(LARGE, CLIP_480P).training() == pytest.approx(5035e12, rel=1e-4)


@pytest.mark.parametrize(("flow", "extra"), [("asymmetric", 0.049), ("symmetric", 0.082)])
def test_the_price_of_the_reference_stream_alone(flow, extra):
    config = {**PUBLISHED, "emphasize": False, "information_flow": flow}
    sizes = dataclasses.replace(CLIP_480P, image=0)
    assert predicted_ratio(config, sizes) - 1 == pytest.approx(extra, abs=5e-4)


@pytest.mark.parametrize(
    ("form", "points"), [(True, 6.8), ("full", 6.8), ("low_rank", 3.6), ("few_heads", 1.1)]
)
def test_the_price_of_emphasize_attention(form, points):
    whole, without = (
        predicted_ratio({**PUBLISHED, "emphasize": each}, CLIP_480P) for each in (form, "none")
    )
    assert 100 * (whole - without) == pytest.approx(points, abs=0.06)


def test_the_price_of_rebuilding_a_picture_is_a_frame_of_tokens():
    sizes = Sizes.of_pixels(480, 832, 81, rebuilt=1)
    assert sizes.rebuilt == 1560
    more = forward_flops(PUBLISHED, sizes).total / forward_flops(PUBLISHED, CLIP_480P).total
    assert more - 1 == pytest.approx(0.0166, abs=5e-4)


def test_the_price_of_all_parts():
    """Emphasize-Attention adds 1.1 points to the stream's 4.9, image tokens 0.6."""
    assert predicted_ratio(PUBLISHED, CLIP_480P) == pytest.approx(1.066, abs=5e-4)
    full = forward_flops(PUBLISHED, CLIP_480P).total
    cached = forward_flops(PUBLISHED, CLIP_480P, cached=True).total
    assert 1 - cached / full == pytest.approx(0.0153, abs=5e-4)


def test_the_tokens_of_a_clip():
    sizes = Sizes.of_pixels(480, 832, 81, references=2, batch=3)
    assert sizes == Sizes(32760, 2 * 1560, 512, 2 * 257, 3)
    assert sizes.tokens == 32760 + 3120


def test_checkpointing_costs_the_blocks_it_repeats():
    flops = plain_flops(PUBLISHED, CLIP_480P)
    assert flops.executed(0) == flops.training()
    assert flops.executed(1) == flops.training() + flops.blocks
    assert flops.executed(2) == flops.training() + flops.blocks // 2
    scores = flops.parts["self scores"]
    assert flops.executed(1, keeps="attention") == flops.executed(1) - scores
    assert num_checkpointed(30, 4) == 8
    with pytest.raises(ValueError, match="every n-th block"):
        flops.executed(-1)


def test_frozen_weights_save_a_third_of_the_products():
    flops = plain_flops(PUBLISHED, CLIP_480P)
    assert flops.training(frozen_weights=True) == flops.training() - (flops.total - flops.scores)


@pytest.mark.parametrize(
    ("flow", "marks"), [("asymmetric", 0), ("asymmetric", 2), ("symmetric", 0)]
)
def test_the_count_of_two_characters_is_torchs(flow, marks):
    model = ContextAnyoneTransformer3DModel(**WAN, image_dim=40, information_flow=flow, marks=marks)
    video, conditions = _inputs(model.config)
    text = video["encoder_hidden_states"]
    second = Character(conditions["reference"], conditions["image_embeds"], text)
    mentions = torch.zeros(2, 2, text.shape[1])
    mentions[:, 0, 0] = mentions[:, 1, 1] = 1
    known = Marks((True, True), mentions)
    rebuilt = torch.randn(2, 16, 1, 6, 6)
    counted, _ = _counted(
        lambda: model(
            **(video | conditions), rebuilt=rebuilt, name=text, others=[second], marks=known
        )
    )
    sizes = dataclasses.replace(
        SIZES, reference=2 * SIZES.reference, image=2 * SIZES.image, rebuilt=9, characters=2
    )
    assert forward_flops(model.config, sizes).total == counted
