"""Exponential moving average of the weights, each process keeping a share of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file

from trainer.saving.complete import read_json, write_json
from trainer.saving.files import Files

HEADER = "ema.json"


_Span = Callable[[int], tuple[int, int]]  # the elements [start, stop) of so many


def _shard(rank: int, world_size: int) -> str:
    return f"ema-{rank:05d}-of-{world_size:05d}.safetensors"


def _write_share(shares: dict[str, torch.Tensor], path: Path) -> None:
    save_file({name: share.cpu() for name, share in shares.items()}, path)


def _read_header(folder: Path) -> dict[str, Any]:
    if not (folder / HEADER).exists():
        raise ValueError(
            f"{folder} holds no EMA: it was trained without; set ema.decay=0 or train with one"
        )
    return read_json(folder / HEADER)


def _slices(
    folder: Path, header: dict[str, Any], span: _Span
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and wanted elements of every parameter, joined from the shares that hold them."""
    world_size = header["world_size"]
    with ExitStack() as stack:
        files = [
            stack.enter_context(safe_open(folder / _shard(rank, world_size), "pt"))
            for rank in range(world_size)
        ]
        for name, shape in header["shapes"].items():
            numel = torch.Size(shape).numel()
            chunk = -(-numel // world_size)
            start, stop = span(numel)
            parts = []
            for rank in range(start // chunk, -(-stop // chunk)):
                first, last = max(start - rank * chunk, 0), min(stop - rank * chunk, chunk)
                parts.append(files[rank].get_slice(name)[first:last])
            yield name, torch.cat(parts) if parts else torch.empty(0)


class Ema:
    """Averages every trainable parameter in float32.

    Process r of W keeps elements [r * chunk, (r + 1) * chunk) of each flat parameter with
    chunk = ceil(elements / W), which is also how ZeRO-3 spreads it: an update moves nothing
    between processes. The decay warms up as (1 + n) / (10 + n) after n updates.
    """

    def __init__(self, model: torch.nn.Module, decay: float, every: int = 1) -> None:
        self._decay, self._every = decay, every
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.updates = 0
        self.shares = {name: self._share(p).float().clone() for name, p in self._parameters.items()}

    def _share(self, parameter: torch.Tensor) -> torch.Tensor:
        """Return this process's elements of a parameter, without copying."""
        spread = getattr(parameter, "ds_tensor", None)
        if spread is not None:
            start, stop = self._span(parameter.ds_numel)  # pyright: ignore[reportAttributeAccessIssue]
            return spread.detach().flatten()[: stop - start]  # the last one is padded
        flat = parameter.detach().reshape(-1)
        start, stop = self._span(flat.numel())
        return flat[start:stop]

    def _span(self, numel: int) -> tuple[int, int]:
        chunk = -(-numel // self._world)
        return min(self._rank * chunk, numel), min((self._rank + 1) * chunk, numel)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after update number `step`, when it is one of every n-th."""
        if step % self._every:
            return
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        shares = list(self.shares.values())
        new = [self._share(self._parameters[name]).float() for name in self.shares]
        torch._foreach_lerp_(shares, new, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        self.updates += 1

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Let the model have the averaged weights inside; the trained ones come back after.

        The trained ones wait in CPU memory. Every process must enter.
        """
        own = {name: self._values(p).to("cpu", copy=True) for name, p in self._parameters.items()}
        for name, parameter in self._parameters.items():
            self._put(parameter, self.shares[name])
        try:
            yield
        finally:
            for name, parameter in self._parameters.items():
                if hasattr(parameter, "ds_tensor"):
                    self._put(parameter, own[name].to(self.shares[name].device))
                else:
                    parameter.data.copy_(own[name])

    def _values(self, parameter: torch.nn.Parameter) -> torch.Tensor:
        """Return all that this process surely has of a parameter: its share, or the whole."""
        return self._share(parameter) if hasattr(parameter, "ds_tensor") else parameter.data

    def _put(self, parameter: torch.nn.Parameter, share: torch.Tensor) -> None:
        """Write the values of which this process has a share, wherever they are now."""
        spread = hasattr(parameter, "ds_tensor")
        if spread:
            self._share(parameter).copy_(share)
        if not spread or parameter.numel():
            whole = self._gather(share.to(parameter.device), parameter.numel())
            parameter.data.copy_(whole.view_as(parameter))

    def _gather(self, share: torch.Tensor, numel: int) -> torch.Tensor:
        """Return all elements of a parameter from the shares of all processes."""
        chunk = -(-numel // self._world)
        padded = torch.nn.functional.pad(share, (0, chunk - share.numel()))
        whole = padded.new_empty(chunk * self._world)
        dist.all_gather_into_tensor(whole, padded)
        return whole[:numel]

    def save(self, folder: Path, files: Files) -> None:
        """Save this process's share, the first process also the header."""
        shares = {name: share.detach() for name, share in self.shares.items()}
        path = folder / _shard(self._rank, self._world)
        files.save(path, shares, _write_share, "ema written")
        if self._rank:
            return
        shapes = {n: list(getattr(p, "ds_shape", p.shape)) for n, p in self._parameters.items()}
        header = {"world_size": self._world, "updates": self.updates, "shapes": shapes}
        files.save(folder / HEADER, header, lambda content, path: write_json(path, content))

    def load(self, folder: Path) -> None:
        """Continue from a saved average, written by any number of processes.

        A checkpoint without one raises ValueError.
        """
        header = _read_header(folder)
        names = header["shapes"].keys()
        if names != self.shares.keys():
            other = sorted(names ^ self.shares.keys())
            raise ValueError(f"the EMA in {folder} is of another model: {other[0]} is in one only")
        for name, shape in header["shapes"].items():
            start, stop = self._span(torch.Size(shape).numel())
            if stop - start != self.shares[name].numel():
                raise ValueError(f"the EMA in {folder} has another shape for {name}: {shape}")
        for name, part in _slices(folder, header, self._span):
            self.shares[name].copy_(part)
        self.updates = header["updates"]


def read_ema(folder: Path) -> dict[str, torch.Tensor]:
    """Return the whole average of a checkpoint in float32. Needs no process group."""
    header = _read_header(folder)
    parts = _slices(folder, header, lambda numel: (0, numel))
    return {name: part.view(header["shapes"][name]) for name, part in parts}
