"""Before anything is allocated: what will be trained, does it fit, may it be written."""

import os
from dataclasses import asdict, replace
from pathlib import Path

import torch
import yaml

from trainer.data.batch import Bucket
from trainer.distributed.zero import Process
from trainer.lora import frozen_bytes
from trainer.measures.codec_memory import WORK_BYTES, codec_bytes
from trainer.measures.estimate import (
    MemoryEstimate,
    MemoryPlan,
    estimate,
    memory_bytes,
    refuse_or_advise,
)
from trainer.measures.flops import Sizes, forward_flops
from trainer.measures.metrics import scrubbed
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.model.emphasis import form_of
from trainer.model.loading import new_module
from trainer.saving.complete import has_checkpoints
from trainer.train_config import TrainConfig

_NAMED = 3  # buckets that a plan names
IMAGE_TOKENS = {"clip": 257}  # of one reference
# Published weights as they are loaded: 5.68, 0.63, 0.127 and 0.705 G parameters.
ENCODER_BYTES = {
    "umt5": 11_360_000_000,
    "clip": 1_260_000_000,
    "wan": 508_000_000,
    "wan2.2": 2_819_000_000,
}


def plan_for(
    training: TrainConfig,
    world_size: int,
    *,
    text: int,
    image: int,
    encoders_bytes: int = 0,
    cuda: bool = True,
) -> MemoryPlan:
    """Return the plan of a training: its largest bucket, its engine.

    Args:
        training: all settings.
        world_size: processes.
        text: tokens of a prompt.
        image: tokens of one reference picture.
        encoders_bytes: of frozen encoders that stay on the device.
        cuda: whether the device is a GPU.
    """
    largest = max(training.data.sizes, key=lambda size: size.height * size.width * size.frames)
    sizes = Sizes.of_pixels(
        largest.height,
        largest.width,
        largest.frames,
        references=training.data.references,
        characters=training.data.characters,
        text=text,
        image=image,
        batch=training.train.micro_batch,
        stride=training.encoders.stride,
        rebuilt=training.model.reconstruction in ("self", "other"),
    )
    remedy = ("validation.videos=0", 0)  # latents that were made without tiles refuse tiles
    if training.data.source == "samples":
        remedy = ("encoders.tiling=true", _codec_bytes(training, largest, True))
    return MemoryPlan(
        sizes,
        training.zero,
        world_size,
        sequence=training.parallel.sequence,
        background=training.checkpoint.background,
        checkpointing=training.model.checkpointing,
        keeps=training.model.checkpointing_keeps,
        ema=training.ema.decay > 0,
        lora_rank=training.model.lora.rank or None,
        frozen_bytes=frozen_bytes(training.model.lora, training.zero),
        encoders_bytes=encoders_bytes,
        codec_bytes=_codec_bytes(training, largest, training.encoders.tiling),
        codec_remedy=remedy,
        cuda=cuda,
    )


def _codec_bytes(training: TrainConfig, bucket: Bucket, tiled: bool) -> int:
    """Return what the codec takes: it decodes shown videos, and encodes what is no latent."""
    encoders = training.encoders
    if encoders.codec not in WORK_BYTES:
        return 0
    works = {True: training.validation.videos > 0, False: training.data.source == "samples"}
    half = encoders.codec_dtype != "float32"
    sizes = (bucket.height, bucket.width, bucket.frames)
    peaks = (
        codec_bytes(*sizes, decodes=decodes, half=half, tiled=tiled, codec=encoders.codec)
        for decodes, does in works.items()
        if does
    )
    return max(peaks, default=0)


def plan_of(config: TrainConfig, process: Process) -> MemoryEstimate:
    """Estimate the memory of a training on one device."""
    plan = _memory_plan(config, process.world_size, process.device.type == "cuda")
    with torch.device("meta"):
        model = ContextAnyoneTransformer3DModel(**config.model.fields(config.data.characters))
    return estimate(model.config, plan)


def _memory_plan(config: TrainConfig, world_size: int, cuda: bool = True) -> MemoryPlan:
    encoders = config.encoders
    loaded = [encoders.codec]  # with latents it only shows videos
    if config.data.source == "samples":
        loaded += [encoders.text, encoders.image]
    return plan_for(
        config,
        world_size,
        text=encoders.text_tokens or (512 if encoders.text == "umt5" else 32),
        image=IMAGE_TOKENS.get(encoders.image, encoders.image_grid**2),
        encoders_bytes=sum(ENCODER_BYTES.get(name, 0) for name in loaded),
        cuda=cuda,
    )


def check_fits(config: TrainConfig, process: Process) -> str:
    """Return advice when memory is tight. Raises ValueError when training cannot fit."""
    memory = memory_bytes(process.device)
    if process.device.type == "cpu":
        memory //= _neighbours(process)
    return refuse_or_advise(plan_of(config, process), memory)


def _neighbours(process: Process) -> int:
    """Return how many processes share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", process.world_size))


def describe(config: TrainConfig, data: str, folder: Path, process: Process) -> str:
    """Return the plan for a person: sizes, processes, memory."""
    train, zero, sequence = config.train, config.zero, config.parallel.sequence
    shared = f", {sequence} processes share a sample" if sequence > 1 else ""
    return "\n".join(
        [
            f"{train.steps} steps of {train.batch_size} samples ({_buckets(config)}) "
            f"from {config.data.source} of {data} into {folder}",
            *_characters(config),
            f"{process.world_size} processes on {process.device.type}, micro-batches of "
            f"{train.micro_batch}{shared}, ZeRO {zero.stage}, {zero.precision}, offload "
            f"{zero.offload}",
            emphasis_share(config),
            "memory of each device, estimated:",
            plan_of(config, process).table(),
        ]
    )


def _buckets(config: TrainConfig) -> str:
    """Name the first buckets, and say how many more there are."""
    names = config.data.buckets
    more = f" and {len(names) - _NAMED} smaller or of other shapes" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _characters(config: TrainConfig) -> list[str]:
    """Say how several characters are trained; nothing where one is trained alone."""
    most, references = config.data.characters, config.data.references
    if most == 1:
        return []
    lines = [
        f"up to {most} characters of a sample, {references} reference(s) of each; each is dropped "
        f"in {config.flow.dropout.character:.0%} of the samples that have several"
    ]
    if config.model.marks:
        boxes = 1 - config.flow.dropout.boxes
        lines.append(f"who is who is marked by the prompt's words, and in {boxes:.0%} by boxes")
    return lines


def emphasis_share(config: TrainConfig) -> str:
    """Say what Emphasize-Attention takes of the parameters and of a forward pass."""
    form = form_of(config.model.emphasize)
    if form == "none":
        return "no Emphasize-Attention"
    with torch.device("meta"):
        model = ContextAnyoneTransformer3DModel(**config.model.fields(config.data.characters))
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    own = sum(size for name, size in sizes.items() if new_module(name) == "emphasize")
    plan = _memory_plan(config, 1)
    flops = forward_flops(model.config, plan.sizes)
    computed = sum(n for part, n in flops.parts.items() if part.startswith("emphasize"))
    return (
        f"Emphasize-Attention ({form}): {own / 1e6:,.1f} M parameters, "
        f"{own / sum(sizes.values()):.1%} of all; {computed / flops.total:.1%} of a forward pass"
    )


def share_cores(num_workers: int, process: Process) -> None:
    """Compute on the cores that the loader's workers leave, unless OMP_NUM_THREADS says more.

    Threads that share a core wait for each other in a loop: twice the threads, a tenth the speed.
    """
    if process.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) // _neighbours(process)
        torch.set_num_threads(max(1, cores - num_workers))


def with_fitting_micro_batch(config: TrainConfig, replicas: int) -> tuple[TrainConfig, str]:
    """Return settings whose batch splits over the replicas, and what was changed for that.

    A smaller micro-batch trains the same model, as no draw and no order depends on it. A batch that
    does not split at all stays as it is, for `micro_steps` to refuse.
    """
    train = config.train
    share, rest = divmod(train.batch_size, replicas)
    if rest or not share % train.micro_batch:
        return config, ""
    fitting = max(n for n in range(1, train.micro_batch) if not share % n)
    what = "processes" if config.parallel.sequence == 1 else "groups of processes"
    note = (
        f"train.micro_batch lowered from {train.micro_batch} to {fitting}, so that a batch of "
        f"{train.batch_size} splits over {replicas} {what}; the results are the same"
    )
    return replace(config, train=replace(train, micro_batch=fitting)), note


def check_not_run(folder: Path, resume: str) -> None:
    """Raise ValueError when the folder holds a run that is not to be gone on with."""
    if resume == "never" and has_checkpoints(folder):
        raise ValueError(
            f"{folder} holds checkpoints already, and --resume=never would overwrite them: "
            "choose another --output, or --resume=auto to go on"
        )


def write_settings(folder: Path, config: TrainConfig) -> None:
    """Write the settings of a run where its owner looks for them."""
    settings = scrubbed(asdict(config))
    (folder / "config.yaml").write_text(yaml.safe_dump(_plain(settings), sort_keys=False))


def _plain(settings: object) -> object:
    """Turn tuples into lists, which YAML can read again."""
    if isinstance(settings, dict):
        return {key: _plain(value) for key, value in settings.items()}
    if isinstance(settings, (list, tuple)):
        return [_plain(value) for value in settings]
    return settings
