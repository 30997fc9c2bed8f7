"""How many parameters a model has, and how many a training changes; nothing is allocated."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch

from trainer.model import ContextAnyoneTransformer3DModel

# How the names of layers with adapters end, see trainer/lora.py.
_ADAPTED = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")


@dataclass(frozen=True)
class Counts:
    """Numbers of parameters: of Wan's modules, the new ones, a block, adapters of rank 1.

    projections: those of Wan's that adapters stand beside, and the largest of them.
    """

    backbone: int
    new: int
    block: int
    lora_per_rank: int
    projections: int
    largest_projection: int

    def trainable(self, lora_rank: int | None) -> int:
        if lora_rank is None:
            return self.backbone + self.new
        return self.new + lora_rank * self.lora_per_rank

    def frozen(self, lora_rank: int | None) -> int:
        return 0 if lora_rank is None else self.backbone


def count_parameters(config: Mapping[str, Any]) -> Counts:
    """Count a model of this config on the meta device: nothing is allocated."""
    public = {name: value for name, value in config.items() if not name.startswith("_")}
    return _count(json.dumps(public, sort_keys=True))


@functools.cache
def _count(config: str) -> Counts:
    with torch.device("meta"):
        made = ContextAnyoneTransformer3DModel.from_config(json.loads(config))
    model = cast(ContextAnyoneTransformer3DModel, made)
    names = model.new_parameter_names()
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    new = sum(size for name, size in sizes.items() if name in names)
    adapters = sum(
        module.in_features + module.out_features
        for name, module in model.blocks.named_modules()
        if isinstance(module, torch.nn.Linear)
        and name.endswith(_ADAPTED)
        and "emphasize" not in name
    )
    projections = [
        module.weight.numel()
        for name, module in model.blocks.named_modules()
        if isinstance(module, torch.nn.Linear) and f"blocks.{name}.weight" not in names
    ]
    block = sum(size for name, size in sizes.items() if name.startswith("blocks.0."))
    return Counts(
        sum(sizes.values()) - new, new, block, adapters, sum(projections), max(projections)
    )
