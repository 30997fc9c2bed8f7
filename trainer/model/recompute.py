"""Blocks that the backward pass computes again, whole or all but their self-attention.

At 480x832x81 self-attention is seven tenths of a block's FLOPs, and what it returns a fiftieth of
what a block keeps: to keep just that saves most of the second pass (selective activation
checkpointing, as in torchtitan).
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    checkpoint,
    create_selective_checkpoint_contexts,
)

Keeps = Literal["nothing", "attention"]

_KERNELS = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
)
_ATTENTION = {
    getattr(torch.ops.aten, name).default for name in _KERNELS if hasattr(torch.ops.aten, name)
}


def _policy(
    context: SelectiveCheckpointContext, operator: Any, *arguments: Any, **options: Any
) -> CheckpointPolicy:
    """Keep attention among as many keys as queries or more: the others cost little to repeat."""
    if operator in _ATTENTION:
        query, key = arguments[:2]  # (B, heads, N, head_dim)
        if key.shape[2] >= query.shape[2]:
            return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


def recompute(keeps: Keeps, compiled: bool, block: nn.Module, *arguments: Any) -> Any:
    """Run a block whose activations the backward pass computes again.

    keeps: what is kept nevertheless. compiled: whether the block is; its attention can be kept only
    where the compiler sees what is recomputed.
    """
    if keeps == "nothing":
        return checkpoint(block, *arguments, use_reentrant=False)
    if compiled:
        return _compiled()(block, *arguments)
    return _all_but_attention(block, *arguments)


def _all_but_attention(run: Callable[..., Any], *arguments: Any) -> Any:
    contexts = functools.partial(create_selective_checkpoint_contexts, _policy)
    return checkpoint(run, *arguments, use_reentrant=False, context_fn=contexts)


@functools.cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(lambda block, *arguments: _all_but_attention(block.forward, *arguments))
