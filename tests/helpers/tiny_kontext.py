"""A real FLUX Kontext pipeline of a few thousand weights, made without a network."""

from pathlib import Path
from typing import Any


def _tokenizers() -> tuple[Any, Any]:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer, T5Tokenizer

    signs = sorted(ByteLevel.alphabet())
    tokens = [*signs, *(sign + "</w>" for sign in signs), "<|startoftext|>", "<|endoftext|>"]
    clip = CLIPTokenizer(
        vocab={token: k for k, token in enumerate(tokens)}, merges=[], model_max_length=77
    )
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(code), -3.0) for code in range(33, 127)]
    return clip, T5Tokenizer(vocab=pieces, extra_ids=0)


def _text_encoders(clip: Any, t5: Any) -> tuple[Any, Any]:
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    first = CLIPTextConfig(
        vocab_size=len(clip), hidden_size=32, intermediate_size=37, num_hidden_layers=2,
        num_attention_heads=4, projection_dim=32, bos_token_id=clip.bos_token_id,
        eos_token_id=clip.eos_token_id, pad_token_id=clip.pad_token_id,
    )  # fmt: skip
    second = T5Config(vocab_size=len(t5), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return CLIPTextModel(first), T5EncoderModel(second)


def save_tiny_kontext(folder: Path, seed: int = 0) -> Path:
    """Write the pipeline as a hub's folder has it."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from diffusers.pipelines.flux.pipeline_flux_kontext import FluxKontextPipeline
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )

    torch.manual_seed(seed)
    clip, t5 = _tokenizers()
    first, second = _text_encoders(clip, t5)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    )  # fmt: skip
    of_four: dict[str, Any] = {  # diffusers annotates them as tuples of one
        "block_out_channels": (4,) * 4,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, layers_per_block=1, **of_four, latent_channels=4,
        norm_num_groups=1, use_quant_conv=False, use_post_quant_conv=False,
        shift_factor=0.1, scaling_factor=0.4,
    )  # fmt: skip
    FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=first,
        tokenizer=clip,
        text_encoder_2=second,
        tokenizer_2=t5,
        transformer=transformer,
    ).save_pretrained(folder)
    return folder
