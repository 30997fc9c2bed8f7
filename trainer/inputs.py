"""What a training reads: the samples, and the frozen encoders that turn them into latents."""

from dataclasses import dataclass

import torch

from trainer.data.latent_source import LatentSource
from trainer.data.open_source import open_source
from trainer.data.source import SampleSet
from trainer.encoders import Encoders, known_fingerprint, load_codec, load_encoders
from trainer.encoders.interfaces import VideoCodec
from trainer.train_config import TrainConfig


@dataclass(frozen=True)
class Inputs:
    """Open data and loaded encoders. With latents, only the codec is needed, to show videos."""

    source: SampleSet
    codec: VideoCodec
    encoders: Encoders | None
    null_text: torch.Tensor  # (1, L, text_dim)


def open_inputs(config: TrainConfig, data: str, device: torch.device) -> Inputs:
    """Open the dataset and load the encoders. Raises ValueError with what is wrong with them."""
    if config.data.source == "latents":
        codec = load_codec(config.encoders, device)
        known = known_fingerprint(config.encoders) | {"codec": codec.fingerprint}
        stored = LatentSource(data, config.data, known)
        return Inputs(stored, codec, None, stored.null_text[None].to(device))
    source = open_source(data, config.data)
    encoders = load_encoders(config.encoders, device)
    return Inputs(source, encoders.codec, encoders, encoders.encode_prompts([""]).to(device))
