"""What autograd keeps of a forward pass of a tiny model, measured."""

import warnings
from contextlib import nullcontext
from typing import Any

import torch

from trainer.measures.flops import Sizes
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.model.spread import ALONE, TokenSpread

TINY: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "in_channels": 16,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 512,
    "image_dim": 40,
}


def forward_of(
    config: dict[str, Any],
    precision: str,
    *,
    reference: bool = True,
    every: int = 0,
    batch: int = 2,
    spread: TokenSpread = ALONE,
):
    """Return the model, and a loss of it on sizes (400 video, 80 reference, 7 text, 10 image)."""
    torch.manual_seed(0)
    model = ContextAnyoneTransformer3DModel(**config)
    model.enable_checkpointing(every)
    model.spread_tokens(spread)
    conditions = {}
    if reference:
        conditions["reference"] = torch.randn(batch, 16, 1, 16, 20)
        conditions["image_embeds"] = torch.randn(batch, 10, config["image_dim"])

    def loss():
        autocast = torch.autocast("cpu", torch.bfloat16)
        with autocast if precision == "autocast" else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch on a CPU cannot fuse norms of mixed types
            output = model(
                torch.randn(batch, 16, 5, 16, 20),
                torch.full((batch,), 300.0),
                torch.randn(batch, 7, config["text_dim"]),
                **conditions,
            )
        kept = output.sample.float().square().mean()
        return kept + output.reference.float().square().mean() if reference else kept

    return model, loss


def sizes_of(reference: bool, batch: int = 2) -> Sizes:
    return Sizes(400, 80, 7, 10, batch) if reference else Sizes(400, 0, 7, 0, batch)


def bytes_kept(
    config: dict[str, Any], precision: str, reference: bool, spread: TokenSpread = ALONE
) -> int:
    """Return the bytes of the storages that autograd keeps, parameters and their casts apart."""
    model, loss = forward_of(config, precision, reference=reference, spread=spread)
    weights = {p.shape for p in model.parameters()} | {p.T.shape for p in model.parameters()}
    mine = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in mine and tensor.shape not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive = loss()
    assert alive.requires_grad
    return sum(storage.nbytes() for storage in kept.values())
