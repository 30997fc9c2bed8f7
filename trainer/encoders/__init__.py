"""Frozen encoders: pixels, prompts and reference images become what the model reads.

In: a `PixelBatch`, prompts, pictures. Out: a `LatentBatch`, and frames decoded from latents.
Imports `data`.
"""

from trainer.encoders.encode_batch import encode_batch
from trainer.encoders.encoder_config import (
    EncoderConfig,
    Encoders,
    known_fingerprint,
    load_codec,
    load_encoders,
)

__all__ = [
    "EncoderConfig",
    "Encoders",
    "encode_batch",
    "known_fingerprint",
    "load_codec",
    "load_encoders",
]
