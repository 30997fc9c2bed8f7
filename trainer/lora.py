"""Low-rank adapters on the backbone, as an alternative to training all of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from schemas.settings import check_settings, setting

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

    rank: int = setting(0, low=0, high=4096)
    alpha: int = setting(32, low=1, high=2**16)

    def __post_init__(self) -> None:
        check_settings(self, "model.lora")


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
