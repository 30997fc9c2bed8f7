"""The ContextAnyone transformer, on top of diffusers' Wan classes."""

from trainer.model.block import Memory
from trainer.model.transformer import (
    ContextAnyoneOutput,
    ContextAnyoneTransformer3DModel,
    ReferenceCache,
)

__all__ = ["ContextAnyoneOutput", "ContextAnyoneTransformer3DModel", "Memory", "ReferenceCache"]
