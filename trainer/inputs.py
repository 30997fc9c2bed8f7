"""What a training reads: the samples, and the frozen encoders that turn them into latents."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trainer.data.data_config import DataConfig
from trainer.data.latent_source import LatentSource
from trainer.data.open_source import open_source, training_buckets
from trainer.data.origin import describe_data
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
    fingerprint: Mapping[str, str]  # of the encoders

    def describe(self, data: DataConfig) -> dict[str, Any]:
        """Return which data are trained on. Raises ValueError when a bucket has too few samples."""
        chosen = np.concatenate(list(training_buckets(self.source, data).values()))
        fps = self.source.fps_of(chosen)
        return describe_data(self.source.origin, len(chosen), fps, self.fingerprint, data)


def open_inputs(config: TrainConfig, data: str, device: torch.device) -> Inputs:
    """Open the dataset and load the encoders. Raises ValueError with what is wrong with them."""
    others = config.model.reconstruction == "other"
    if config.data.source == "latents":
        codec = load_codec(config.encoders, device)
        known = known_fingerprint(config.encoders) | {"codec": codec.fingerprint}
        stored = LatentSource(data, config.data, known, others)
        null_text = stored.null_text[None].to(device)
        return Inputs(stored, codec, None, null_text, stored.layout.fingerprint)
    source = open_source(data, config.data, others=others)
    encoders = load_encoders(config.encoders, device)
    null_text = encoders.encode_prompts([""]).to(device)
    return Inputs(source, encoders.codec, encoders, null_text, encoders.fingerprint)
