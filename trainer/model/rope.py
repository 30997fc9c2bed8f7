"""Gap-RoPE: rotary positions of video and reference, apart on the temporal axis.

Latent frame f of the video sits at temporal position f; reference r at -gap * (r + 1), those of a
second character after those of the first. Only differences matter in RoPE, so this equals
"reference first, video from the gap on" while the pretrained positions of the video stay what they
were.
"""

import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

Rotation = tuple[torch.Tensor, torch.Tensor]  # cos and sin, each (1, N, 1, head_dim)


class GapRope(WanRotaryPosEmbed):
    """Wan's rotary tables, also at negative positions: cos is even, sin is odd."""

    freqs_cos: torch.Tensor
    freqs_sin: torch.Tensor

    def video(self, frames: int, rows: int, columns: int, shift: int = 0) -> Rotation:
        """Return the rotation of a video's tokens, frames first; `shift` moves all frames."""
        return self.at(range(shift, shift + frames), range(rows), range(columns))

    def references(
        self,
        number: int,
        rows: int,
        columns: int,
        gap: int,
        offset: tuple[int, int] = (0, 0),
        first: int = 0,
    ) -> Rotation:
        """Return the rotation of the tokens of a character's references.

        `offset` moves them off the grid; `first` is how many of other characters stand before.
        """
        down, right = offset
        times = [-gap * (first + index + 1) for index in range(number)]
        return self.at(times, range(down, down + rows), range(right, right + columns))

    def at(self, times: range | list[int], rows: range, columns: range) -> Rotation:
        """Return the rotation on a grid of positions, times outermost.

        Raises:
            ValueError: when a position lies outside the tables.
        """
        furthest = max(abs(place) for axis in (times, rows, columns) for place in axis)
        if furthest >= self.max_seq_len:
            raise ValueError(
                f"rotary position {furthest} is outside the tables, which end at "
                f"{self.max_seq_len - 1}: lower the gap, the references or the size, or raise "
                "rope_max_seq_len"
            )
        split = [self.t_dim, self.h_dim, self.w_dim]
        cosines = torch.split(self.freqs_cos, split, 1)
        sines = torch.split(self.freqs_sin, split, 1)
        axes = [
            torch.tensor(list(axis), device=self.freqs_cos.device)
            for axis in (times, rows, columns)
        ]
        cosine = _spread([table[axis.abs()] for table, axis in zip(cosines, axes, strict=True)])
        signed = zip(sines, axes, strict=True)
        return cosine, _spread([table[axis.abs()] * axis.sign()[:, None] for table, axis in signed])


def _spread(parts: list[torch.Tensor]) -> torch.Tensor:
    """Lay (t, dt), (h, dh), (w, dw) over the grid: (1, t * h * w, 1, dt + dh + dw)."""
    times, rows, columns = parts
    shape = (len(times), len(rows), len(columns), -1)
    laid = (times[:, None, None], rows[None, :, None], columns[None, None])
    return torch.cat([part.expand(shape) for part in laid], -1).flatten(0, 2)[None, :, None]


def rotate(heads: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Turn pairs of channels of (B, N, heads, head_dim), computed as diffusers does."""
    cosine, sine = rotation
    even, odd = heads.unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = cosine[..., 0::2], sine[..., 1::2]
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1)
    return turned.flatten(-2).type_as(heads)
