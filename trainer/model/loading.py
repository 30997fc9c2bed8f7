"""Load published weights: our own, or those of a base, which lack the method's new modules."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from trainer.model.bases import find_base

logger = logging.getLogger(__name__)

NEW_MODULES = ("emphasize", "image_embedder", "add_k_proj", "add_v_proj", "norm_added_k", "marks")


def load_pretrained(
    cls: Any, from_pretrained: Callable[..., Any], path: Any, options: dict[str, Any]
) -> Any:
    """Load by diffusers; from a base, make the new modules and say which those are.

    Raises:
        ValueError: for a foreign transformer, and when other than the new modules is missing.
    """
    wants_info = options.pop("output_loading_info", False)
    options = {"use_safetensors": True, **options}
    named = ("cache_dir", "local_files_only", "revision", "subfolder", "token")
    config = cls.load_config(path, **{name: options[name] for name in named if name in options})
    base = find_base(config)
    if base is not None:
        options = {**base.fields(config), **options}
    with _quiet_diffusers():
        model, info = from_pretrained(path, output_loading_info=True, **options)
    missing = set(info["missing_keys"])
    foreign = sorted(missing - model.new_parameter_names())
    if foreign:
        raise ValueError(
            f"{path} lacks {len(foreign)} weights of the backbone, such as {foreign[0]}: it is "
            "allowed to lack only the new modules; use a Wan text-to-video folder or our own"
        )
    if missing:
        _make_new_modules(model)
        count = sum(value.numel() for name, value in model.named_parameters() if name in missing)
        kinds = sorted({str(new_module(name)) for name in missing})
        logger.warning(
            "new, because %s lacks them: %s (%d parameters)", path, ", ".join(kinds), count
        )
    model.enable_checkpointing(0)
    return (model, info) if wants_info else model


def new_module(name: str) -> str | None:
    """Return the module of the method that a parameter belongs to; None for one of Wan's own."""
    return next((part for part in name.split(".") if part in NEW_MODULES), None)


@contextlib.contextmanager
def _quiet_diffusers() -> Iterator[None]:
    """Hold back its list of every missing weight; ours is shorter."""
    chatty = logging.getLogger("diffusers.models.modeling_utils")
    level = chatty.level
    chatty.setLevel(logging.ERROR)
    try:
        yield
    finally:
        chatty.setLevel(level)


@torch.no_grad()
def _make_new_modules(model: Any) -> None:
    """Initialise what the folder lacked: silent, and emphasis as a copy of self-attention."""
    for module in model.modules():
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            _leave_meta(module, model.device, model.dtype)
    for block in model.blocks:
        if block.emphasize is not None:
            block.emphasize.copy_from(block.attn1)


def _leave_meta(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    module.to_empty(device=device, recurse=False)
    module.to(dtype)
    reset = getattr(module, "reset_parameters", None)
    assert reset is not None, f"{type(module).__name__} cannot make its own parameters"
    reset()
