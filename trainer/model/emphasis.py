"""Emphasize-Attention: video features are reinforced by those of the reference in the same block.

Queries of the video, keys and values of the reference, matched by content unless `emphasize_rope`
says otherwise. Whatever the form, it adds exactly zero at initialisation, because the last
projection does; no factor has to grow before that projection is reached by a gradient.
Source: ContextAnyone (arXiv 2512.07328), "Emphasize-Attention"; the forms are ours.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from diffusers.models.transformers.transformer_wan import WanAttention
from torch import nn

from trainer.model.attention import (
    KeyValue,
    Projected,
    SilentLinear,
    attend_seen,
    normalize,
    split_heads,
)
from trainer.model.rope import Rotation, rotate

EmphasisForm = Literal["none", "few_heads", "low_rank", "full"]
DEFAULT_FORM: EmphasisForm = "few_heads"
GATED = True  # how a model of version 0.1 names its form


class Emphasis(nn.Module, ABC):
    """What all forms share: the queries read the reference, the last projection starts at zero."""

    to_out: nn.Module
    reads_own_heads = False  # whether it reads the block's heads of own tokens, not rotated

    @abstractmethod
    def queries_of(self, video: Projected) -> torch.Tensor:
        """Return the heads (B, n, heads, head_dim) with which video tokens ask."""

    @abstractmethod
    def keys_of(self, reference: Projected) -> tuple[torch.Tensor, torch.Tensor]:
        """Return key and value heads of reference tokens."""

    def twins(self) -> Mapping[str, str]:
        """Return which own parameters start as which of the block's self-attention."""
        return {}

    @torch.no_grad()
    def copy_from(self, attention: WanAttention) -> None:
        """Start as a copy of the self-attention, or of its first heads."""
        for own, theirs in self.twins().items():
            parameter = self.get_parameter(own)
            parameter.copy_(attention.get_parameter(theirs)[: len(parameter)])

    def forward(
        self,
        video: Projected,
        characters: Sequence[KeyValue],
        attention: WanAttention,
        seen: Sequence[tuple[bool, ...]] | None = None,
        rotations: tuple[Rotation, Sequence[Rotation]] | None = None,
    ) -> torch.Tensor:
        """Return what to add to video tokens (B, N, D).

        Args:
            video: of the block's self-attention.
            characters: key and value heads of the references of each.
            attention: whose backend is used.
            seen: which characters each row sees, at least one; None is all.
            rotations: of the video and of each character's references.
        """
        query = marked(self.queries_of(video), video)
        if rotations is not None:
            query = rotate(query, rotations[0])
            turned = zip(characters, rotations[1], strict=True)
            characters = [(rotate(key, rotation), value) for (key, value), rotation in turned]
        return self.to_out(attend_seen(query, None, characters, attention, seen).flatten(2))


def marked(heads: torch.Tensor, projected: Projected) -> torch.Tensor:
    """Add the mark that self-attention got, to as many heads as there are."""
    if projected.mark is None:
        return heads
    return heads + projected.mark[:, :, : heads.shape[2]].to(heads.dtype)


class OwnHeads(Emphasis):
    """Projections of its own, for as many heads as the block has or for a few of them.

    They start as copies of the block's, of its first heads. With two of twelve heads it has a
    sixth of the parameters, and takes a sixth of the time.
    """

    def __init__(self, dim: int, heads: int, head_dim: int, eps: float) -> None:
        super().__init__()
        self.heads, width = heads, heads * head_dim
        self.to_q = nn.Linear(dim, width)
        self.to_k = nn.Linear(dim, width)
        self.to_v = nn.Linear(dim, width)
        self.to_out = SilentLinear(width, dim, bias=False)
        self.norm_q = nn.RMSNorm(width, eps=eps)
        self.norm_k = nn.RMSNorm(width, eps=eps)

    def queries_of(self, video: Projected) -> torch.Tensor:
        return split_heads(normalize(self.norm_q, self.to_q(video.normed)), self.heads)

    def keys_of(self, reference: Projected) -> tuple[torch.Tensor, torch.Tensor]:
        key = split_heads(normalize(self.norm_k, self.to_k(reference.normed)), self.heads)
        return key, split_heads(self.to_v(reference.normed), self.heads)

    def twins(self) -> Mapping[str, str]:
        linear = [f"to_{part}.{kind}" for part in "qkv" for kind in ("weight", "bias")]
        return {name: name for name in (*linear, "norm_q.weight", "norm_k.weight")}


class GatedHeads(OwnHeads):
    """The form of version 0.1: tanh(alpha) per head, sigmoid(w x + b) per token, a copied W_o.

    Kept for models that were trained with it. Adam moves alpha by no more than the sum of the
    learning rates, so it hardly opens; see docs/method.md.
    """

    def __init__(self, dim: int, heads: int, head_dim: int, eps: float) -> None:
        super().__init__(dim, heads, head_dim, eps)
        self.to_out = nn.Linear(dim, dim, bias=False)
        self.alpha = nn.Parameter(torch.zeros(heads))
        self.gate = SilentLinear(dim, 1)

    def reset_parameters(self) -> None:
        """Be silent."""
        nn.init.zeros_(self.alpha)

    def twins(self) -> Mapping[str, str]:
        return {**super().twins(), "to_out.weight": "to_out.0.weight"}

    def forward(
        self,
        video: Projected,
        characters: Sequence[KeyValue],
        attention: WanAttention,
        seen: Sequence[tuple[bool, ...]] | None = None,
        rotations: tuple[Rotation, Sequence[Rotation]] | None = None,
    ) -> torch.Tensor:
        # On the values instead of the output: the same product, on the few tokens of the reference.
        opened = torch.tanh(self.alpha).view(-1, 1)
        characters = [(key, value * opened.to(value.dtype)) for key, value in characters]
        added = super().forward(video, characters, attention, seen, rotations)
        return added * torch.sigmoid(self.gate(video.normed))


class LowRank(nn.Module):
    """W_up W_down x, zero at initialisation."""

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, rank, bias=False)
        self.up = SilentLinear(rank, dim, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.up(self.down(tokens))


class LowRankHeads(Emphasis):
    """The block's own query, key and value, each with a low-rank change; a low-rank output."""

    reads_own_heads = True

    def __init__(self, dim: int, heads: int, rank: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = LowRank(dim, rank)
        self.to_k = LowRank(dim, rank)
        self.to_v = LowRank(dim, rank)
        self.to_out = LowRank(dim, rank)

    def queries_of(self, video: Projected) -> torch.Tensor:
        assert video.own is not None, "the block keeps them for a form that reads them"
        return video.own[0] + split_heads(self.to_q(video.normed), self.heads)

    def keys_of(self, reference: Projected) -> tuple[torch.Tensor, torch.Tensor]:
        assert reference.own is not None, "the block keeps them for a form that reads them"
        _, key, value = reference.own
        key = key + split_heads(self.to_k(reference.normed), self.heads)
        return key, value + split_heads(self.to_v(reference.normed), self.heads)


def form_of(emphasize: bool | str) -> str:
    """Return the form that a config names; a bool is what version 0.1 wrote."""
    if isinstance(emphasize, bool):
        return "gated" if emphasize is GATED else "none"
    return emphasize


def make_emphasis(
    emphasize: bool | str, dim: int, heads: int, eps: float, rank: int, few: int
) -> Emphasis | None:
    """Build Emphasize-Attention for a block of this width in one of its forms."""
    form, head_dim = form_of(emphasize), dim // heads
    if form == "none":
        return None
    if form == "low_rank":
        return LowRankHeads(dim, heads, rank)
    if form == "gated":
        return GatedHeads(dim, heads, head_dim, eps)
    return OwnHeads(dim, few if form == "few_heads" else heads, head_dim, eps)
