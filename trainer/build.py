"""Build the transformer that a training starts from, pretrained or random."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from trainer.distributed.zero import (
    ZeroConfig,
    load_deepspeed,
    load_parameters,
    sharded_init,
)
from trainer.encoders.folders import check_folder, find_folder
from trainer.inputs import Inputs
from trainer.lora import add_lora, keeps_frozen_in_bf16, shrink_frozen
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.model.bases import find_base
from trainer.model.int8 import round_frozen
from trainer.sampling.model_folder import INDEX, TRANSFORMER, TRANSFORMER_2
from trainer.saving.complete import read_json
from trainer.saving.weights import WeightsFile
from trainer.train_config import ModelConfig

_END_BYTES = 2**20
_LEVELS_OF = {
    "none": "all noise levels",
    "high": "high noise levels",
    "low": "low noise levels",
}


def build_model(
    config: ModelConfig, zero: ZeroConfig, seed: int, characters: int = 1
) -> ContextAnyoneTransformer3DModel:
    """Return the transformer in fp32, pretrained or with random weights that depend on the seed.

    With ZeRO-3 no process ever holds the whole model. Of several `characters` at once each can be
    marked, unless model.marks is false.

    Raises:
        ValueError: when an exported model was trained with another choice of the method.
    """
    torch.manual_seed(seed)
    if config.pretrained:
        model = _load(config, zero, config.fields(characters)["marks"])
    else:
        with sharded_init(zero):
            model = ContextAnyoneTransformer3DModel(**config.fields(characters))
        if zero.stage == 3:
            _copy_emphasis(model)
    if config.attention != "native":
        model.set_attention_backend(config.attention)
    add_lora(model, config.lora)
    if config.lora.base == "int8":
        round_frozen(model.blocks)
    elif keeps_frozen_in_bf16(config.lora, zero):
        shrink_frozen(model)
    model.enable_checkpointing(config.checkpointing, config.checkpointing_keeps)
    if config.compile:
        model.compile_blocks()
    return model


def _copy_emphasis(model: ContextAnyoneTransformer3DModel) -> None:
    """Let Emphasize-Attention start as it does where every process holds the whole of it."""
    blocks: Any = model.blocks
    for block in blocks:
        if block.emphasize is None or not block.emphasize.twins():
            continue
        twins = block.emphasize.twins()
        parts = [block.emphasize.get_parameter(own) for own in twins]
        parts += [block.attn1.get_parameter(theirs) for theirs in twins.values()]
        with load_deepspeed().zero.GatheredParameters(parts, modifier_rank=0):
            block.emphasize.copy_from(block.attn1)


def _pretrained_folder(config: ModelConfig) -> Path:
    names = (TRANSFORMER, "")
    if config.expert == "low":
        names = (TRANSFORMER_2, *names)
    folder = find_folder(config.pretrained, names, "transformer", False, "model.pretrained")
    check_folder(folder)
    check_expert(folder, config)
    return folder


def check_expert(folder: Path, config: ModelConfig) -> None:
    """Raise ValueError when the repository around a transformer says that it is another expert."""
    index = folder.parent / INDEX
    if folder.name not in (TRANSFORMER, TRANSFORMER_2) or not index.is_file():
        return
    said = read_json(index)
    there, boundary = _expert_in(said, folder.name), said.get("boundary_ratio")
    if there != config.expert:
        raise ValueError(
            f"{folder} is made for {_LEVELS_OF[there]}, and model.expert={config.expert} trains on "
            f"{_LEVELS_OF[config.expert]}: set model.expert={there}, or another model.pretrained"
        )
    if boundary is not None and boundary != config.boundary:
        raise ValueError(
            f"the experts of {folder.parent} meet at {boundary}: set model.boundary={boundary}"
        )


def _expert_in(index: Mapping[str, Any], name: str) -> str:
    """Return which expert a model_index.json, ours or of diffusers, says that a folder holds."""
    if index.get("boundary_ratio") is None:
        return "none"
    if index.get("expert") in ("high", "low"):  # of ours, alone in its folder
        return index["expert"]
    return "low" if name == TRANSFORMER_2 else "high"


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


def _load(config: ModelConfig, zero: ZeroConfig, marks: int) -> ContextAnyoneTransformer3DModel:
    cls = ContextAnyoneTransformer3DModel
    folder = _pretrained_folder(config)
    saved: Any = cls.load_config(folder)
    base = find_base(saved)
    if base is None:
        _check_method(config, saved)
        fields: dict[str, Any] = {"reconstruction": config.reconstruction}
    else:
        fields = base.fields(saved) | {"image_dim": config.image_dim, **config.method()}
    fields["marks"] = saved.get("marks") or marks
    if fields["marks"] < marks:
        raise ValueError(
            f"{config.pretrained} marks {fields['marks']} characters, data.characters is {marks}: "
            f"set data.characters={fields['marks']}, or model.pretrained to one without marks"
        )
    if zero.stage < 3:
        return cls.from_pretrained(folder, torch_dtype=torch.float32, **fields)
    with sharded_init(zero):
        model: Any = cls.from_config(saved, **fields)
    weights = WeightsFile(folder)
    load_parameters(model, _WithTwins(weights, model) if base else weights)
    return model


def _check_method(config: ModelConfig, saved: Mapping[str, Any]) -> None:
    # What is rebuilt may change: only one choice of it changes what the reference stream computes.
    same = {name: chosen for name, chosen in config.method().items() if name != "reconstruction"}
    if "video_timestep" in (saved.get("reconstruction"), config.reconstruction):
        same["reconstruction"] = config.reconstruction
    theirs = {
        name: saved[name] for name, chosen in same.items() if saved.get(name, chosen) != chosen
    }
    if theirs:
        raise ValueError(
            f"{config.pretrained} was trained with other choices: "
            + ", ".join(f"{name} is {value}" for name, value in theirs.items())
            + "; set "
            + ", ".join(f"model.{name}={value}" for name, value in theirs.items())
        )


class _WithTwins(Mapping[str, torch.Tensor]):
    """Wan's weights, and those of Emphasize-Attention that start as some of self-attention's."""

    def __init__(self, weights: WeightsFile, model: ContextAnyoneTransformer3DModel) -> None:
        self._weights = weights
        self._names = {name: name for name in weights}
        self._lengths: dict[str, int] = {}
        blocks: Any = model.blocks
        for number, block in enumerate(blocks):
            if block.emphasize is None:
                continue
            for own, theirs in block.emphasize.twins().items():
                name = f"blocks.{number}.emphasize.{own}"
                self._names[name] = f"blocks.{number}.attn1.{theirs}"
                parameter = block.emphasize.get_parameter(own)
                # A parameter that is spread over processes has its shape elsewhere.
                self._lengths[name] = getattr(parameter, "ds_shape", parameter.shape)[0]

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._weights[self._names[name]][: self._lengths.get(name)]

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
