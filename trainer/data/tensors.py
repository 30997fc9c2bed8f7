"""Tensors as bytes: bfloat16, row-major, little-endian."""

from collections.abc import Sequence

import numpy as np
import torch


def to_bytes(values: torch.Tensor) -> bytes:
    """Round to bfloat16 and return the bytes."""
    bits = values.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16)
    return bits.numpy().astype("<i2", copy=False).tobytes()


def from_bytes(content: bytes, shape: Sequence[int]) -> torch.Tensor:
    """Return the float32 tensor of these bytes; rows missing at the end are zero.

    Raises ValueError when the bytes cannot have the shape.
    """
    if not shape or min(shape) < 1:
        raise ValueError(f"shape must have positive sides, got {list(shape)}")
    row = int(np.prod(shape[1:], dtype=np.int64))
    rows, rest = divmod(len(content), 2 * row)
    if rest or rows > shape[0]:
        raise ValueError(f"{len(content)} bytes are no bfloat16 tensor of shape {list(shape)}")
    bits = torch.from_numpy(np.frombuffer(content, "<i2").astype(np.int16))
    values = torch.zeros(tuple(shape), dtype=torch.float32)
    values.view(shape[0], row)[:rows] = bits.view(torch.bfloat16).view(rows, row).float()
    return values


def without_zero_tail(values: torch.Tensor) -> torch.Tensor:
    """Return the rows up to the last that is not all zero, at least one."""
    used = torch.nonzero(values.flatten(1).any(1))
    return values[: int(used[-1]) + 1 if len(used) else 1]
