"""What travels from the data to the model: a batch of pixels, then a batch of latents."""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, order=True)
class Bucket:
    """A size of clip; all samples of a batch have the same."""

    height: int  # px, a multiple of 16
    width: int  # px, a multiple of 16
    frames: int  # 4k + 1


@dataclass(frozen=True)
class SkippedSample:
    """A sample that could not be read, and was replaced by the next of its bucket."""

    sample_id: str
    reason: str


@dataclass(frozen=True)
class PixelBatch:
    """Decoded samples, uint8 RGB, still on the CPU. B samples, R references of each."""

    step: int
    places: tuple[int, ...]  # of each sample in the global batch; with step, the seed of its draws
    sample_ids: tuple[str, ...]
    captions: tuple[str, ...]
    frames: torch.Tensor  # (B, F, H, W, 3)
    references: torch.Tensor  # (B, R, Hr, Wr, 3)
    subject: torch.Tensor | None  # (B, F, H, W) uint8, 1 inside the character's box
    other: torch.Tensor | None = None  # (B, 1, Hr, Wr, 3) another picture of the character
    skipped: tuple[SkippedSample, ...] = ()


@dataclass(frozen=True)
class LatentBatch:
    """What one micro-batch gives the model, float32."""

    step: int
    places: tuple[int, ...]
    sample_ids: tuple[str, ...]
    video: torch.Tensor  # (B, C, f, h, w) normalised latents of the clip
    reference: torch.Tensor  # (B, C, R, hr, wr) normalised latents, each image encoded alone
    text: torch.Tensor  # (B, L, text_dim)
    image: torch.Tensor  # (B, R * T, image_dim) image tokens of the references
    subject: torch.Tensor | None = None  # (B, 1, f, h, w) share of a cell inside the character
    other: torch.Tensor | None = None  # (B, C, 1, hr, wr) another picture of the character
    skipped: tuple[SkippedSample, ...] = ()

    def to(self, device: torch.device) -> "LatentBatch":
        """Return the batch with its tensors on a device."""
        names = ("video", "reference", "text", "image", "subject", "other")
        tensors = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(
            self, **{name: value.to(device, non_blocking=True) for name, value in tensors.items()}
        )
