"""What diffusers promises of a transformer: caches of steps, fused projections, processors."""

from typing import Any

import pytest
import torch
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.hooks.pyramid_attention_broadcast import PyramidAttentionBroadcastConfig
from diffusers.models.attention_processor import AttnProcessor
from tiny_model import tiny_inputs, tiny_model, tiny_pipeline

from trainer.model.step_cache import StepCache


def cached_inputs(model: Any) -> dict[str, Any]:
    """Return inputs of a sampling step, whose reference passed once."""
    inputs = tiny_inputs()
    reference, image = inputs.pop("reference"), inputs["image_embeds"]
    return {**inputs, "reference_cache": model.cache_reference(reference, image)}


@torch.no_grad()
def test_a_step_like_the_last_asks_the_first_block_alone():
    model = tiny_model(num_layers=3)
    inputs, cache = cached_inputs(model), StepCache(threshold=0.1)
    whole = model(**inputs).sample
    asked = []
    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *_, number=number: asked.append(number))
    assert torch.equal(model(**inputs, step_cache=cache).sample, whole)
    again = model(**inputs, step_cache=cache).sample
    assert asked == [0, 1, 2, 0]
    torch.testing.assert_close(again, whole, rtol=0, atol=1e-5)
    other = {**inputs, "hidden_states": torch.randn_like(inputs["hidden_states"])}
    assert torch.equal(model(**other, step_cache=cache).sample, model(**other).sample)
    assert (cache.asked, cache.skipped) == (3, 1)


def test_every_branch_of_guidance_has_a_cache_of_its_own():
    pipeline, asked = tiny_pipeline(steps=6), []
    last: Any = pipeline.transformer.blocks[-1]
    last.register_forward_hook(lambda *_: asked.append(1))

    def made(share: float) -> tuple[torch.Tensor, int]:
        asked.clear()
        video = pipeline("a", step_cache=share, output_type="latent").frames
        return video, len(asked)

    (whole, every), (near, few), (_, fewest) = made(0.0), made(0.2), made(1.0)
    assert every == 12  # six steps of two branches
    assert fewest == 2  # the first step of each
    assert fewest <= few <= every
    assert torch.equal(made(0.0)[0], whole)
    assert (near - whole).abs().mean() < whole.abs().mean()


@torch.no_grad()
def test_it_is_switched_on_as_in_diffusers_and_other_caches_are_refused():
    model = tiny_model(num_layers=3)
    inputs = cached_inputs(model)
    whole = model(**inputs).sample
    with pytest.raises(ValueError, match="PyramidAttentionBroadcastConfig would not be called"):
        model.enable_cache(PyramidAttentionBroadcastConfig())
    model.enable_cache(FirstBlockCacheConfig(threshold=1.0))
    with pytest.raises(ValueError, match="No context is set"):
        model(**inputs)
    near = {**inputs, "hidden_states": inputs["hidden_states"] + 0.01}
    with model.cache_context("cond"):
        assert torch.equal(model(**inputs).sample, whole)
        assert not torch.equal(model(**near).sample, model.train()(**near).sample)
    with model.eval().cache_context("uncond"):
        assert not torch.equal(model(**near).sample, whole)
    model.disable_cache()
    assert torch.equal(model(**inputs).sample, whole)


@torch.no_grad()
def test_fused_projections_are_used_and_compute_the_same():
    model, inputs = tiny_model(), tiny_inputs()
    separate = model(**inputs)
    model.fuse_qkv_projections()
    blocks: Any = model.blocks
    for block in blocks:  # whatever still reads the parts would be seen
        for name in ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn2.to_k", "attn2.to_v"):
            block.get_submodule(name).weight.fill_(torch.nan)
    fused = model(**inputs)
    torch.testing.assert_close(fused.sample, separate.sample, rtol=0, atol=1e-5)
    torch.testing.assert_close(fused.reference, separate.reference, rtol=0, atol=1e-5)


def test_a_processor_that_would_not_be_called_is_refused():
    model = tiny_model()
    assert len(model.attn_processors) == 4
    model.set_attn_processor(AttnProcessor())  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="AttnProcessor would not be called"):
        model(**tiny_inputs())
