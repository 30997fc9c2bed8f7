"""Train one row by the project's own model, flow, optimizer and sampler, and measure it."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from types import MethodType
from typing import Any

import torch

from benchmarks.method.rows import Regime, Row
from benchmarks.method.world import (
    CHANNELS,
    IMAGE_DIM,
    LAYOUT,
    TEXT_DIM,
    Scenes,
    World,
    draw_scenes,
    null_prompt,
)
from trainer.data.batch import LatentBatch
from trainer.data.draws import generator_of
from trainer.distributed.optimizer import ClippingAdamW, OptimizerConfig, Schedule, parameter_groups
from trainer.flow import DropoutConfig, FlowConfig, Noising, draw, losses
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.sampling.sampler import Conditions, SamplingConfig, sample

HELD_OUT = 128  # characters who are never trained on
_HELD_OUT_STEP = 10**9
_SAMPLER_STEPS = 6
_WARMUP = 30
_BASE_LR = 2e-3
Measured = dict[str, list[float]]  # of every character who is held out


def train_base(regime: Regime, seed: int, device: str) -> dict[str, torch.Tensor]:
    """Train text-to-video without any reference, as Wan is before a row begins."""
    regime = replace(regime, steps=regime.base_steps)
    row = Row("base", {"emphasize": "none"}, images=False)
    model = _model(regime, row, seed)
    nothing_seen = DropoutConfig(reference=1.0)
    _train(model, regime, row, seed, device, replace(FlowConfig(), dropout=nothing_seen), _BASE_LR)
    return {name: value.cpu() for name, value in model.state_dict().items()}


def run_row(
    regime: Regime, row: Row, seed: int, base: dict[str, torch.Tensor], device: str
) -> Measured:
    """Train a row from the base and measure it on characters whom it never saw."""
    model = _model(regime, row, seed)
    model.load_state_dict(base, strict=False)
    blocks: Any = model.blocks
    for block in blocks:
        if block.emphasize is not None:
            block.emphasize.copy_from(block.attn1)
    _leave_road(model, row)
    _train(model, regime, row, seed, device, _flow(row), regime.lr)
    return measure(model.eval(), regime, row, device)


def _flow(row: Row) -> FlowConfig:
    dropout = DropoutConfig(image=0.1 if row.images else 1.0)
    return FlowConfig(reference_weight=row.reference_weight, dropout=dropout)


def _model(regime: Regime, row: Row, seed: int) -> ContextAnyoneTransformer3DModel:
    torch.manual_seed(seed)
    sizes = {"in_channels": CHANNELS, "out_channels": CHANNELS, "text_dim": TEXT_DIM}
    fields = {**sizes, "image_dim": IMAGE_DIM, **regime.model, **row.model}
    return ContextAnyoneTransformer3DModel(**fields)


def _leave_road(model: ContextAnyoneTransformer3DModel, row: Row) -> None:
    """Cut all roads from the reference to the video but one."""
    if row.road == "all":
        return
    blocks: Any = model.blocks
    for block in blocks:
        video_heads = type(block)._video_heads
        block._video_heads = MethodType(
            lambda self, video, _kv, mask, heads=video_heads: heads(self, video, (), mask), block
        )


def _train(
    model: ContextAnyoneTransformer3DModel,
    regime: Regime,
    row: Row,
    seed: int,
    device: str,
    flow: FlowConfig,
    lr: float,
) -> None:
    torch.nn.Module.to(model, device).train()
    config = OptimizerConfig(lr=lr, warmup_steps=_WARMUP, schedule="cosine")
    optimizer = ClippingAdamW(parameter_groups(model, config), config.clip_norm, lr=lr)
    schedule = Schedule(optimizer, config, regime.steps)
    world = World(regime.frames, regime.side, row.references, row.origin)
    null = null_prompt().to(device)
    for step in range(regime.steps):
        batch = draw_scenes(world, regime.batch, seed, step, device).batch
        noising = (
            pinned(draw(batch, flow, seed), batch, model)
            if regime.given_layout
            else draw(batch, flow, seed)
        )
        with _precision(device):
            loss = losses(model, batch, noising, null, flow).total.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _precision(device: str) -> contextlib.AbstractContextManager:
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


def pinned(noising: Noising, batch: LatentBatch, model: Any) -> Noising:
    """Let the noise of the layout's channels be the layout: it is shown as it is at every sigma."""
    rebuilt = batch.other if model.config["reconstruction"] == "other" else batch.reference
    assert rebuilt is not None, "the world draws another picture of everybody"
    videos, references = noising.video_noise.clone(), noising.reference_noise.clone()
    videos[:, :LAYOUT] = batch.video[:, :LAYOUT]
    references[:, :LAYOUT, : rebuilt.shape[2]] = rebuilt[:, :LAYOUT]
    return replace(noising, video_noise=videos, reference_noise=references)


@torch.no_grad()
def measure(
    model: ContextAnyoneTransformer3DModel, regime: Regime, row: Row, device: str
) -> Measured:
    """Return sums over cells for every held-out character; the table makes shares of them.

    At sigma = 1 nothing of the character stands in the input, so all that is right came from the
    reference.
    """
    world = World(regime.frames, regime.side, row.references)
    scenes = draw_scenes(world, HELD_OUT, 0, _HELD_OUT_STEP)
    batch = scenes.batch.to(torch.device(device))
    noise = torch.randn(batch.video.shape, generator=generator_of("held out")).to(device)
    if regime.given_layout:
        noise[:, :LAYOUT] = batch.video[:, :LAYOUT]
    image = batch.image if row.images else None
    with _precision(device):
        output = model(
            noise,
            torch.full((HELD_OUT,), 1000.0, device=device),
            batch.text,
            reference=batch.reference,
            image_embeds=image,
        )
    predicted = (noise - output.sample.float()).cpu()
    found = _identity(predicted, scenes) | _place(predicted, scenes)
    if regime.given_layout:
        watched = _PinnedLayout(model, batch.video[:, :LAYOUT])
        conditions = Conditions(batch.text, null_prompt().to(device), batch.reference, image)
        settings = SamplingConfig(steps=_SAMPLER_STEPS, guidance="none")
        with _precision(device):
            made = sample(
                watched,
                conditions,
                (HELD_OUT, CHANNELS, regime.frames, regime.side, regime.side),
                settings,
                generator=generator_of("sampled"),
            )
        found["sampled_error"] = _error(made.cpu(), scenes).sum(1).tolist()
    return found


class _PinnedLayout:
    """The model, with the layout put back where the sampler has moved it."""

    def __init__(self, model: ContextAnyoneTransformer3DModel, layout: torch.Tensor) -> None:
        self._model, self._layout = model, layout
        self.config, self.dtype = model.config, model.dtype
        self.uncacheable_settings = model.uncacheable_settings
        self.cache_reference = model.cache_reference

    def __call__(self, latents: torch.Tensor, *inputs: Any, **conditions: Any) -> Any:
        latents = torch.cat([self._layout, latents[:, LAYOUT:]], 1)
        return self._model(latents, *inputs, **conditions)


def _error(predicted: torch.Tensor, scenes: Scenes) -> torch.Tensor:
    """Return squared errors of the character's numbers by frame, (B, F)."""
    off = (predicted - scenes.batch.video)[:, LAYOUT:] * scenes.figure
    return off.square().sum((1, 3, 4))


def _identity(predicted: torch.Tensor, scenes: Scenes) -> Measured:
    error = _error(predicted, scenes)
    power = (scenes.numbers[:, LAYOUT:] * scenes.figure).square().sum((1, 3, 4))
    off = ((predicted - scenes.batch.video)[:, LAYOUT:] * scenes.figure).sum((2, 3, 4))  # (B, 5)
    towards = scenes.reference_light - scenes.light
    cells = scenes.figure.sum((1, 2, 3, 4))
    return {
        "error": error.sum(1).tolist(),
        "power": power.sum(1).tolist(),
        "first_error": error[:, 0].tolist(),
        "first_power": power[:, 0].tolist(),
        "last_error": error[:, -1].tolist(),
        "last_power": power[:, -1].tolist(),
        "light": (off * towards).sum(1).tolist(),
        "light_power": (cells * towards.square().sum(1)).tolist(),
    }


def _place(predicted: torch.Tensor, scenes: Scenes) -> Measured:
    """Return how far the first frame's figure follows the prompt's place, and the reference's.

    Slopes of one regression on both over all characters: a model that knows neither, and sets
    everybody in the middle, has 0 and 0.
    """
    shown, told = (_middle(1 - each[:, 0, 0]) for each in (predicted, scenes.batch.video))
    shown, told = shown - shown.mean(0), told - told.mean(0)
    reference = _middle(1 - scenes.batch.reference[:, 0, 0])
    reference = reference - reference.mean(0)
    found = {}
    for name, one, other in (("told", told, reference), ("pull", reference, told)):
        apart = one - other * (one * other).sum(0) / other.square().sum(0)
        found[name] = (shown * apart).sum(1).tolist()
        found[f"{name}_power"] = apart.square().sum(1).tolist()
    return found


def _middle(figure: torch.Tensor) -> torch.Tensor:
    """Return the centre (B, 2) of what a picture (B, S, S) shows."""
    figure = figure.clamp(min=0)
    cells = torch.arange(figure.shape[-1], dtype=figure.dtype)
    weight = figure.sum((1, 2)).clamp(min=1e-6)
    rows, columns = (figure.sum(axis) @ cells / weight for axis in (2, 1))
    return torch.stack([rows, columns], 1)


def in_order(names: dict[str, Regime], seeds: int) -> Iterator[tuple[str, str, int]]:
    """Yield (regime, row, seed): the most telling rows of every regime first."""
    ranked = [
        (regime.begins_after + place, name, key)
        for name, regime in names.items()
        for place, key in enumerate(regime.rows)
    ]
    for _, name, key in sorted(ranked, key=lambda each: each[0]):
        for seed in range(seeds):
            yield name, key, seed
