"""Ask a model for the whole clip in one step, from almost pure noise, with this or that reference.

Sampling adds up what a model does at every noise level, and small models lose the figure on the
way. A single step from a noised real clip keeps the layout that all rows are judged in, and with
the same noise for every row and reference it shows small differences: what does the reference
tell the model of colours that noise has hidden?
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.characters.items import Case
from trainer.flow import noised
from trainer.sampling.pipeline import ContextAnyonePipeline
from trainer.sampling.references import stack_references

SIGMA = 0.9
_BATCH = 16


@torch.no_grad()
def denoise(
    model: Path,
    cases: Sequence[Case],
    references: Sequence[np.ndarray] | None,
    sigma: float = SIGMA,
) -> np.ndarray:
    """Return the clips (N, F, H, W, 3) uint8 that a model sees behind the noise.

    `references` are those that the model is given, one a case, or None. The noise of a case is its
    own.
    """
    pipeline = ContextAnyonePipeline.from_pretrained(model)
    codec, size = pipeline.encoders.codec, pipeline.published.size
    made = []
    for first in range(0, len(cases), _BATCH):
        batch = cases[first : first + _BATCH]
        pictures = None
        if references is not None:
            given = [[Image.fromarray(one)] for one in references[first : first + _BATCH]]
            pictures = stack_references(given, len(batch), size)
        conditions = pipeline.encode([case.item.caption for case in batch], "", pictures)
        clean = codec.encode(_signed(np.stack([case.truth for case in batch])))
        noise = torch.stack(
            [
                torch.randn(clean.shape[1:], generator=torch.Generator().manual_seed(first + row))
                for row in range(len(batch))
            ]
        )
        level = torch.full((len(batch),), sigma)
        noisy = noised(clean, noise, level)
        velocity = pipeline.transformer(
            noisy,
            1000 * level,
            conditions.text,
            reference=conditions.reference,
            image_embeds=conditions.image,
        ).sample
        decoded = codec.decode(noisy - sigma * velocity).permute(0, 2, 3, 4, 1)
        made.append(((decoded + 1) * 127.5).round().clamp(0, 255).byte().numpy())
    return np.concatenate(made)


def _signed(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
