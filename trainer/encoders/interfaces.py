"""The interfaces of the frozen encoders. All are in eval mode and need no gradient."""

from collections.abc import Sequence
from typing import Protocol

import torch


class VideoCodec(Protocol):
    """Turns pixels into latents, one for four frames, the first frame alone, and back.

    channels: of a latent. stride: px that a latent covers on each side, 8 or 16.
    """

    channels: int
    stride: int
    fingerprint: str  # changes when its latents would

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, 4k+1, H, W) in [-1, 1] to normalised latents (B, C, k+1, h, w)."""
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Map normalised latents back to (B, 3, 4k+1, H, W), clamped to [-1, 1]."""
        ...


class TextEncoder(Protocol):
    """Turns prompts into token features; '' is the null prompt of guidance."""

    dim: int
    num_tokens: int
    fingerprint: str

    def encode(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return (B, num_tokens, dim); positions past the end of a prompt are zero."""
        ...

    def token_spans(self, prompt: str) -> list[tuple[int, int]]:
        """Return what each token stands for: (start, end) in the prompt as it is cleaned."""
        ...


class ImageEncoder(Protocol):
    """Turns reference images into semantic tokens."""

    dim: int
    num_tokens: int
    fingerprint: str

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) in [-1, 1], any size, to (B, num_tokens, dim)."""
        ...
