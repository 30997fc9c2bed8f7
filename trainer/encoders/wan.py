"""The video autoencoders of Wan 2.1 and 2.2 as codecs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainer.encoders.dct import check_frames


class WanCodec:
    """The mode of `AutoencoderKLWan`'s latents, less their mean and over their deviation.

    Wan 2.1's (also of Wan 2.2 A14B) has 16 channels and a stride of 8; that of Wan 2.2 TI2V-5B
    joins pixels by twos first, and has 48 channels and a stride of 16.

    Samples go one at a time: at 480x832x81 one encode takes gigabytes.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        shape: tuple[int, int],
        dtype: torch.dtype = torch.float32,
        tiling: bool = False,
        device: str = "cpu",
    ) -> None:
        """Load it from a folder whose config must have this shape, (channels, stride)."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

        from trainer.encoders.folders import digest_of, load_weights

        vae = load_weights(AutoencoderKLWan.from_pretrained, folder, torch_dtype=dtype)
        _check_shape(vae.config, folder, name, shape)
        self._vae = vae.to(device)
        self.weights: torch.nn.Module = self._vae
        if tiling:
            self._vae.enable_tiling()
        self.channels, self.stride = shape
        self._mean = torch.tensor(vae.config["latents_mean"], device=device).view(1, -1, 1, 1, 1)
        self._std = torch.tensor(vae.config["latents_std"], device=device).view(1, -1, 1, 1, 1)
        self._dtype, self._device = dtype, device
        self.fingerprint = f"{name}-{digest_of(folder)}-{dtype}{'-tiled' * tiling}"

    @torch.no_grad()
    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, 4k+1, H, W) in [-1, 1] to normalised latents (B, C, k+1, h, w)."""
        check_frames(frames, self.stride)
        latents = []
        for clip in frames.split(1):
            coded = self._vae.encode(clip.to(self._device, self._dtype)).latent_dist.mode()
            latents.append((coded.float() - self._mean) / self._std)
        return torch.cat(latents)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Map normalised latents back to (B, 3, 4k+1, H, W), clamped to [-1, 1]."""
        frames = []
        for clip in latents.split(1):
            coded = clip.to(self._device).float() * self._std + self._mean
            frames.append(self._vae.decode(coded.to(self._dtype)).sample.float().clamp(-1, 1))
        return torch.cat(frames)

    def compute_on(self, device: str) -> None:
        """Send frames to another device; the weights are moved by whoever asks for it."""
        self._device = device
        self._mean, self._std = self._mean.to(device), self._std.to(device)


def _check_shape(
    config: Mapping[str, Any], folder: Path, name: str, shape: tuple[int, int]
) -> None:
    in_time = 2 ** sum(config["temperal_downsample"])
    in_space = 2 ** (len(config["dim_mult"]) - 1) * (config["patch_size"] or 1)
    if (config["z_dim"], in_space, in_time) != (*shape, 4):
        raise ValueError(
            f"the video autoencoder of {folder} has {config['z_dim']} channels and stride "
            f"{in_space}, 1 latent for {in_time} frames; encoders.codec={name} has {shape[0]}, "
            f"{shape[1]} and 4: set encoders.codec to wan for Wan 2.1 and 2.2 A14B, to wan2.2 for "
            "Wan 2.2 TI2V-5B"
        )
