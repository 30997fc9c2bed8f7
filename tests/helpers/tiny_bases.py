"""Folders as the publishers of bases have them, of a few kilobytes, with random weights."""

from pathlib import Path
from typing import Any

import torch

TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "text_dim": 64,  # of hashed words
    "freq_dim": 32,
    "ffn_dim": 64,
    "num_layers": 1,
}


def write_wan(folder: Path, transformers: tuple[str, ...] = ("transformer",)) -> Path:
    """Write Wan 2.1, or with transformer_2 the two experts of Wan 2.2 A14B."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    vae.save_pretrained(folder / "vae")
    for name in transformers:
        _write_transformer(folder / name, 16)
    return folder


def write_ti2v(folder: Path) -> Path:
    """Write Wan 2.2 TI2V-5B: 48 channels, a latent for 16 px."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=48,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=[0.1] * 48,
        latents_std=[0.5] * 48,
    )
    vae.save_pretrained(folder / "vae")
    _write_transformer(folder / "transformer", 48)
    return folder


def _write_transformer(folder: Path, channels: int) -> None:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

    made = WanTransformer3DModel(**TRANSFORMER, in_channels=channels, out_channels=channels)
    made.save_pretrained(folder)
