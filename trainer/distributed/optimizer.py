"""The optimizer: AdamW, which parameters it decays, and its rate at every update."""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from schemas.settings import check_settings, setting

# Tables of modulation act like biases, though their shape is (1, 6, D).
_UNDECAYED = ("scale_shift_table",)


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its schedule.

    Attributes:
        lr: learning rate after the warm-up.
        betas: decay rates of the first and the second moment.
        weight_decay: decay of matrices; norms, biases and modulation tables are not decayed.
        eps: added to the square root of the second moment.
        warmup_steps: updates during which the rate rises from 0.
        schedule: what follows the warm-up; cosine decays until the last update.
        min_lr_share: share of `lr` at which cosine ends.
        clip_norm: largest norm of an update's gradient; 0 does not clip.
        new_modules_lr_scale: learning rate of the modules that Wan lacks, relative to `lr`.
    """

    lr: float = setting(1e-5, above=0, high=100)
    betas: tuple[float, float] = setting((0.9, 0.95), low=0, below=1)
    weight_decay: float = setting(0.01, low=0, high=100)
    eps: float = setting(1e-8, above=0, high=1)
    warmup_steps: int = setting(100, low=0, high=10**9)
    schedule: Literal["constant", "cosine"] = "constant"
    min_lr_share: float = setting(0.1, low=0, high=1)
    clip_norm: float = setting(1.0, low=0, high=10**9)
    new_modules_lr_scale: float = setting(1.0, above=0, high=10**6)

    def __post_init__(self) -> None:
        check_settings(self, "optimizer")


class _Clips:
    """Makes an optimizer for stage 0 clip, and skip an update whose gradient is not finite.

    DeepSpeed's own optimizers do this for stages 1 to 3 but nothing does for stage 0; the engine
    reads `overflow` and `_global_grad_norm` from any optimizer that has them.
    """

    param_groups: list[dict[str, Any]]

    def __init__(self, groups: Any, clip_norm: float, **options: Any) -> None:
        super().__init__(groups, **options)  # pyright: ignore[reportCallIssue]
        self.overflow = False
        self._clip_norm = clip_norm
        self._global_grad_norm = 0.0

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        parameters = [p for group in self.param_groups for p in group["params"]]
        grads = [p.grad for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        self._global_grad_norm = float(norm)
        self.overflow = not math.isfinite(self._global_grad_norm)
        if self.overflow:
            return
        if self._clip_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self._clip_norm, norm)
        super().step()  # pyright: ignore[reportAttributeAccessIssue]


class ClippingAdamW(_Clips, torch.optim.AdamW):  # pyright: ignore[reportIncompatibleMethodOverride]
    """AdamW for stage 0."""


def adamw_8bit(groups: Any, clip_norm: float | None, **options: Any) -> torch.optim.Optimizer:
    """Return bitsandbytes' AdamW, whose moments take a byte each, in blocks of 256.

    clip_norm: for stage 0; None leaves clipping to DeepSpeed. Moments of parameters with fewer
    than 4,096 elements stay whole.
    """
    try:
        base: Any = importlib.import_module("bitsandbytes").optim.AdamW8bit
    except ImportError as error:
        raise ValueError(
            "zero.optimizer=adamw8bit needs bitsandbytes: pip install bitsandbytes, or set "
            "zero.optimizer=adamw"
        ) from error
    if clip_norm is None:
        return base(groups, **options)
    return type("ClippingAdamW8bit", (_Clips, base), {})(groups, clip_norm, **options)


def lr_at(optimizer: OptimizerConfig, step: int, total_steps: int) -> float:
    """Return the learning rate of the update after `step` updates."""
    if step < optimizer.warmup_steps:
        return optimizer.lr * (step + 1) / (optimizer.warmup_steps + 1)
    if optimizer.schedule == "constant":
        return optimizer.lr
    span = max(total_steps - optimizer.warmup_steps, 1)
    share = min((step - optimizer.warmup_steps) / span, 1.0)
    fall = 0.5 * (1 + math.cos(math.pi * share))
    return optimizer.lr * (optimizer.min_lr_share + (1 - optimizer.min_lr_share) * fall)


class Schedule:
    """Sets the rate of every group before each update; its state is the number of updates.

    The engine calls `step` after an update that was applied, never after a skipped one.
    """

    def __init__(self, adamw: torch.optim.Optimizer, config: OptimizerConfig, steps: int) -> None:
        self._adamw, self._config, self._steps = adamw, config, steps  # loading replaces its groups
        # Kept apart: loading a converted checkpoint gives all groups the options of the first.
        self._scales = [(group["lr_scale"], group["decayed"]) for group in adamw.param_groups]
        self.updates = 0
        self.apply()

    @property
    def lr(self) -> float:
        """The rate of the next update."""
        return lr_at(self._config, self.updates, self._steps)

    def apply(self) -> None:
        """Write the rate, and all that the configuration says, over what a checkpoint loaded."""
        for group, (lr_scale, decayed) in zip(self._adamw.param_groups, self._scales, strict=True):
            group["lr"] = self.lr * lr_scale
            group["betas"] = tuple(self._config.betas)
            group["eps"] = self._config.eps
            group["weight_decay"] = self._config.weight_decay * decayed

    def step(self) -> None:
        self.updates += 1
        self.apply()

    def state_dict(self) -> dict[str, int]:
        return {"updates": self.updates}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.updates = state["updates"]
        self.apply()


def parameter_groups(
    model: torch.nn.Module, optimizer: OptimizerConfig, is_new: Callable[[str], bool] | None = None
) -> list[dict[str, Any]]:
    """Return the trainable parameters by (new or not, decayed or not), without empty groups."""
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        shape = getattr(parameter, "ds_shape", parameter.shape)  # of a parameter that is spread
        decayed = len(shape) > 1 and not name.endswith(_UNDECAYED)
        groups.setdefault((bool(is_new and is_new(name)), decayed), []).append(parameter)
    if not groups:
        raise ValueError("the model has no trainable parameter; unfreeze some or use LoRA")
    return [
        {
            "params": groups[new, decayed],
            "weight_decay": optimizer.weight_decay * decayed,
            "lr_scale": optimizer.new_modules_lr_scale if new else 1.0,
            "decayed": decayed,
        }
        for new, decayed in sorted(groups)
    ]
