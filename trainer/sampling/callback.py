"""Callbacks of a step of sampling, as diffusers' pipelines call them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

CALLBACK_TENSORS = ("latents",)


def check_callback_tensors(names: Sequence[str]) -> None:
    """Raise ValueError for tensors that a callback cannot have."""
    unknown = [name for name in names if name not in CALLBACK_TENSORS]
    if unknown:
        raise ValueError(
            f"a callback can have {', '.join(CALLBACK_TENSORS)}, not {', '.join(unknown)}"
        )


def reporter(
    pipeline: Any,
    bar: Any,
    callback: Callable[..., Any] | None,
    names: Sequence[str],
) -> Callable[[int, float, torch.Tensor], torch.Tensor | None]:
    """Return what the sampler calls after a step: it moves the bar, and calls the callback."""

    def report(step: int, sigma: float, latents: torch.Tensor) -> torch.Tensor | None:
        bar.update()
        if callback is None:
            return None
        tensors = {"latents": latents} if names else {}
        returned = callback(pipeline, step, 1000 * sigma, tensors)
        return returned.get("latents") if isinstance(returned, dict) else None

    return report
