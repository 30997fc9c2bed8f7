"""The text-to-video models that rows begin with: each is made once, whoever comes first."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def kept_base(path: Path, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the weights in a file, which is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            written = path.with_suffix(".part")
            save_file(make(), written)
            written.rename(path)
    return load_file(path)
