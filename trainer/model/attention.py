"""Attention among video, reference, text and image tokens.

Heads are (B, N, heads, head_dim). No mask anywhere: a mask would knock scaled dot-product attention
off its flash kernel, so what must not be seen is not passed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention
from torch import nn

from trainer.model.rope import Rotation, rotate


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention: WanAttention
) -> torch.Tensor:
    """Attend on the backend that `set_attention_backend` chose for this attention."""
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocast leaves norms in fp32
    backend: Any = attention.processor._attention_backend  # pyright: ignore
    return dispatch_attention_fn(query, key, value, backend=backend)


def attend_both(
    query: torch.Tensor,
    own: tuple[torch.Tensor, torch.Tensor],
    other: tuple[torch.Tensor, torch.Tensor],
    attention: WanAttention,
    keep: Sequence[bool] | None,
) -> torch.Tensor:
    """Attend to keys and values of a stream and of the other one; some rows to their own alone.

    `keep` lives on the host, so the usual cases (a micro-batch of one, all kept) stay one call,
    and all others are two.
    """
    if keep is not None and not any(keep):
        return attend(query, *own, attention)
    key, value = (torch.cat(pair, 1) for pair in zip(other, own, strict=True))
    if keep is None or all(keep):
        return attend(query, key, value, attention)
    both = [row for row, kept in enumerate(keep) if kept]
    alone = [row for row, kept in enumerate(keep) if not kept]
    heads = [attend(query[both], key[both], value[both], attention)]
    heads.append(attend(query[alone], own[0][alone], own[1][alone], attention))
    places = torch.tensor([*both, *alone], device=query.device).argsort()
    return torch.cat(heads)[places]


def project(
    attention: WanAttention, tokens: torch.Tensor, rotation: Rotation
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return query, key and value heads of self-attention for tokens (B, N, D)."""
    query = split_heads(attention.norm_q(attention.to_q(tokens)), attention.heads)
    key = split_heads(attention.norm_k(attention.to_k(tokens)), attention.heads)
    value = split_heads(attention.to_v(tokens), attention.heads)
    return rotate(query, rotation), rotate(key, rotation), value


def output(attention: WanAttention, heads: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Join the heads and apply the output projection."""
    projection, dropout = attention.to_out
    return dropout(projection(heads.flatten(2).to(dtype)))


def split_heads(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    return tokens.unflatten(2, (heads, -1))


class SilentLinear(nn.Linear):
    """A linear layer that starts as zero, also where its weights are sharded when it is made."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class EmphasizeAttention(nn.Module):
    """Reinforce video features by reference features of the same block.

    tanh(alpha) per head times sigmoid(w x + b) per token times W_o(attention). alpha starts at 0:
    silent at step 0; the token gate learns where to reinforce. Projections have the shapes of the
    block's self-attention and start as its copies.
    Source: ContextAnyone (arXiv 2512.07328), "Emphasize-Attention"; head and token gates are ours.
    """

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim, bias=False)
        self.norm_q = nn.RMSNorm(dim, eps=eps)
        self.norm_k = nn.RMSNorm(dim, eps=eps)
        self.alpha = nn.Parameter(torch.zeros(heads))
        self.gate = SilentLinear(dim, 1)

    def reset_parameters(self) -> None:
        """Be silent."""
        nn.init.zeros_(self.alpha)

    @torch.no_grad()
    def copy_from(self, attention: WanAttention) -> None:
        """Start as a copy of the self-attention."""
        for name in ("to_q", "to_k", "to_v", "norm_q", "norm_k"):
            for part, own in self.get_submodule(name).named_parameters():
                own.copy_(attention.get_parameter(f"{name}.{part}"))
        self.to_out.weight.copy_(attention.get_parameter("to_out.0.weight"))

    def keys_of(self, reference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return key and value heads of reference tokens (B, N_r, D)."""
        key = split_heads(self.norm_k(self.to_k(reference)), self.heads)
        return key, split_heads(self.to_v(reference), self.heads)

    def forward(
        self,
        video: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention: WanAttention,
        rotations: tuple[Rotation, Rotation] | None = None,
    ) -> torch.Tensor:
        """Return what to add to video tokens (B, N, D); `rotations` of video and reference."""
        query = split_heads(self.norm_q(self.to_q(video)), self.heads)
        if rotations is not None:
            query, key = rotate(query, rotations[0]), rotate(key, rotations[1])
        # On the values instead of the output: the same product, on the few tokens of the reference.
        value = value * torch.tanh(self.alpha).view(-1, 1).to(value.dtype)
        heads = attend(query, key, value, attention)
        return self.to_out(heads.flatten(2)) * torch.sigmoid(self.gate(video))
