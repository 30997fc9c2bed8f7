"""The ways to compute one step that benchmarks/train.py compares, all on the same weights."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch.nn import functional as F

from trainer.measures.flops import Flops, Sizes, forward_flops, plain_flops
from trainer.model import ContextAnyoneTransformer3DModel


@dataclass
class Bench:
    """A model, plain Wan with its weights, and inputs for both."""

    model: ContextAnyoneTransformer3DModel
    plain: WanTransformer3DModel
    sizes: Sizes
    video: dict[str, torch.Tensor]
    conditions: dict[str, Any]
    device: torch.device

    def precision(self) -> Any:
        cuda = self.device.type == "cuda"
        return torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext()


@dataclass(frozen=True)
class Variant:
    """One way to compute the same; `flops` of its forward pass."""

    name: str
    forward: Callable[[], list[torch.Tensor]]
    flops: Flops
    trains: bool = True


def make_models(
    fields: Mapping[str, Any], device: torch.device
) -> tuple[ContextAnyoneTransformer3DModel, WanTransformer3DModel]:
    torch.manual_seed(0)
    with device:
        model = ContextAnyoneTransformer3DModel(**fields)
    for name, parameter in model.named_parameters():
        if "emphasize.to_out" in name:  # silent at initialisation
            torch.nn.init.normal_(parameter, std=0.02)
    names = ("num_attention_heads", "attention_head_dim", "ffn_dim", "num_layers", "text_dim")
    with torch.device("meta"):
        plain = WanTransformer3DModel(**{name: model.config[name] for name in names})
    weights = {name: p for name, p in model.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(weights, assign=True)
    plain.rope = model.rope  # its tables are no weights
    return model, plain.train()


def make_bench(
    models: tuple[ContextAnyoneTransformer3DModel, WanTransformer3DModel],
    grid: tuple[int, int, int],
    device: torch.device,
) -> Bench:
    model, plain = models
    text, image = (512, 257) if device.type == "cuda" else (64, 32)
    frames, rows, columns = grid
    frame = rows * columns // 4
    with device:
        video = {
            "hidden_states": torch.randn(1, 16, *grid),
            "timestep": torch.tensor([500.0]),
            "encoder_hidden_states": torch.randn(1, text, model.config["text_dim"]),
        }
        conditions = {
            "reference": torch.randn(1, 16, 1, rows, columns),
            "image_embeds": torch.randn(1, image, model.config["image_dim"]),
        }
    sizes = Sizes(frames * frame, frame, text, image)
    return Bench(model, plain, sizes, video, conditions, device)


def masked_reference_heads(block: Any, reference: Any, video: Any, _keep: Any) -> torch.Tensor:
    """Both streams in one call with a boolean mask: the slow, obvious form of the two calls."""
    pairs = zip(reference[1:4], video[1:4], strict=True)  # query, key and value of each
    query, key, value = (torch.cat(pair, 1).transpose(1, 2) for pair in pairs)
    start, total = reference.query.shape[1], query.shape[2]
    mask = torch.ones(total, total, dtype=torch.bool, device=query.device)
    mask[:start, start:] = False
    query, key = query.to(value.dtype), key.to(value.dtype)
    heads = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    block.video_heads = heads[:, start:]
    return heads[:, :start]


def masked_video_heads(block: Any, _video: Any, _memory: Any, _keep: Any) -> torch.Tensor:
    return block.__dict__.pop("video_heads")


@contextmanager
def changed(bench: Bench, **attributes: Any) -> Iterator[None]:
    """Let all blocks have other attributes inside."""
    before = [{name: getattr(block, name) for name in attributes} for block in bench.model.blocks]
    for block in bench.model.blocks:
        for name, value in attributes.items():
            is_method = callable(value) and not isinstance(value, torch.nn.Module)
            setattr(block, name, MethodType(value, block) if is_method else value)
    yield
    for block, values in zip(bench.model.blocks, before, strict=True):
        for name, value in values.items():
            setattr(block, name, value)


def variants_of(bench: Bench) -> list[Variant]:
    model, video, conditions, sizes = bench.model, bench.video, bench.conditions, bench.sizes
    config = {**model.config}
    stream = Sizes(sizes.video, sizes.reference, sizes.text, 0)
    with torch.no_grad(), bench.precision():
        cache = model.cache_reference(**conditions)
    image = conditions["image_embeds"]

    def ours(**attributes: Any) -> list[torch.Tensor]:
        with changed(bench, **attributes):
            output = model(**video, **conditions)
        return [output.sample, output.reference]

    def stream_alone() -> list[torch.Tensor]:
        with changed(bench, emphasize=None):
            output = model(**video, reference=conditions["reference"])
        return [output.sample, output.reference]

    masked = {"_reference_heads": masked_reference_heads, "_video_heads": masked_video_heads}
    symmetric = forward_flops({**config, "information_flow": "symmetric"}, sizes)
    return [
        Variant("plain Wan", lambda: [bench.plain(**video).sample], plain_flops(config, sizes)),
        Variant("ours, no reference", lambda: [model(**video).sample], plain_flops(config, sizes)),
        Variant(
            "reference stream alone",
            stream_alone,
            forward_flops({**config, "emphasize": "none"}, stream),
        ),
        Variant("ours", ours, forward_flops(config, sizes)),
        Variant(
            "ours, cached reference",
            lambda: [model(**video, image_embeds=image, reference_cache=cache).sample],
            forward_flops(config, sizes, cached=True),
            trains=False,
        ),
        Variant("ours, symmetric", lambda: ours(symmetric=True), symmetric),
        Variant("ours, one masked call", lambda: ours(**masked), symmetric),
    ]


def run_once(bench: Bench, variant: Variant, train: bool) -> None:
    with torch.set_grad_enabled(train), bench.precision():
        outputs = variant.forward()
    if train:
        torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
        bench.model.zero_grad(set_to_none=True)
        bench.plain.zero_grad(set_to_none=True)
