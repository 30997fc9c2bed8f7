"""Reference images become semantic tokens: by CLIP as in Wan, or by pooled colours."""

import math
from pathlib import Path

import torch
from torch.nn import functional as F

from trainer.encoders.dct import colours, cosines

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of RGB in [0, 1], for every published CLIP
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_CELL = 8  # px of a cell of the pooled picture


def fit_square(images: torch.Tensor, size_px: int) -> torch.Tensor:
    """Scale (B, 3, H, W) to fit a square and fill the rest with the middle grey 0.

    CLIP's own processor crops the centre, which cuts head and feet off an upright picture of a
    person; here the whole picture stays.
    """
    height, width = images.shape[-2:]
    scale = size_px / max(height, width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    images = F.interpolate(images, inner, mode="bicubic", antialias=True, align_corners=False)
    top, left = (size_px - inner[0]) // 2, (size_px - inner[1]) // 2
    edges = (left, size_px - inner[1] - left, top, size_px - inner[0] - top)
    return F.pad(images.clamp(-1, 1), edges)


class PooledPixels:
    """Coarse content of a grid of cells, and where each is; nothing is learned or loaded.

    A token holds 21 cosine coefficients of its cell (seven low frequencies of three colours), the
    cell's contrast in three colours and eight numbers that say its row and column.
    """

    dim = 32

    def __init__(self, grid: int = 4, device: str = "cpu") -> None:
        self._grid, self.num_tokens = grid, grid * grid
        self.fingerprint = f"pooled-1-{grid}"
        space, low = cosines(_CELL), [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 2)]
        kept = [torch.einsum("y,x->yx", space[y], space[x]) for y, x in low]
        # 1 / 8 gives the mean of a cell; the other frequencies are weaker, and raised to match
        raised = torch.tensor([1.0] + [4.0] * 6, dtype=torch.float64)[:, None, None] / _CELL
        self._basis = (torch.stack(kept) * raised).float().to(device)
        vivid = torch.tensor([[1.0], [3.0], [8.0]])  # colour varies less than brightness (measured)
        self._colours = (colours() * vivid).float().to(device)
        turn = math.pi * (torch.arange(grid) + 0.5) / grid
        wave = torch.stack([turn.sin(), turn.cos(), (2 * turn).sin(), (2 * turn).cos()], 1)
        rows = wave[:, None].expand(grid, grid, 4)
        self._place = torch.cat([rows, rows.transpose(0, 1)], 2).flatten(0, 1).to(device)

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) in [-1, 1], any size, to (B, grid * grid, 32)."""
        images = fit_square(images.float(), self._grid * _CELL)
        images = torch.einsum("kc,bchw->bkhw", self._colours.to(images.device), images)
        cells = images.unflatten(3, (self._grid, _CELL)).unflatten(2, (self._grid, _CELL))
        cells = cells.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (B, cells, 3, 8, 8)
        low = torch.einsum("bnkyx,fyx->bnkf", cells, self._basis.to(images.device)).flatten(2)
        contrast = cells.flatten(3).std(3) * 2
        place = self._place.to(images.device).expand(len(images), -1, -1)
        return torch.cat([low, contrast, place], 2)


class ClipImageEncoder:
    """CLIP's vision transformer; tokens come from the last layer but one, as in Wan I2V."""

    def __init__(
        self, folder: Path, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"
    ) -> None:
        from transformers import CLIPVisionModel

        from trainer.encoders.folders import digest_of, load_weights

        self._model = load_weights(CLIPVisionModel.from_pretrained, folder, dtype=dtype).to(device)
        self.weights: torch.nn.Module = self._model
        config = self._model.config
        self.dim, self._size_px = config.hidden_size, config.image_size
        self.num_tokens = (config.image_size // config.patch_size) ** 2 + 1  # and the class token
        self._mean = torch.tensor(_CLIP_MEAN, device=device)[:, None, None]
        self._std = torch.tensor(_CLIP_STD, device=device)[:, None, None]
        self._dtype, self._device = dtype, device
        self.fingerprint = f"clip-1-{digest_of(folder)}-{dtype}"

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) in [-1, 1], any size, to (B, num_tokens, dim) float32."""
        images = fit_square(images.float().to(self._device), self._size_px)
        pixels = ((images + 1) / 2 - self._mean) / self._std
        output = self._model(pixel_values=pixels.to(self._dtype), output_hidden_states=True)
        return output.hidden_states[-2].float()

    def compute_on(self, device: str) -> None:
        """Send pictures to another device; the weights are moved by whoever asks for it."""
        self._device = device
        self._mean, self._std = self._mean.to(device), self._std.to(device)
