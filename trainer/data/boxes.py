"""Where characters are: boxes of px as shares of latent cells."""

import torch


def shares_of_boxes(boxes: torch.Tensor, sides: tuple[int, int], stride: int) -> torch.Tensor:
    """Map boxes (B, P, F, 4), xyxy in px, to shares of latent cells (B, P, f, h, w).

    sides: height and width of the video in px.
    """
    left, top, right, bottom = boxes.float().unbind(-1)
    rows = _shares_of_stretch(top, bottom, sides[0], stride)
    columns = _shares_of_stretch(left, right, sides[1], stride)
    shares = rows[..., :, None] * columns[..., None, :]  # (B, P, F, h, w)
    first, others = shares[:, :, :1], shares[:, :, 1:]
    return torch.cat([first, others.unflatten(2, (-1, 4)).mean(3)], 2)


def _shares_of_stretch(
    start: torch.Tensor, end: torch.Tensor, side: int, stride: int
) -> torch.Tensor:
    """Return the share of every cell of a side that lies between two px: (…, side // stride)."""
    cells = torch.arange(0, side, stride, device=start.device)
    until = torch.minimum(end[..., None], cells + stride)
    return (until - torch.maximum(start[..., None], cells)).clamp(min=0) / stride
