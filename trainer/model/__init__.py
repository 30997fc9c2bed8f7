"""The ContextAnyone transformer, on top of diffusers' Wan classes.

In: noisy latents, text and image features, reference latents. Out: velocities. Imports none of the
trainer's other packages.
"""

from trainer.model.block import ReferenceKV
from trainer.model.marks import Marks
from trainer.model.streams import Character
from trainer.model.transformer import (
    ContextAnyoneOutput,
    ContextAnyoneTransformer3DModel,
    ReferenceCache,
)

__all__ = [
    "Character",
    "ContextAnyoneOutput",
    "ContextAnyoneTransformer3DModel",
    "Marks",
    "ReferenceCache",
    "ReferenceKV",
]
