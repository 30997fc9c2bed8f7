"""A tiny transformer, and random inputs for it."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from trainer.encoders import EncoderConfig, load_encoders
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.sampling.model_folder import Published, VideoSize
from trainer.sampling.pipeline import ContextAnyonePipeline
from trainer.sampling.sampler import SamplingConfig

WAN: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 64,
    "num_layers": 2,
}
IMAGE_DIM = 40


def tiny_model(seed: int = 0, awake: bool = True, **fields: Any) -> ContextAnyoneTransformer3DModel:
    """Build the model; awake: also what starts silent has random weights."""
    torch.manual_seed(seed)
    model = ContextAnyoneTransformer3DModel(**{**WAN, "image_dim": IMAGE_DIM, **fields})
    if awake:
        for name, parameter in model.named_parameters():
            silent = ("alpha", "gate", "add_v_proj", "emphasize.to_out", ".up.")
            if any(part in name for part in silent):
                torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def tiny_pipeline(steps: int = 2, marks: int = 0) -> ContextAnyonePipeline:
    """Make a pipeline whose videos, of 9 frames of 48x80, take a second."""
    encoders = EncoderConfig(text_dim=32, image_grid=2)
    published = Published(
        encoders,
        SamplingConfig(steps=steps, shift=5.0, text_guidance=3.5),
        VideoSize(height=48, width=80, frames=9, fps=8),
        step=120,
    )
    return ContextAnyonePipeline(
        tiny_model(image_dim=32, marks=marks), load_encoders(encoders), published
    )


def tiny_inputs(
    batch: int = 2, frames: int = 3, references: int = 1, seed: int = 1
) -> dict[str, Any]:
    """Draw what the model's forward takes; the reference has a grid of its own."""
    source = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=source)

    return {
        "hidden_states": normal(batch, 16, frames, 8, 12),
        "timestep": 1000 * torch.rand(batch, generator=source),
        "encoder_hidden_states": normal(batch, 10, 32),
        "reference": normal(batch, 16, references, 6, 8),
        "image_embeds": normal(batch, 5, IMAGE_DIM),
    }


def tiny_picture(seed: int = 0, size: tuple[int, int] = (40, 60)) -> Image.Image:
    """Draw a smooth random picture of (width, height)."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
