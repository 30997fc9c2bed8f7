"""Floating-point operations of the model, counted from its config and the numbers of tokens.

A product of (m, k) and (k, n) counts 2mkn, attention of n queries over m keys 4nmD. Everything
else (norms, RoPE, gates) is not counted, here as in torch.utils.flop_counter.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.model.emphasis import DEFAULT_FORM, form_of
from trainer.model.recompute import Keeps

_OUTSIDE_BLOCKS = ("embeddings", "head")
_SCORES = ("self scores", "emphasize scores", "text scores", "image scores", "mark scores")


@dataclass(frozen=True)
class Sizes:
    """Tokens of one micro-batch. Every number but `batch` is per sample.

    Attributes:
        video: N_v, video tokens.
        reference: N_r, tokens of all references together; 0 without a reference.
        text: L, text tokens.
        image: T, image tokens of all references together.
        batch: B, samples.
        rebuilt: tokens of a picture that is rebuilt in a stream of its own.
        characters: whose references these are; each reads its name, and nobody else's references.
    """

    video: int
    reference: int = 0
    text: int = 512
    image: int = 0
    batch: int = 1
    rebuilt: int = 0
    characters: int = 1

    @property
    def tokens(self) -> int:
        """Tokens of one sample that pass through the blocks."""
        return self.video + self.reference + self.rebuilt

    @classmethod
    def of_pixels(
        cls,
        height: int,
        width: int,
        frames: int,
        *,
        references: int = 1,
        text: int = 512,
        image: int = 257,
        batch: int = 1,
        patch: int = 2,
        stride: int = 8,
        rebuilt: int = 0,
        characters: int = 1,
    ) -> "Sizes":
        """Return the tokens of a clip whose references have its size; `image` is per reference.

        references: of each character.
        stride: px that a latent of the codec covers on each side.
        rebuilt: pictures that are rebuilt in a stream of their own, 0 or 1.
        """
        frame = (height // stride // patch) * (width // stride // patch)
        number = (frames - 1) // 4 + 1
        references *= characters
        sizes = (number * frame, references * frame, text, references * image)
        return cls(*sizes, batch, rebuilt * frame, characters)


@dataclass(frozen=True)
class Flops:
    """FLOPs of a forward pass by part."""

    parts: dict[str, int]
    num_layers: int

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    @property
    def blocks(self) -> int:
        """What the blocks alone take: what checkpointing computes twice."""
        return sum(n for name, n in self.parts.items() if name not in _OUTSIDE_BLOCKS)

    @property
    def scores(self) -> int:
        """What grows with the product of queries and keys."""
        return sum(self.parts.get(name, 0) for name in _SCORES)

    def training(self, frozen_weights: bool = False) -> int:
        """Return model FLOPs of forward and backward, the numerator of MFU.

        A product costs one in the forward pass and two in the backward pass, one where the weights
        are frozen (LoRA), whose own products are too small to count.
        """
        products = self.total - self.scores
        return 3 * self.scores + (2 if frozen_weights else 3) * products

    def executed(
        self, checkpointing: int = 0, frozen_weights: bool = False, keeps: Keeps = "nothing"
    ) -> int:
        """Return what the device computes: `training`, and the blocks' second forward pass.

        Args:
            checkpointing: 0 for none, n to checkpoint every n-th block.
            frozen_weights: only adapters are trained.
            keeps: what is not computed a second time.
        """
        repeated = self.blocks - (self.parts["self scores"] if keeps == "attention" else 0)
        again = repeated * num_checkpointed(self.num_layers, checkpointing) // self.num_layers
        return self.training(frozen_weights) + again


def num_checkpointed(num_layers: int, checkpointing: int) -> int:
    """Return how many blocks are checkpointed when every n-th is, the first included; 0 is none."""
    if checkpointing < 0:
        raise ValueError(
            f"checkpointing must be 0 (none) or n >= 1 (every n-th block), got {checkpointing}"
        )
    return math.ceil(num_layers / checkpointing) if checkpointing else 0


def forward_flops(config: Mapping[str, Any], sizes: Sizes, *, cached: bool = False) -> Flops:
    """Count a forward pass of ContextAnyoneTransformer3DModel.

    Args:
        config: fields of the model, such as its `config`; those that a plain Wan config lacks
            take our defaults.
        sizes: tokens; `reference=0` is plain text-to-video.
        cached: the reference's keys and values come from `cache_reference`.
    """
    readers = sizes.video + sizes.rebuilt
    reference = 0 if cached else sizes.reference
    counts = _self_attention(config, sizes, reference)
    if sizes.reference:
        counts |= emphasize_flops(config, sizes, reference) | _marks(config, sizes, reference)
    counts |= _cross_attention(config, sizes, reference)
    dim = _dim(config)
    counts["ffn"] = 4 * (readers + reference) * dim * config["ffn_dim"]
    per_model = _outside_blocks(config, sizes, readers, reference)
    blocks = {name: config["num_layers"] * number for name, number in counts.items()}
    parts = {name: sizes.batch * number for name, number in (blocks | per_model).items() if number}
    return Flops(parts, config["num_layers"])


def training_flops(config: Mapping[str, Any], sizes: Sizes, *, frozen_weights: bool = False) -> int:
    """Return model FLOPs of forward and backward of a micro-batch, see `Flops.training`."""
    return forward_flops(config, sizes).training(frozen_weights)


def plain_flops(config: Mapping[str, Any], sizes: Sizes) -> Flops:
    """Count Wan's text-to-video transformer at the same video and text tokens."""
    return forward_flops(config, Sizes(sizes.video, 0, sizes.text, 0, sizes.batch))


def predicted_ratio(config: Mapping[str, Any], sizes: Sizes, *, cached: bool = False) -> float:
    """Return FLOPs of ours over those of plain Wan at equal video tokens."""
    return forward_flops(config, sizes, cached=cached).total / plain_flops(config, sizes).total


def _dim(config: Mapping[str, Any]) -> int:
    return config["num_attention_heads"] * config["attention_head_dim"]


def _self_attention(config: Mapping[str, Any], sizes: Sizes, reference: int) -> dict[str, int]:
    video, rebuilt = sizes.video, sizes.rebuilt
    pairs = video * (video + sizes.reference) + rebuilt * (rebuilt + sizes.reference)
    pairs += reference * reference // sizes.characters
    if config.get("information_flow", "asymmetric") == "symmetric":
        pairs += reference * video
    dim = _dim(config)
    return {
        "self projections": 8 * (video + rebuilt + reference) * dim * dim,
        "self scores": 4 * pairs * dim,
    }


def emphasize_flops(config: Mapping[str, Any], sizes: Sizes, reference: int) -> dict[str, int]:
    """Count Emphasize-Attention in one block, in the form that the config names."""
    form, dim = form_of(config.get("emphasize", DEFAULT_FORM)), _dim(config)
    readers, width = sizes.video + sizes.rebuilt, dim
    if form == "none":
        return {}
    if form == "few_heads":
        width = config.get("emphasize_heads", 2) * config["attention_head_dim"]
    if form == "low_rank":  # down and up: query and output of readers, key and value of references
        projections = 8 * (readers + reference) * dim * config.get("emphasize_rank", 64)
    else:
        projections = 4 * (readers + reference) * dim * width
    if form == "gated":
        projections += 2 * readers * dim  # the token gate
    return {
        "emphasize projections": projections,
        "emphasize scores": 4 * readers * sizes.reference * width,
    }


def _marks(config: Mapping[str, Any], sizes: Sizes, reference: int) -> dict[str, int]:
    """Count in one block what says whose tokens are, by what the video reads in the prompt."""
    if not config.get("marks") or sizes.characters == 1:
        return {}
    dim, video, characters = _dim(config), sizes.video, sizes.characters
    alike = (1 if sizes.rebuilt else 0) + (characters if reference else 0)  # all tokens of a stream
    return {
        "mark projections": 2 * (video + sizes.text) * dim * dim,
        "mark scores": 4 * video * sizes.text * dim,
        "mark vectors": 2 * (video + alike) * characters * dim,
    }


def _cross_attention(config: Mapping[str, Any], sizes: Sizes, reference: int) -> dict[str, int]:
    """The image's keys and values serve all streams; the text's are made by each that reads it."""
    video, tokens = sizes.video, sizes.video + sizes.rebuilt + reference
    readers = [video] if video else []
    if config.get("reference_text", "none") == "prompt":
        readers += [number for number in (sizes.rebuilt, reference) if number]
    elif sizes.characters > 1:  # each reads its name
        readers += [reference // sizes.characters] * sizes.characters if reference else []
        readers += [sizes.rebuilt] if sizes.rebuilt else []
    dim = _dim(config)
    keys = len(readers) * sizes.text + sizes.image
    readings = (tokens - reference) * sizes.image + reference * sizes.image // sizes.characters
    return {
        "cross projections": 4 * (tokens + keys) * dim * dim,
        "text scores": 4 * sum(readers) * sizes.text * dim,
        "image scores": 4 * readings * dim,
    }


def _outside_blocks(
    config: Mapping[str, Any], sizes: Sizes, readers: int, reference: int
) -> dict[str, int]:
    """Only the first character's references get a velocity."""
    tokens, closed = readers + reference, readers + reference // sizes.characters
    dim, patch = _dim(config), math.prod(config["patch_size"])
    image_dim = config.get("image_dim") or 0
    texts = sizes.characters + 1 if sizes.characters > 1 and sizes.reference else 1  # and names
    text = texts * sizes.text * (config["text_dim"] + dim) * dim
    image = sizes.image * (image_dim + dim) * image_dim
    time = (2 if reference else 1) * (config["freq_dim"] + 7 * dim) * dim
    return {
        "embeddings": 2 * (tokens * config["in_channels"] * patch * dim + text + image + time),
        "head": 2 * closed * dim * config["out_channels"] * patch,
    }
