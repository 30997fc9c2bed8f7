"""What a training reads: the samples, and the frozen encoders that turn them into latents."""

from dataclasses import dataclass

import torch

from trainer.config import Training
from trainer.data.latents import LatentSource
from trainer.data.source import Source, open_source
from trainer.encoders import Encoders, load_codec, load_encoders
from trainer.encoders.interfaces import VideoCodec


@dataclass(frozen=True)
class Inputs:
    """Open data and loaded encoders. With latents, only the codec is needed, to show videos."""

    source: Source
    codec: VideoCodec
    encoders: Encoders | None
    null_text: torch.Tensor  # (1, L, text_dim)


def open_inputs(config: Training, data: str, device: torch.device) -> Inputs:
    """Open the dataset and load the encoders. Raises ValueError with what is wrong with them."""
    source = open_source(data, config.data)
    if isinstance(source, LatentSource):
        codec = load_codec(config.encoders, device)
        return Inputs(source, codec, None, source.null_text[None].to(device))
    encoders = load_encoders(config.encoders, device)
    return Inputs(source, encoders.codec, encoders, encoders.encode_prompts([""]).to(device))
