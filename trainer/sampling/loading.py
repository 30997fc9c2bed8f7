"""Load the weights of a published model, and refuse what does not fit together."""

from pathlib import Path
from typing import Any

import torch

from trainer.encoders.encoder_config import Encoders
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.sampling.model_folder import Published


def load_transformer(
    path: Path, dtype: torch.dtype, variant: str | None
) -> ContextAnyoneTransformer3DModel:
    try:
        loaded: Any = ContextAnyoneTransformer3DModel.from_pretrained(
            str(path),
            torch_dtype=dtype,
            variant=variant,
            local_files_only=True,
            output_loading_info=True,
        )
        model, info = loaded
    except Exception as error:  # whatever is wrong with the files, the folder is what to look at
        raise ValueError(
            f"the weights of {path} cannot be read ({type(error).__name__}: {str(error)[:300]}); "
            "export the model again"
        ) from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            names = ", ".join(str(name) for name in sorted(info[kind])[:3])
            raise ValueError(
                f"the weights of {path} do not fit its config.json: {len(info[kind])} "
                f"{kind.replace('_', ' ')} ({names}); export the model again"
            )
    for parameter in model.parameters():  # mapped from the file at odd addresses, where the CPU's
        parameter.data = parameter.data.clone()  # kernels round otherwise than in training
    return model


def round_weights(model: ContextAnyoneTransformer3DModel, dtype: torch.dtype) -> None:
    """Round weights to a dtype, but for those that diffusers keeps in float32 when it loads."""
    for name, parameter in model.named_parameters():
        if not set(name.split(".")) & set(model._keep_in_fp32_modules):
            parameter.data = parameter.data.to(dtype)


def check_fit(transformer: ContextAnyoneTransformer3DModel, encoders: Encoders) -> None:
    """Raise ValueError unless the transformer reads what these encoders make."""
    config = transformer.config
    pairs = [
        ("in_channels", "codec", encoders.codec.channels),
        ("text_dim", "text encoder", encoders.text.dim),
    ]
    if config["image_dim"] is not None:
        pairs.append(("image_dim", "image encoder", encoders.image.dim))
    for name, what, made in pairs:
        if config[name] != made:
            raise ValueError(
                f"the model reads {name} {config[name]}, this {what} gives {made}; use the "
                "encoders that the model was trained with"
            )


def check_experts(published: Published) -> None:
    """Raise ValueError where one of two experts is missing."""
    if published.expert in ("high", "low"):
        other = "low" if published.expert == "high" else "high"
        raise ValueError(
            f"this model is the expert for {published.expert} noise levels alone, the one for "
            f"{other} ones is needed as well: --model HIGH --low LOW, or a folder with both"
        )
