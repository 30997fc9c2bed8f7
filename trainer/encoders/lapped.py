"""The codec without weights, with blocks that overlap: what is missing leaves no grid behind.

A block of eight ends abruptly, so where coefficients are left out its edges are seen. Here the four
numbers on each side of an edge are first turned into each other by an orthonormal matrix; then the
cosine transform of the blocks is that of smooth waves sixteen long that overlap by half. Constant
stretches stay as they are, so that one coefficient still holds a block's brightness.
Source: Malvar, "Signal Processing with Lapped Transforms", 1992 (the lapped orthogonal transform);
Tran, Liang and Tu, "Lapped transform via time-domain pre- and post-filtering", 2003 (its form).
"""

import math

import torch

from trainer.encoders.dct import DctCodec, cosines

_HALF = 4  # numbers on each side of an edge between blocks
# Of the coefficients, measured on 44 clips of 33 frames at 16 fps, 96x160.
DEVIATIONS = (
    *(6.824, 1.142, 1.419, 0.570, 0.484, 0.610, 0.308, 0.345, 0.328, 0.393),
    *(1.725, 0.264, 0.323, 0.599, 0.547, 0.299),
)


def edge_matrix() -> torch.Tensor:
    """Return the orthonormal (8, 8) matrix across an edge, float64: V of differences alone."""
    half = (torch.arange(_HALF, dtype=torch.float64) + 0.5) * math.pi / _HALF
    fourth = torch.cos(half[:, None] * (torch.arange(_HALF) + 0.5)) * math.sqrt(2 / _HALF)
    turn = cosines(_HALF).T @ fourth
    one, mirror = torch.eye(_HALF, dtype=torch.float64), torch.eye(_HALF).double().flip(0)
    # Sums and differences of what lies at the same distance on both sides.
    pairs = torch.cat([torch.cat([one, mirror], 1), torch.cat([one, -mirror], 1)]) / math.sqrt(2)
    turned = torch.block_diag(one, turn)
    return pairs.T @ turned @ pairs


class LappedCodec(DctCodec):
    """`DctCodec` on overlapping blocks. Still orthonormal, of the same stride and channels."""

    name = "lapped"
    mean = (-1.982, *(0.0,) * 9, 1.175, *(0.0,) * 5)  # a mean below 0.03 is taken for 0
    # The root of the standard deviation: a number that decides how a block looks is a larger number
    # of the latents too. With unit variance for all, brightness has no more weight than a corner's
    # shimmer, and a model of a few hundred updates paints every patch in a shade of its own.
    scale = tuple(math.sqrt(deviation) for deviation in DEVIATIONS)

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self._edge = edge_matrix().float().to(device)

    def before_blocks(self, frames: torch.Tensor) -> torch.Tensor:
        return self._across_edges(frames, self._edge)

    def after_blocks(self, frames: torch.Tensor) -> torch.Tensor:
        return self._across_edges(frames, self._edge.T)

    def _across_edges(self, frames: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
        """Turn what lies around every inner edge between blocks, in rows and in columns."""
        edge = edge.to(frames.device)
        for axis in (-1, -2):
            rows = frames.movedim(axis, -1)
            inner = rows[..., _HALF:-_HALF].unflatten(-1, (-1, 2 * _HALF)) @ edge.T
            ends = (rows[..., :_HALF], inner.flatten(-2), rows[..., -_HALF:])
            frames = torch.cat(ends, -1).movedim(-1, axis)
        return frames
