"""Frozen encoders: pixels, prompts and reference images become what the model reads."""

from trainer.encoders.batch import encode_batch
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
