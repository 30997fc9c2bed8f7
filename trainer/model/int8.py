"""Frozen projections that take a byte a number, for training adapters beside them.

Every row of a weight is rounded to 255 steps of its own size. A product brings the weight back to
the precision of the tokens, forward and backward, and keeps nothing of it.
"""

from typing import Any

import torch
from torch import nn

_STEPS = 127  # on each side of zero


class Int8Linear(nn.Module):
    """A linear layer whose rounded weight is not trained, and not in a state dict."""

    weight: torch.Tensor  # (out, in) int8
    scale: torch.Tensor  # (out, 1)

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        exact = linear.weight.detach().float()
        scale = exact.abs().amax(1, keepdim=True).clamp(min=1e-12) / _STEPS
        self.register_buffer("weight", (exact / scale).round().to(torch.int8), persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.bias = linear.bias

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        kind = tokens.device.type
        if torch.is_autocast_enabled(kind):
            tokens = tokens.to(torch.get_autocast_dtype(kind))
        product = _Product.apply(tokens, self.weight, self.scale)
        return product if self.bias is None else product + self.bias.to(tokens.dtype)


class _Product(torch.autograd.Function):
    """Multiplies by the weight; backward makes it once more instead of keeping it."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, tokens: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(weight, scale)
        return tokens @ _restored(weight, scale, tokens.dtype).T

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        return gradient @ _restored(weight, scale, gradient.dtype), None, None


def _restored(weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return weight.to(dtype) * scale.to(dtype)


def round_frozen(blocks: nn.Module) -> None:
    """Replace every linear layer that is not trained."""
    for parent in list(blocks.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and not child.weight.requires_grad:
                setattr(parent, name, Int8Linear(child))
