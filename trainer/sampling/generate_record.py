"""What stands beside a video: all that is needed to make it again."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from trainer.sampling.generate_flags import boxes_of, scales_of
from trainer.sampling.generate_plan import pictures_of

if TYPE_CHECKING:
    from trainer.sampling.model_folder import VideoSize
    from trainer.sampling.pipeline import ContextAnyonePipeline
    from trainer.sampling.sampler import SamplingConfig


def record_of(
    arguments: argparse.Namespace,
    pipeline: "ContextAnyonePipeline",
    prompt: str,
    size: "VideoSize",
    sampling: "SamplingConfig",
    seconds: float,
    adapters: Mapping[str, str],
) -> dict[str, Any]:
    """Return all that is needed to make the video again.

    seconds: of a step. adapters: by flag, the sha256 of its file.
    """
    import diffusers
    import torch

    from trainer.encoders.folders import digest_of
    from trainer.saving.complete import sha256_of

    return {
        "prompt": prompt,
        "negative_prompt": arguments.negative_prompt,
        "seed": arguments.seed,
        "references": {path.name: sha256_of(path) for path in pictures_of(arguments)},
        **_named(arguments),
        "model": str(arguments.model),
        "model_digest": digest_of(arguments.model / "transformer"),
        "model_step": pipeline.published.step,
        "model_made_by": pipeline.published.made_by,
        "lora": {flag: adapters[flag] for flag in arguments.lora},
        **_record_of_low(arguments, pipeline, adapters),
        "encoders": asdict(pipeline.published.encoders),
        "sampling": asdict(sampling),
        "video": asdict(size),
        "device": str(pipeline.device),
        "dtype": str(pipeline.transformer.dtype).removeprefix("torch."),
        "seconds_per_step": round(seconds, 4),
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
    }


def _record_of_low(
    arguments: argparse.Namespace, pipeline: "ContextAnyonePipeline", adapters: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the second of two experts adds to the record; nothing where there is none."""
    from trainer.encoders.folders import digest_of

    published = pipeline.published
    if published.low_sampling is None:
        return {}
    folder = arguments.model / "transformer_2"
    if arguments.low is not None:
        folder = arguments.low / "transformer"
    return {
        "low": str(arguments.low or ""),
        "low_digest": digest_of(folder),
        "low_sampling": asdict(replace(published.low_sampling, **scales_of(arguments))),
        "boundary": published.boundary,
        "lora_low": {flag: adapters[flag] for flag in arguments.lora_low},
    }


def _named(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return who is who in a video of named characters."""
    from trainer.saving.complete import sha256_of

    if arguments.reference:
        return {}
    return {
        "characters": {
            name: {file.name: sha256_of(file) for file in files}
            for name, files, _ in arguments.character
        },
        "boxes": {name: list(boxes) for name, boxes in boxes_of(arguments).items()},
        "character_guidance": dict(arguments.character_guidance),
    }
