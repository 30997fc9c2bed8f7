"""Whose reference is whose? Train on two persons who are told apart in one way or another.

    python -m benchmarks.method.pairs --output runs/pairs
    python -m benchmarks.method.pairs --output runs/pairs --seeds 1 --rows name place
    python -m benchmarks.method.pairs --output runs/pairs --seeds 5 --jobs 16

What is done is not done again. The table says, for each way of telling who is who, how much of the
persons is known, and how often one of two figures is more like the other person than like its own.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from benchmarks.method.bases import kept_base
from benchmarks.method.pair_world import (
    CHANNELS,
    IMAGE_DIM,
    LAYOUT,
    TEXT_DIM,
    PairScenes,
    PairWorld,
    draw_pairs,
    null_prompt,
)
from benchmarks.method.rows import SMALL
from pipeline.evaluate.characters import match_cast
from trainer.data.batch import LatentBatch
from trainer.data.draws import generator_of
from trainer.distributed.optimizer import ClippingAdamW, OptimizerConfig, Schedule, parameter_groups
from trainer.flow import DropoutConfig, FlowConfig, Noising, draw, losses
from trainer.model import Character, ContextAnyoneTransformer3DModel, Marks

HELD_OUT, _HELD_OUT_STEP = 128, 10**9  # videos of persons who are never trained on
_BATCH, _BASE_STEPS, _BASE_LR, _LR, _WARMUP = 16, 600, 3e-3, 1e-3, 30
_FIELDS = {**SMALL, "num_layers": 3, "emphasize": "full"}
_FIELDS |= {"in_channels": CHANNELS, "out_channels": CHANNELS, "text_dim": TEXT_DIM}
_MARKED = {"marks": 2}


@dataclass(frozen=True)
class PairRow:
    """A model that is trained: what tells its persons apart, and fields of the transformer."""

    label: str
    world: PairWorld = field(default_factory=PairWorld)
    model: dict[str, Any] = field(default_factory=dict)
    character_dropout: float = 0.1
    box_dropout: float = 0.5  # with marks: 1 is by text alone
    longer: int = 1  # times the updates of the others


ROWS = {
    "one": PairRow("one person", PairWorld(persons=1)),
    "name": PairRow("names, read by prompt and references"),
    "place": PairRow("places on the gap axis", PairWorld(told="place")),
    "mask": PairRow("a mask of each", PairWorld(told="mask")),
    "marks": PairRow("marks: words, and boxes in half of the videos", model=_MARKED),
    "marks_text": PairRow("marks: words", model=_MARKED, box_dropout=1.0),
    "marks_boxes": PairRow("marks: boxes", PairWorld(told="nothing"), _MARKED, box_dropout=0.0),
    "one_long": PairRow("one person, three times as long", PairWorld(persons=1), longer=3),
    "marks_long": PairRow("marks, three times as long", model=_MARKED, longer=3),
    "marks_other": PairRow(
        "marks, and another picture rebuilt", model={**_MARKED, "reconstruction": "other"}
    ),
    "nothing": PairRow("nothing", PairWorld(told="nothing")),
    "name_other": PairRow("names, and another picture rebuilt", model={"reconstruction": "other"}),
    "name_kept": PairRow("names, no character dropped", character_dropout=0.0),
}


def train_row(
    row: PairRow, seed: int, steps: int, base: dict[str, torch.Tensor]
) -> ContextAnyoneTransformer3DModel:
    """Train a row from a text-to-video model."""
    model = _model(row.model, seed)
    model.load_state_dict(base, strict=False)
    blocks: Any = model.blocks
    for block in blocks:
        block.emphasize.copy_from(block.attn1)
    dropout = DropoutConfig(image=1.0, character=row.character_dropout, boxes=row.box_dropout)
    _train(model, row.world, seed, steps * row.longer, _LR, FlowConfig(dropout=dropout))
    return model.eval()


def train_base(persons: int, seed: int) -> dict[str, torch.Tensor]:
    """Train the text-to-video model that all rows of one person, or of two, begin with."""
    world, model = PairWorld(persons=persons), _model({"emphasize": "none"}, seed)
    blind = FlowConfig(dropout=DropoutConfig(reference=1.0, image=1.0))
    _train(model, world, seed, _BASE_STEPS, _BASE_LR, blind)
    return model.state_dict()


def _model(fields: dict[str, Any], seed: int) -> ContextAnyoneTransformer3DModel:
    torch.manual_seed(seed)
    return ContextAnyoneTransformer3DModel(**{**_FIELDS, "image_dim": IMAGE_DIM, **fields})


def _train(
    model: ContextAnyoneTransformer3DModel,
    world: PairWorld,
    seed: int,
    steps: int,
    lr: float,
    flow: FlowConfig,
) -> None:
    config = OptimizerConfig(lr=lr, warmup_steps=_WARMUP, schedule="cosine")
    optimizer = ClippingAdamW(parameter_groups(model, config), config.clip_norm, lr=lr)
    schedule = Schedule(optimizer, config, steps)
    for step in range(steps):
        batch = draw_pairs(world, _BATCH, seed, step).batch
        noising = _pinned(draw(batch, flow, seed), batch, model)
        loss = losses(model, batch, noising, null_prompt(), flow).total.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _pinned(noising: Noising, batch: LatentBatch, model: Any) -> Noising:
    """Let the noise of the layout's channels be the layout: it is shown as it is at every sigma."""
    rebuilt = batch.other if model.config["reconstruction"] == "other" else batch.reference
    assert rebuilt is not None, "the world draws another picture of everybody"
    videos, references = noising.video_noise.clone(), noising.reference_noise.clone()
    videos[:, :LAYOUT] = batch.video[:, :LAYOUT]
    references[:, :LAYOUT] = rebuilt[:, :LAYOUT]
    return replace(noising, video_noise=videos, reference_noise=references)


def measure_row(model: ContextAnyoneTransformer3DModel, row: PairRow) -> dict[str, float]:
    """Measure a model; one that knows marks with and without boxes, too."""
    if not row.model.get("marks"):
        return measure(model, row.world, ())
    mention = ("mentions",) * (row.world.told == "name")
    roads = {"": (*mention, "boxes"), "text_": mention, "boxes_": ("boxes",)}
    return {
        f"{road}{name}": value
        for road, by in roads.items()
        for name, value in measure(model, row.world, by).items()
    }


@torch.no_grad()
def measure(
    model: ContextAnyoneTransformer3DModel, world: PairWorld, marked_by: Sequence[str]
) -> dict[str, float]:
    """Return what is known of persons who were never trained on, at sigma = 1."""
    scenes = draw_pairs(world, HELD_OUT, 0, _HELD_OUT_STEP)
    batch = scenes.batch
    noise = torch.randn(batch.video.shape, generator=generator_of("held out pairs"))
    noise[:, :LAYOUT] = batch.video[:, :LAYOUT]
    others = [Character(each.reference, None, each.name) for each in batch.characters]
    level = torch.full((HELD_OUT,), 1000.0)
    marks = Marks((True,) * HELD_OUT, **{by: getattr(batch, by) for by in marked_by})
    output = model(
        *(noise, level, batch.text),
        reference=batch.reference,
        name=batch.name if others else None,
        others=others,
        marks=marks if others else None,
    )
    return _judge(noise - output.sample, scenes)


@torch.no_grad()
def measure_base(base: dict[str, torch.Tensor], world: PairWorld) -> float:
    """Return how much of the figures' lights a base knows: does it see which words are of whom?

    It has no reference, so the persons' numbers are noise to it; their mean over many is 0.
    """
    model = _model({"emphasize": "none"}, 0)
    model.load_state_dict(base)
    scenes = draw_pairs(world, HELD_OUT, 0, _HELD_OUT_STEP)
    batch = scenes.batch
    noise = torch.randn(batch.video.shape, generator=generator_of("held out pairs"))
    noise[:, :LAYOUT] = batch.video[:, :LAYOUT]
    output = model(noise, torch.full((HELD_OUT,), 1000.0), batch.text)
    parts = scenes.figures[:, :, 1:].sum(2)
    shown = torch.einsum("bpfyx,bnfyx->bpn", parts, (noise - output.sample)[:, LAYOUT:])
    shown = shown / parts.sum((2, 3, 4))[..., None]
    off = (shown - scenes.lights).square().sum()
    return 1 - float(off / scenes.lights.square().sum())


def _judge(predicted: torch.Tensor, scenes: PairScenes) -> dict[str, float]:
    """Compare what stands in every figure's cells with the numbers of both persons."""
    parts = scenes.figures[:, :, 1:]  # (B, P, 3, F, S, W)
    shown = torch.einsum("bpkfyx,bnfyx->bpfkn", parts, predicted[:, LAYOUT:])
    shown = shown / parts.sum((4, 5)).permute(0, 1, 3, 2).clamp(min=1)[..., None]  # (B, P, F, 3, 5)
    shown = shown - scenes.lights[:, :, None, None]
    apart = (shown[:, :, None] - scenes.persons[:, None, :, None]).square().sum((4, 5))  # (B,P,P,F)
    own = torch.diagonal(apart, dim1=1, dim2=2)  # (B, F, P)
    power = scenes.persons.square().sum((2, 3))[:, None].expand_as(own)
    found = {"identity": 1 - float(own.sum() / power.sum())}
    if scenes.persons.shape[1] == 2:
        nearer = apart.argmin(2)  # (B, P, F): whom a figure is most like
        swapped = (nearer != torch.arange(2)[None, :, None]).float()
        found |= {"swaps": float(swapped.mean()), **_by_assignment(shown, scenes)}
    return found


def _by_assignment(shown: torch.Tensor, scenes: PairScenes) -> dict[str, float]:
    """Return the evaluation's measures, which do not know who should stand where."""
    vectors, faces = (
        torch.nn.functional.normalize(each.flatten(-2), dim=-1).numpy()
        for each in (scenes.persons, shown)
    )
    casts = [
        match_cast(vectors[row], list(faces[row].transpose(1, 0, 2))) for row in range(len(vectors))
    ]
    return {
        "matched": float(np.mean([cast.matched or 0.0 for cast in casts])),
        "assignment_swaps": float(np.mean([cast.swap_rate or 0.0 for cast in casts])),
    }


def table(output: Path) -> str:
    """Return the rows that are there as Markdown: means over seeds, and the range of identity."""
    head = ["told by", "seeds", "identity R², σ = 1", "of one person's", "swaps", "by assignment"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    files = {key: sorted(output.glob(f"{key}-[0-9].json")) for key in ROWS}
    found = {key: [json.loads(path.read_text()) for path in paths] for key, paths in files.items()}
    alone = _mean(found["one"], "identity")
    for key, row in ROWS.items():
        runs = found[key]
        if not runs:
            continue
        identity = [run["identity"] for run in runs]
        cells = [row.label, str(len(runs))]
        cells.append(f"{np.mean(identity):.3f} [{min(identity):.3f}, {max(identity):.3f}]")
        cells.append(f"{np.mean(identity) / alone:.0%}" if alone else "–")
        for name in ("swaps", "assignment_swaps"):
            mean = _mean(runs, name)
            cells.append("–" if mean is None else f"{mean:.1%}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(runs: list[dict[str, float]], name: str) -> float | None:
    values = [run[name] for run in runs if name in run]
    return float(np.mean(values)) if values else None


def run_job(output: Path, key: str, seed: int, steps: int) -> str:
    """Train, measure and write one row with one seed; return what to tell."""
    torch.set_num_threads(1)
    started, row = time.monotonic(), ROWS[key]
    persons = row.world.persons
    path = output / "bases" / f"{persons}-{seed}.safetensors"
    base = kept_base(path, lambda: train_base(persons, seed))
    measured = measure_row(train_row(row, seed, steps, base), row)
    written = output / f"{key}-{seed}.part"
    written.write_text(json.dumps(measured))
    written.rename(written.with_suffix(".json"))
    return f"{key} {seed}: {measured} in {time.monotonic() - started:.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=900, help="updates of a row")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--jobs", type=int, default=1, help="models side by side")
    arguments = parser.parse_args()
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    jobs = [
        (output, key, seed, arguments.steps)
        for key in arguments.rows
        for seed in range(arguments.seeds)
        if not (output / f"{key}-{seed}.json").is_file()
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, mp_context=context) as pool:
        for done in as_completed([pool.submit(run_job, *job) for job in jobs]):
            print(done.result(), flush=True)
    print(table(output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
