"""Low-rank adapters on the backbone, as an alternative to training all of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from trainer.model import ContextAnyoneTransformer3DModel

_TARGETS = (
    r"blocks\.\d+\.(attn1|attn2)\.(to_q|to_k|to_v|to_out\.0)|blocks\.\d+\.ffn\.net\.(0\.proj|2)"
)


@dataclass(frozen=True)
class LoraConfig:
    """Adapters beside the frozen backbone; the method's new modules are always trained whole.

    Attributes:
        rank: rank of the adapters; 0 trains the whole backbone instead.
        alpha: scale of what they add, relative to the rank.
    """

    rank: int = 0
    alpha: int = 32

    def __post_init__(self) -> None:
        if self.rank < 0 or self.alpha <= 0:
            raise ValueError(
                f"lora.rank must be >= 0 and lora.alpha > 0, got {self.rank} and {self.alpha}"
            )


def add_lora(model: "ContextAnyoneTransformer3DModel", lora: LoraConfig) -> None:
    """Freeze the backbone and put adapters beside its projections; nothing with rank 0."""
    if not lora.rank:
        return
    from peft import LoraConfig

    new = model.new_parameter_names()
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=_TARGETS))
    for name, parameter in model.named_parameters():
        if name in new:
            parameter.requires_grad_(True)


@torch.no_grad()
def merge_lora(model: "ContextAnyoneTransformer3DModel", lora: LoraConfig) -> None:
    """Fold the adapters into the backbone and take them away."""
    if lora.rank:
        model.fuse_lora()
        model.unload_lora()
