"""Attention among video, reference, text and image tokens.

Heads are (B, N, heads, head_dim). No mask anywhere: a mask would knock scaled dot-product attention
off its flash kernel, so what must not be seen is not passed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import nn

from trainer.model.rope import Rotation, rotate
from trainer.model.spread import ALONE, TokenSpread

KeyValue = tuple[torch.Tensor, torch.Tensor]  # heads, (B, N, heads, head_dim) each


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention: WanAttention
) -> torch.Tensor:
    """Attend on the backend that `set_attention_backend` chose for this attention."""
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocast leaves norms in fp32
    processor: Any = attention.processor
    if type(processor) is not WanAttnProcessor:
        raise ValueError(
            f"{type(processor).__name__} would not be called: this model computes attention itself "
            "and takes the kernel from a WanAttnProcessor; choose it by set_attention_backend"
        )
    backend = processor._attention_backend
    return dispatch_attention_fn(query, key, value, backend=backend)


def attend_seen(
    query: torch.Tensor,
    own: KeyValue | None,
    others: Sequence[KeyValue],
    attention: WanAttention,
    seen: Sequence[tuple[bool, ...]] | None,
) -> torch.Tensor:
    """Attend to keys and values of a stream, if it has any, and of the others that a row sees.

    `seen` lives on the host: which of the others, row by row; None is all. Rows that see the same
    are one call, so the usual cases (a micro-batch of one, nothing dropped) stay one call.
    """
    alike: dict[tuple[bool, ...], list[int]] = {}
    for row, flags in enumerate(seen or [(True,) * len(others)] * len(query)):
        alike.setdefault(flags, []).append(row)
    heads = []
    for flags, rows in alike.items():
        pairs = [pair for pair, is_seen in zip(others, flags, strict=True) if is_seen]
        pairs += [own] if own is not None else []
        key, value = (_joined([pair[part] for pair in pairs]) for part in (0, 1))
        if len(alike) == 1:
            return attend(query, key, value, attention)
        heads.append(attend(query[rows], key[rows], value[rows], attention))
    places = torch.tensor([row for rows in alike.values() for row in rows], device=query.device)
    return torch.cat(heads)[places.argsort()]


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


class Projected(NamedTuple):
    """A stream's tokens at the entrance of self-attention, and their heads.

    Where several processes share a sample, it has n own tokens, and a share of the heads of all N.
    """

    normed: torch.Tensor  # (B, n, D)
    query: torch.Tensor  # (B, N, heads, head_dim), rotated, as is key
    key: torch.Tensor
    value: torch.Tensor
    own: tuple[torch.Tensor, ...] | None  # all heads of own tokens, not rotated, where kept
    mark: torch.Tensor | None = None  # (B, 1 or n, heads, head_dim), what was added to a part


def project(
    attention: WanAttention,
    tokens: torch.Tensor,
    rotation: Rotation,
    spread: TokenSpread = ALONE,
    keep_own: bool = False,
    **marks: torch.Tensor,
) -> Projected:
    """Return query, key and value heads of self-attention for own normed tokens (B, n, D).

    rotation: of all N tokens. marks: of the query or the key, added where no position changes them.
    """
    if attention.fused_projections:
        queries, keys, values = attention.to_qkv(tokens).chunk(3, dim=-1)
    else:
        queries, keys, values = attention.to_q(tokens), *keys_and_values(attention, tokens)
    query = split_heads(normalize(attention.norm_q, queries), attention.heads)
    key = split_heads(normalize(attention.norm_k, keys), attention.heads)
    value = split_heads(values, attention.heads)
    own = (query, key, value) if keep_own else None
    cosine, sine = (spread.share(part) for part in rotation)
    query, key = rotate(query, (cosine, sine)), rotate(key, (cosine, sine))
    if "query" in marks:
        query = query + marks["query"].to(query.dtype)
    if "key" in marks:
        key = key + marks["key"].to(key.dtype)
    if spread.degree > 1:
        sent = (query.to(value.dtype), key.to(value.dtype), value)
        number = rotation[0].shape[1]
        query, key, value = (spread.tokens_for_heads(heads, number) for heads in sent)
    return Projected(tokens, query, key, value, own, next(iter(marks.values()), None))


def keys_and_values(
    attention: WanAttention, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Project tokens (B, N, D) to keys and values; one product where these are fused."""
    if attention.fused_projections and attention.is_cross_attention:
        key, value = attention.to_kv(tokens).chunk(2, dim=-1)
        return key, value
    return attention.to_k(tokens), attention.to_v(tokens)


def output(attention: WanAttention, heads: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Join the heads and apply the output projection."""
    projection, dropout = attention.to_out
    return dropout(projection(heads.flatten(2).to(dtype)))


def normalize(norm: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Apply an RMS norm in the precision of its weight: torch has one kernel for that alone."""
    weight = getattr(norm, "weight", None)  # without a norm it is nn.Identity
    return norm(tokens if weight is None else tokens.to(weight.dtype))


def split_heads(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    return tokens.unflatten(2, (heads, -1))


class SilentLinear(nn.Linear):
    """A linear layer that starts as zero, also where its weights are sharded when it is made."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
