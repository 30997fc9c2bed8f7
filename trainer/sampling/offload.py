"""Hold the parts of a pipeline on the CPU, and on the device only what computes, by accelerate."""

from collections.abc import Sequence
from typing import Any

import torch

from trainer.encoders.encoder_config import Encoders


class Offload:
    """Parts that come to a device when they are called.

    Attributes:
        device: where they compute.
    """

    def __init__(
        self,
        encoders: Encoders,
        transformers: Sequence[torch.nn.Module],
        device: torch.device | str,
        layer_by_layer: bool,
    ) -> None:
        """Take parts that lie on the CPU; either wholes in turn, or layer by layer."""
        self.device = usable_device(device)
        # In the order in which they are needed: each whole part sends the one before it back.
        with_weights: list[Any] = [
            each
            for each in (encoders.text, encoders.image, encoders.codec)
            if hasattr(each, "weights")
        ]
        codec = [each.weights for each in with_weights if each is encoders.codec]
        readers = [each.weights for each in with_weights if each is not encoders.codec]
        self._parts = [*readers, *transformers, *codec]
        self._encoders = with_weights
        for part in self._parts:
            torch.nn.Module.to(part, "cpu")
        for each in with_weights:
            each.compute_on(str(self.device))
        self._hooks = [] if layer_by_layer else self._hook_wholes()
        if layer_by_layer:
            self._hook_layers()

    def _hook_wholes(self) -> list[Any]:
        from accelerate import cpu_offload_with_hook

        hooks: list[Any] = []
        for part in self._parts:
            _, hook = cpu_offload_with_hook(part, self.device, hooks[-1] if hooks else None)
            hooks.append(hook)
        return hooks

    def _hook_layers(self) -> None:
        from accelerate import cpu_offload

        for part in self._parts:
            own = len(part._parameters) > 0
            cpu_offload(part, self.device, offload_buffers=own)

    def rest(self) -> None:
        """Send back what is on the device, after a video."""
        for hook in self._hooks:
            hook.offload()

    def end(self) -> None:
        """Leave all parts on the CPU, as if nothing had been offloaded."""
        from accelerate.hooks import remove_hook_from_module

        self.rest()
        for part in self._parts:
            remove_hook_from_module(part, recurse=True)
            torch.nn.Module.to(part, "cpu")
        for each in self._encoders:
            each.compute_on("cpu")


def usable_device(name: torch.device | str) -> torch.device:
    """Return a device of this machine, or raise ValueError."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name} cannot be used: {reason}; use cpu") from error
    return device
