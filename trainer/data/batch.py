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
class PixelCharacter:
    """A further character of the samples of a batch; black pictures where a sample has none."""

    references: torch.Tensor  # (B, R, Hr, Wr, 3)
    names: tuple[str, ...]  # '' where the sample has none


@dataclass(frozen=True)
class PixelBatch:
    """Decoded samples, uint8 RGB, still on the CPU. B samples, R references of each character."""

    step: int
    places: tuple[int, ...]  # of each sample in the global batch; with step, the seed of its draws
    sample_ids: tuple[str, ...]
    captions: tuple[str, ...]
    frames: torch.Tensor  # (B, F, H, W, 3)
    references: torch.Tensor  # (B, R, Hr, Wr, 3)
    subject: torch.Tensor | None  # (B, F, H, W) uint8, 1 inside the character's box
    other: torch.Tensor | None = None  # (B, 1, Hr, Wr, 3) another picture of the character
    skipped: tuple[SkippedSample, ...] = ()
    names: tuple[str, ...] = ()  # of the first characters, '' of one who is alone
    characters: tuple[PixelCharacter, ...] = ()  # that may come after them
    boxes: torch.Tensor | None = None  # (B, P, F, 4) of each character, xyxy in px; 0 of none


@dataclass(frozen=True)
class LatentCharacter:
    """A further character of the samples of a micro-batch, as the first is in `LatentBatch`."""

    reference: torch.Tensor  # (B, C, R, hr, wr)
    image: torch.Tensor  # (B, R * T, image_dim)
    name: torch.Tensor  # (B, L, text_dim)
    present: tuple[bool, ...]  # by sample; where there is none, the tensors mean nothing

    def to(self, device: torch.device) -> "LatentCharacter":
        """Return it with its tensors on a device."""
        names = ("reference", "image", "name")
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in names}
        return replace(self, **moved)


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
    name: torch.Tensor | None = None  # (B, L, text_dim) of the first character's name alone
    characters: tuple[LatentCharacter, ...] = ()  # that may come after it
    mentions: torch.Tensor | None = None  # (B, P, L) 1 at tokens of the text that name a character
    boxes: torch.Tensor | None = None  # (B, P, f, h, w) share of a cell inside each one's box

    @property
    def several(self) -> tuple[bool, ...]:
        """Which samples have more than one character."""
        return tuple(
            any(other.present[row] for other in self.characters) for row in range(len(self.places))
        )

    def to(self, device: torch.device) -> "LatentBatch":
        """Return the batch with its tensors on a device."""
        names = ("video", "reference", "text", "image", "subject", "other", "name")
        names += ("mentions", "boxes")
        tensors = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        moved = {name: value.to(device, non_blocking=True) for name, value in tensors.items()}
        return replace(self, **moved, characters=tuple(each.to(device) for each in self.characters))
