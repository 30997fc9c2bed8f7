"""Tensors as bytes: bfloat16, float16 or float32, row-major, little-endian."""

from collections.abc import Sequence

import numpy as np
import torch

# number type -> what torch calls it, the integers by which numpy carries its bits
_TYPES = {
    "bfloat16": (torch.bfloat16, "<i2", torch.int16),
    "float16": (torch.float16, "<i2", torch.int16),
    "float32": (torch.float32, "<i4", torch.int32),
}


def item_bytes(number_type: str) -> int:
    """Return the bytes of one number."""
    return _TYPES[number_type][0].itemsize


def to_bytes(values: torch.Tensor, number_type: str = "bfloat16") -> bytes:
    """Round to a number type and return the bytes. Raises ValueError where it cannot hold them."""
    kind, stored, carrier = _TYPES[number_type]
    rounded = values.detach().to("cpu", kind).contiguous()
    if bool(rounded.isinf().any()) and not bool(values.isinf().any()):
        raise ValueError(
            f"{number_type} holds numbers up to {torch.finfo(kind).max:g}, a tensor has "
            f"{float(values.abs().max()):g}; choose bfloat16 or float32"
        )
    return rounded.view(carrier).numpy().astype(stored, copy=False).tobytes()


def from_bytes(content: bytes, shape: Sequence[int], number_type: str = "bfloat16") -> torch.Tensor:
    """Return the float32 tensor of these bytes; rows missing at the end are zero.

    Raises ValueError when the bytes cannot have the shape.
    """
    if not shape or min(shape) < 1:
        raise ValueError(f"shape must have positive sides, got {list(shape)}")
    kind, stored, _ = _TYPES[number_type]
    row = int(np.prod(shape[1:], dtype=np.int64))
    rows, rest = divmod(len(content), kind.itemsize * row)
    if rest or rows > shape[0]:
        raise ValueError(f"{len(content)} bytes are no {number_type} tensor of shape {list(shape)}")
    read = np.frombuffer(content, stored)
    bits = torch.from_numpy(read.astype(read.dtype.newbyteorder("="), copy=True))
    values = torch.zeros(tuple(shape), dtype=torch.float32)
    values.view(shape[0], row)[:rows] = bits.view(kind).view(rows, row).float()
    return values


def without_zero_tail(values: torch.Tensor) -> torch.Tensor:
    """Return the rows up to the last that is not all zero, at least one."""
    used = torch.nonzero(values.flatten(1).any(1))
    return values[: int(used[-1]) + 1 if len(used) else 1]
