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
        self._encoders: list[Any] = [
            each
            for each in (encoders.text, encoders.image, encoders.codec)
            if hasattr(each, "weights")
        ]
        self._parts: list[torch.nn.Module] = [each.weights for each in self._encoders]
        self._parts += transformers
        self._there: torch.nn.Module | None = None
        for part in self._parts:
            torch.nn.Module.to(part, "cpu")
        for each in self._encoders:
            each.compute_on(str(self.device))
        if layer_by_layer:
            self._hook_layers()
        else:
            self._hook_wholes()

    def _hook_wholes(self) -> None:
        from accelerate.hooks import add_hook_to_module

        for part in self._parts:
            add_hook_to_module(part, _turn_of(self))

    def _hook_layers(self) -> None:
        from accelerate import cpu_offload

        for part in self._parts:
            own = len(part._parameters) > 0
            cpu_offload(part, self.device, offload_buffers=own)

    def bring(self, part: torch.nn.Module) -> None:
        """Let a whole part take the place on the device of the one that is there."""
        if part is not self._there:
            self.rest()
            torch.nn.Module.to(part, self.device)
            self._there = part

    def rest(self) -> None:
        """Send back what is on the device, after a video."""
        if self._there is not None:
            torch.nn.Module.to(self._there, "cpu")
            self._there = None

    def end(self) -> None:
        """Leave all parts on the CPU, as if nothing had been offloaded."""
        from accelerate.hooks import remove_hook_from_module

        self.rest()
        for part in self._parts:
            remove_hook_from_module(part, recurse=True)
            torch.nn.Module.to(part, "cpu")
        for each in self._encoders:
            each.compute_on("cpu")


def _turn_of(offload: Offload) -> Any:
    """Make a hook that brings a part before it computes, whoever computed before it.

    accelerate's own sends back the part that comes before in a fixed order, and a codec that has
    encoded the reference would stay beside the transformer.
    """
    from accelerate.hooks import CpuOffload
    from accelerate.utils import send_to_device

    class Turn(CpuOffload):
        def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
            offload.bring(module)
            return send_to_device(args, offload.device), send_to_device(kwargs, offload.device)

    return Turn(offload.device)


def usable_device(name: torch.device | str) -> torch.device:
    """Return a device of this machine, or raise ValueError."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name} cannot be used: {reason}; use cpu") from error
    return device
