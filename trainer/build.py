"""Build the transformer that a training starts from, pretrained or random."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from trainer.distributed.zero import ZeroConfig, load_parameters, sharded_init
from trainer.encoders.folders import check_folder, find_folder
from trainer.inputs import Inputs
from trainer.lora import add_lora
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.saving.weights import WeightsFile
from trainer.train_config import ModelConfig

_END_BYTES = 2**20


def build_model(
    config: ModelConfig, zero: ZeroConfig, seed: int
) -> ContextAnyoneTransformer3DModel:
    """Return the transformer in fp32, pretrained or with random weights that depend on the seed.

    With ZeRO-3 no process ever holds the whole model.

    Raises:
        ValueError: when an exported model was trained with another choice of the method.
    """
    torch.manual_seed(seed)
    if config.pretrained:
        model = _load(config, zero)
    else:
        with sharded_init(zero):
            model = ContextAnyoneTransformer3DModel(**config.fields())
    if config.attention != "native":
        model.set_attention_backend(config.attention)
    add_lora(model, config.lora)
    model.enable_checkpointing(config.checkpointing)
    return model


def _pretrained_folder(config: ModelConfig) -> Path:
    folder = find_folder(
        config.pretrained, ("transformer", ""), "transformer", False, "model.pretrained"
    )
    check_folder(folder)
    return folder


def base_of(config: ModelConfig, seed: int) -> dict[str, Any]:
    """Say what training starts from, so that frozen weights need not be saved with it.

    Of pretrained files size, header and both ends are hashed, which tells two models apart in a
    moment.
    """
    if not config.pretrained:
        return {"pretrained": "", "digest": f"seed {seed}"}
    digest = hashlib.sha256()
    for file in sorted(_pretrained_folder(config).glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as content:
            digest.update(content.read(_END_BYTES))
            content.seek(max(0, size - _END_BYTES))
            digest.update(content.read(_END_BYTES))
    return {"pretrained": config.pretrained, "digest": digest.hexdigest()[:32]}


def _load(config: ModelConfig, zero: ZeroConfig) -> ContextAnyoneTransformer3DModel:
    cls = ContextAnyoneTransformer3DModel
    folder = _pretrained_folder(config)
    saved: Any = cls.load_config(folder)
    from_wan = saved.get("_class_name") == "WanTransformer3DModel"
    if not from_wan:
        _check_method(config, saved)
    fields = {"image_dim": config.image_dim, **config.method()} if from_wan else {}
    if zero.stage < 3:
        return cls.from_pretrained(folder, torch_dtype=torch.float32, **fields)
    with sharded_init(zero):
        model: Any = cls.from_config(saved, **fields)
    weights = WeightsFile(folder)
    load_parameters(model, _WithEmphasis(weights, model) if from_wan else weights)
    return model


def _check_method(config: ModelConfig, saved: Mapping[str, Any]) -> None:
    theirs = {
        name: saved[name]
        for name, chosen in config.method().items()
        if saved.get(name, chosen) != chosen
    }
    if theirs:
        raise ValueError(
            f"{config.pretrained} was trained with other choices: "
            + ", ".join(f"{name} is {value}" for name, value in theirs.items())
            + "; set "
            + ", ".join(f"model.{name}={value}" for name, value in theirs.items())
        )


class _WithEmphasis(Mapping[str, torch.Tensor]):
    """Wan's weights, in which emphasis starts as a copy of the block's self-attention."""

    def __init__(self, weights: WeightsFile, model: ContextAnyoneTransformer3DModel) -> None:
        self._weights = weights
        names = {name: name for name in weights}
        for name, _ in model.named_parameters():
            twin = name.replace(".emphasize.to_out.", ".attn1.to_out.0.")
            twin = twin.replace(".emphasize.", ".attn1.")
            if twin != name and twin in weights:
                names[name] = twin
        self._names = names

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._weights[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def check_features(model: ContextAnyoneTransformer3DModel, inputs: Inputs) -> None:
    """Raise ValueError when the encoders' features are not as wide as the model's inputs."""
    widths = [("text", "text_dim", inputs.null_text.shape[-1], "model.text_dim")]
    widths += [("latent", "in_channels", inputs.codec.channels, "encoders.codec")]
    if inputs.encoders is not None:
        widths += [("image", "image_dim", inputs.encoders.image.dim, "model.image_dim")]
    for what, field, width, setting in widths:
        if model.config[field] != width:
            raise ValueError(
                f"the model takes {what} features of width {model.config[field]}, the encoder "
                f"gives {width}: change {setting}, or choose another encoder"
            )
