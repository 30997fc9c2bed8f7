"""Our transformer in diffusers' own text-to-video pipeline makes what Wan's makes there."""

from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from tiny_model import WAN, tiny_model

from trainer.sampling.sampler import make_scheduler


def made_by(transformer: Any, second: Any) -> torch.Tensor:
    parts: dict[str, Any] = {"tokenizer": None, "text_encoder": None}
    vae = AutoencoderKLWan(base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    pipeline = WanPipeline(
        **parts,
        vae=vae,
        scheduler=make_scheduler(3.0),  # pyright: ignore[reportArgumentType]
        transformer=transformer,
        transformer_2=second,
        boundary_ratio=0.875 if second is not None else None,
    )
    pipeline.set_progress_bar_config(disable=True)
    source = torch.Generator().manual_seed(0)
    embeds = torch.randn(2, 1, 10, 32, generator=source)
    return pipeline(
        prompt_embeds=embeds[0],
        negative_prompt_embeds=embeds[1],
        height=32,
        width=48,
        num_frames=5,
        num_inference_steps=4,
        generator=source,
        output_type="latent",
        attention_kwargs={"scale": 1.0},
        return_dict=False,
    )[0]


@pytest.mark.parametrize("number", [1, 2], ids=["one", "two experts"])
def test_it_makes_the_video_of_wan(number):
    ours, theirs = [], []
    for seed in range(number):
        torch.manual_seed(seed)
        theirs.append(WanTransformer3DModel(**WAN).eval())
        ours.append(tiny_model())
        ours[-1].load_state_dict(theirs[-1].state_dict(), strict=False)
    first, second = (made_by(*models, *[None] * (2 - number)) for models in (ours, theirs))
    assert torch.equal(first, second)
