"""Wan 2.1's video autoencoder as a codec."""

from pathlib import Path

import torch

from trainer.encoders.dct import check_frames


class WanCodec:
    """The mode of `AutoencoderKLWan`'s latents, less their mean and over their deviation.

    Samples go one at a time: at 480x832x81 one encode takes gigabytes.
    """

    def __init__(
        self,
        folder: Path,
        dtype: torch.dtype = torch.float32,
        tiling: bool = False,
        device: str = "cpu",
    ) -> None:
        from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

        from trainer.encoders.folders import digest_of, load_weights

        vae = load_weights(AutoencoderKLWan.from_pretrained, folder, torch_dtype=dtype)
        stride = 2 ** sum(vae.config["temperal_downsample"]), 2 ** (len(vae.config["dim_mult"]) - 1)
        if stride != (4, 8) or vae.config["patch_size"]:
            raise ValueError(
                f"the video autoencoder of {folder} has stride {stride} in time and space; it must "
                f"have (4, 8) as Wan 2.1's; use a Wan 2.1 repository"
            )
        self._vae = vae.to(device)
        if tiling:
            self._vae.enable_tiling()
        self.channels = vae.config["z_dim"]
        shape = (1, self.channels, 1, 1, 1)
        self._mean = torch.tensor(vae.config["latents_mean"], device=device).view(shape)
        self._std = torch.tensor(vae.config["latents_std"], device=device).view(shape)
        self._dtype, self._device = dtype, device
        self.fingerprint = f"wan-{digest_of(folder)}-{dtype}{'-tiled' * tiling}"

    @torch.no_grad()
    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, 4k+1, H, W) in [-1, 1] to normalised latents (B, C, k+1, H/8, W/8)."""
        check_frames(frames)
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
