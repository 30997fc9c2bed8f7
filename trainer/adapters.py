"""Adapter files: written so that other programs read them, and read from wherever they come.

A run's adapters become one file of Wan's own modules, which plain diffusers, ComfyUI or kohya's
scripts load, and a second of the modules that only this model has.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainer.adapter_names import Naming, adapter_name
from trainer.lora import LoraConfig
from trainer.model.loading import new_module
from trainer.saving.disk import follow_umask
from trainer.saving.weights import check_header, load_weights

if TYPE_CHECKING:
    from trainer.model import ContextAnyoneTransformer3DModel

_OF_PEFT = "lora_adapter_metadata"  # where diffusers looks for peft's config
_OF_US = "contextanyone"
_PARTS = {"lora_A": "lora_A", "lora_B": "lora_B", "lora_magnitude_vector": "dora"}


def new_modules_file(file: Path) -> Path:
    """Return where the modules lie that Wan does not have."""
    return file.with_name(f"{file.stem}.new-modules.safetensors")


def write_adapter(
    file: Path,
    weights: Mapping[str, torch.Tensor],
    lora: LoraConfig,
    naming: Naming,
    words: Mapping[str, str],
) -> None:
    """Write both files from a checkpoint's weights; `words` go into their metadata."""
    about = {"format": "pt", **words, "rank": str(lora.rank), "alpha": str(lora.alpha)}
    about |= {"kind": lora.kind, "naming": naming}
    shared: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        module, dot, rest = name.partition(".lora_")
        if dot:
            part = f"lora_{rest.split('.')[0]}"
            shared[adapter_name(module, _PARTS[part], naming)] = tensor.contiguous()
            if naming != "diffusers":
                alpha = torch.tensor(lora.scale * lora.rank)
                shared[adapter_name(module, "alpha", naming)] = alpha
    if naming == "diffusers":
        config = {n: sorted(v) if isinstance(v, set) else v for n, v in _peft_dict(lora).items()}
        about[_OF_PEFT] = json.dumps({f"transformer.{name}": v for name, v in config.items()})
    if naming == "kohya":
        about |= {"ss_network_dim": str(lora.rank), "ss_network_alpha": str(lora.alpha)}
    new = {n: w.contiguous() for n, w in weights.items() if new_module(n) and ".lora_" not in n}
    _save(file, shared, about)
    _save(new_modules_file(file), new, about)


def _peft_dict(lora: LoraConfig) -> dict[str, Any]:
    return lora.of_peft().to_dict()


def _save(file: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]) -> None:
    from safetensors.torch import save_file

    from trainer.sampling.video_file import replacing

    with replacing(file) as temporary:
        save_file(dict(tensors), temporary, dict(about))
        follow_umask([temporary])


def metadata_of(file: Path) -> dict[str, str]:
    """Return what a safetensors file says of itself; its header is checked first."""
    from safetensors import safe_open

    check_header(file)
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata() or {})


def is_ours(file: Path) -> bool:
    """Tell whether `write_adapter` wrote a file."""
    try:
        return _OF_US in metadata_of(file)
    except (ValueError, OSError):
        return False


@dataclass(frozen=True)
class ScaledAdapter:
    """A file, and how much of it is added."""

    file: Path
    scale: float = 1.0

    @classmethod
    def of_flag(cls, text: str) -> "ScaledAdapter":
        """Read FILE or FILE:SCALE."""
        file, colon, scale = text.rpartition(":")
        if not colon or Path(text).exists():
            return cls(Path(text))
        try:
            return cls(Path(file), float(scale))
        except ValueError:
            raise ValueError(f"--lora must be FILE or FILE:SCALE, got {text!r}") from None


def read_adapter(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    """Return tensors under diffusers' names and peft's config, if the file has one.

    Raises ValueError for what is no adapter of Wan, whoever trained it.
    """
    from diffusers.loaders.lora_pipeline import WanLoraLoaderMixin

    raw, about = load_weights(file), metadata_of(file)
    if any("dora_scale" in name for name in raw):
        raise ValueError(f"{file} is a DoRA in kohya's naming, whose lengths diffusers drops; use "
                         "one in diffusers' naming")  # fmt: skip
    try:
        named: Any = WanLoraLoaderMixin.lora_state_dict(raw)
        config = json.loads(about[_OF_PEFT]) if _OF_PEFT in about else None
    except Exception as error:  # its converters fail in many ways on what they do not know
        raise ValueError(
            f"{file} is no adapter of Wan ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    if not any(".lora_" in name for name in named):
        raise ValueError(f"{file} holds no adapter: no tensor is called lora_…")
    return named, config


def apply_adapters(
    model: "ContextAnyoneTransformer3DModel", adapters: Sequence[ScaledAdapter]
) -> None:
    """Add adapters to a model's weights, several after another; ours bring their new modules.

    Raises ValueError for one that is of another base.
    """
    for number, adapter in enumerate(adapters):
        tensors, config = read_adapter(adapter.file)
        _check_fits(model, tensors, adapter.file)
        name = f"file{number}"
        # A file without peft's config has its alpha in its tensors, or means rank = alpha.
        model.load_lora_adapter(dict(tensors), adapter_name=name, metadata=config)
        model.set_adapters([name], [adapter.scale])
        model.fuse_lora(adapter_names=[name])
        model.unload_lora()
        beside = new_modules_file(adapter.file)
        if beside.is_file():
            _load_new_modules(model, beside)


def _check_fits(
    model: "ContextAnyoneTransformer3DModel", tensors: Mapping[str, torch.Tensor], file: Path
) -> None:
    modules = dict(model.named_modules())
    for name, tensor in tensors.items():
        module, _, part = name.removeprefix("transformer.").partition(".lora_")
        weight = getattr(modules.get(module), "weight", None)
        side = {"A": 1, "B": 0}.get(part[:1])
        if weight is None or (
            side is not None and tensor.ndim == 2 and tensor.shape[side] != weight.shape[side]
        ):
            shape = None if weight is None else tuple(weight.shape)
            raise ValueError(
                f"{file} is of another base: its {name} has shape {tuple(tensor.shape)}, the "
                f"model's {module} {shape or 'does not exist'}"
            )


@torch.no_grad()
def _load_new_modules(model: "ContextAnyoneTransformer3DModel", file: Path) -> None:
    parameters = dict(model.named_parameters())
    for name, tensor in load_weights(file).items():
        if name not in parameters or parameters[name].shape != tensor.shape:
            raise ValueError(f"{file} is of another model: it has no {name} of this shape")
        parameters[name].copy_(tensor)
    logging.getLogger(__name__).info("new modules from %s", file)
