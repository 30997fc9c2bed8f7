"""Low-rank adapters on the backbone, as an alternative to training all of it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from schemas.settings import check_settings, setting

if TYPE_CHECKING:
    from peft import LoraConfig as PeftConfig

    from trainer.distributed.zero import ZeroConfig
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
        kind: lora; rslora: the scale is relative to the rank's square root; dora: the length of
            every weight vector is trained apart from its direction (not with zero.stage=3).
        base: how the frozen projections are kept: full, or int8: a byte a number, rounded row by
            row (not with dora or zero.stage=3). What is exported is merged into the full ones.
    """

    rank: int = setting(0, low=0, high=4096)
    alpha: int = setting(32, low=1, high=2**16)
    kind: Literal["lora", "rslora", "dora"] = "lora"
    base: Literal["full", "int8"] = "full"

    def __post_init__(self) -> None:
        check_settings(self, "model.lora")
        if self.base == "int8" and (self.kind == "dora" or not self.rank):
            raise ValueError(
                "model.lora.base=int8 needs model.lora.rank above 0 and a model.lora.kind other "
                f"than dora, which reads exact weights; got {self.rank} and {self.kind}"
            )

    @property
    def scale(self) -> float:
        """By what the product of both matrices is multiplied."""
        return self.alpha / (math.sqrt(self.rank) if self.kind == "rslora" else self.rank)

    def same_in_every_run(self) -> dict[str, Any]:
        """Return what may not change when a training goes on; as old runs say it, where it can."""
        newer = {"kind": (self.kind, "lora"), "base": (self.base, "full")}
        chosen = {name: value for name, (value, default) in newer.items() if value != default}
        return {"rank": self.rank, "alpha": self.alpha, **chosen}

    def of_peft(self) -> "PeftConfig":
        """Return it as peft knows it."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=_TARGETS,
            use_rslora=self.kind == "rslora",
            use_dora=self.kind == "dora",
        )


def add_lora(model: "ContextAnyoneTransformer3DModel", lora: LoraConfig) -> None:
    """Freeze the backbone and put adapters beside its projections; nothing with rank 0."""
    if not lora.rank:
        return
    new = model.new_parameter_names()
    model.requires_grad_(False)
    model.add_adapter(lora.of_peft())
    for name, parameter in model.named_parameters():
        if name in new:
            parameter.requires_grad_(True)


def frozen_bytes(lora: LoraConfig, zero: "ZeroConfig") -> int:
    """Return what a number of the frozen projections takes, before zero.precision=bf16."""
    if lora.base == "int8":
        return 1
    return 2 if keeps_frozen_in_bf16(lora, zero) else 4


def keeps_frozen_in_bf16(lora: LoraConfig, zero: "ZeroConfig") -> bool:
    """Tell whether the frozen projections take two bytes a number.

    Autocast rounds them so at every product anyway. DoRA reads their length, and stage 3 spreads
    parameters of one type.
    """
    return (
        bool(lora.rank) and lora.kind != "dora" and zero.precision == "autocast" and zero.stage < 3
    )


@torch.no_grad()
def shrink_frozen(model: "ContextAnyoneTransformer3DModel") -> None:
    """Bring the frozen projections of the blocks to bf16; under autocast nothing else changes."""
    for module in model.blocks.modules():
        if isinstance(module, torch.nn.Linear):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(torch.bfloat16)


@torch.no_grad()
def merge_lora(model: "ContextAnyoneTransformer3DModel", lora: LoraConfig) -> None:
    """Fold the adapters into the backbone and take them away."""
    if lora.rank:
        model.fuse_lora()
        model.unload_lora()
