"""How much memory training takes on a device, before any of it is allocated.

Parameters are counted in parameter_counts.py, activations in activations.py; what DeepSpeed keeps
of each parameter is in `_states`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from trainer.distributed.zero import ZeroConfig
from trainer.measures.activations import Activations
from trainer.measures.flops import Sizes, num_checkpointed
from trainer.measures.parameter_counts import Counts, count_parameters
from trainer.model.recompute import Keeps

GIB = 2**30
_FP32 = 4
_MASTER, _MOMENTS = 4, 8  # bytes per parameter: fp32 copy in the optimizer; AdamW's two moments
_MOMENTS_8BIT = 2 + 2 * 4 / 256  # a byte each, and a scale for each block of 256
_LIVE_ELEMENTS = 10**9  # DeepSpeed's default of stage3_max_live_parameters
_CONTEXT_BYTES = GIB  # CUDA context, cuBLAS and NCCL
_FRAGMENTATION = 0.04  # of what is allocated
_TIGHT = 0.9  # share of the memory from which on advice is given


@dataclass(frozen=True)
class MemoryPlan:
    """What decides the memory of a training run.

    Attributes:
        sizes: tokens of one micro-batch, at the largest bucket.
        zero: stage, offload, precision, buckets.
        world_size: processes, one device each.
        checkpointing: recompute every n-th block; 0 none, 1 all.
        keeps: what a recomputed block keeps besides its input.
        ema: whether a moving average is kept, each process its share.
        lora_rank: train adapters of this rank and the new modules; None trains everything.
        frozen_bytes: of a number of the frozen projections (LoRA); at most 2 where all is bf16.
        encoders_bytes: of frozen encoders that stay on the device.
        codec_bytes: that the video codec takes while it works, before a step or in a validation.
        codec_remedy: setting that lowers this, and to how much.
        cuda: whether the device is a GPU.
        sequence: processes that share the tokens of a sample.
        background: whether checkpoints are written from a copy in the host's memory.
    """

    sizes: Sizes
    zero: ZeroConfig = field(default_factory=ZeroConfig)
    world_size: int = 1
    checkpointing: int = 0
    keeps: Keeps = "nothing"
    ema: bool = False
    lora_rank: int | None = None
    frozen_bytes: int = 4
    encoders_bytes: int = 0
    codec_bytes: int = 0
    codec_remedy: tuple[str, int] = ("", 0)
    cuda: bool = True
    sequence: int = 1
    background: bool = False


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each device by part, and of each process in the host's memory."""

    config: Mapping[str, Any]
    plan: MemoryPlan
    parts: dict[str, int]
    host: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    def table(self) -> str:
        """Return the parts in GiB, one per line."""
        rows = [*self.parts.items(), ("total per device", self.total)]
        rows += [(f"host: {name}", size) for name, size in self.host.items()]
        return "\n".join(f"{name:24}{size / GIB:9.2f} GiB" for name, size in rows)


def estimate(config: Mapping[str, Any], plan: MemoryPlan) -> MemoryEstimate:
    """Estimate the peak of training a model by this plan.

    Args:
        config: fields of ContextAnyoneTransformer3DModel, such as its `config`.
        plan: sizes, engine and checkpointing.
    """
    counts = count_parameters(config)
    parts, host = _states(counts, plan)
    activations = Activations(
        *(config, plan.sizes, plan.zero.precision, plan.cuda, plan.sequence),
        frozen=plan.lora_rank is not None,
    )
    parts["activations"] = activations.peak(plan.checkpointing, plan.keeps)
    backward = activations.backward + _weight_casts(counts, config["num_layers"], plan)
    # The update needs fp32 copies of gradients, at a time when no activation is left.
    update = _update_bytes(counts, plan) - parts["activations"]
    working = max(backward, update) + _buckets(counts, plan)
    parts["frozen encoders"] = plan.encoders_bytes
    # The codec works while no step does: only what it takes beyond a step's own counts.
    parts["codec beyond a step"] = max(0, plan.codec_bytes - parts["activations"] - working)
    overhead = int(_FRAGMENTATION * (sum(parts.values()) + working)) + _CONTEXT_BYTES
    parts["workspace"] = working + (overhead if plan.cuda else 0)
    return MemoryEstimate(config, plan, {name: size for name, size in parts.items() if size}, host)


def _states(counts: Counts, plan: MemoryPlan) -> tuple[dict[str, int], dict[str, int]]:
    """Return what lives from step to step, on the device and on the host.

    Stages 1 and 2 copy even fp32 parameters into the optimizer; stage 3 only to offload them.
    """
    zero, world = plan.zero, plan.world_size
    trainable, frozen = counts.trainable(plan.lora_rank), counts.frozen(plan.lora_rank)
    width = 2 if zero.precision == "bf16" else _FP32
    offloads = zero.offload != "none"
    parameters = width * (trainable + frozen)
    if frozen:
        parameters -= (width - min(width, plan.frozen_bytes)) * counts.projections
    copied = zero.stage in (1, 2) or zero.precision == "bf16" or offloads
    moments = _MOMENTS_8BIT if zero.optimizer == "adamw8bit" else _MOMENTS
    optimizer = int((moments + (_MASTER if copied else 0)) * trainable)
    device: dict[str, int] = {}
    host: dict[str, int] = {}
    (host if "parameters" in zero.offload else device)["parameters"] = parameters // (
        world if zero.stage == 3 else 1
    )
    if zero.stage == 3:
        live = min(trainable + frozen, _LIVE_ELEMENTS)
        device["gathered parameters"] = width * live
    (host if offloads else device)["optimizer"] = optimizer // (world if zero.stage else 1)
    if offloads:
        host["gradients"] = _FP32 * trainable // world
    if not offloads or zero.stage == 1:
        # Stage 1 keeps the bf16 gradients beside their fp32 sum.
        both = _FP32 + (2 if zero.stage == 1 and width == 2 else 0)
        device["gradients"] = both * trainable // (world if zero.stage >= 2 else 1)
    if plan.ema:
        device["moving average"] = _FP32 * trainable // world
    if plan.background:  # what the first process writes
        weights = width * trainable // (world if zero.stage == 3 else 1)
        states = optimizer // (world if zero.stage else 1)
        host["copy for a checkpoint"] = weights + states + device.get("moving average", 0)
    return device, host


def _weight_casts(counts: Counts, num_layers: int, plan: MemoryPlan) -> int:
    """Return the bf16 weights that autocast makes, kept along with their block's activations."""
    if plan.lora_rank is not None and plan.frozen_bytes == 1:  # one is restored at a time
        return (_FP32 if plan.zero.precision == "fp32" else 2) * counts.largest_projection
    already_bf16 = plan.lora_rank is not None and plan.frozen_bytes == 2
    if plan.zero.precision != "autocast" or already_bf16:
        return 0
    return 2 * counts.block * max(1, num_layers - num_checkpointed(num_layers, plan.checkpointing))


def _update_bytes(counts: Counts, plan: MemoryPlan) -> int:
    if plan.zero.stage == 0 or plan.zero.offload != "none":
        return 0
    return _FP32 * counts.trainable(plan.lora_rank) // plan.world_size


def _buckets(counts: Counts, plan: MemoryPlan) -> int:
    if plan.zero.stage == 0:
        return 0
    number = 2 if plan.zero.overlap_comm and plan.cuda else 1
    return number * _FP32 * min(plan.zero.bucket_elements, counts.trainable(plan.lora_rank))


def memory_bytes(device: torch.device) -> int:
    """Return the memory that training may use: free on a GPU, available on a CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def refuse_or_advise(estimated: MemoryEstimate, available_bytes: int) -> str:
    """Return '' when training fits well, and advice when it fits just so.

    Raises:
        ValueError: when it cannot fit, with what each remedy would save, most useful first.
    """
    if estimated.total <= _TIGHT * available_bytes:
        return ""
    lines = []
    for text, plan in _remedies(estimated.config, estimated.plan):
        saved = estimated.total - estimate(estimated.config, plan).total
        if saved > 0:
            lines.append(f"  {text}: saves {saved / GIB:.1f} GiB")
    need, have = estimated.total / GIB, available_bytes / GIB
    advice = "\n".join([*lines, _together(estimated, available_bytes)])
    if estimated.total <= available_bytes:
        return f"training takes about {need:.1f} of {have:.1f} GiB; should it not fit:\n{advice}"
    raise ValueError(
        f"training needs about {need:.1f} GiB on each device, but {have:.1f} GiB are there:\n"
        f"{estimated.table()}\nWhat would help:\n{advice}"
    )


def _remedies(config: Mapping[str, Any], plan: MemoryPlan) -> Iterator[tuple[str, MemoryPlan]]:
    """Yield the changes that this plan has not made yet, most useful first."""
    zero, sizes = plan.zero, plan.sizes
    if plan.checkpointing != 1:
        yield "model.checkpointing=1 (recompute every block)", replace(plan, checkpointing=1)
    if plan.checkpointing and plan.keeps == "attention":
        yield "model.checkpointing_keeps=nothing", replace(plan, keeps="nothing")
    if plan.world_size > 1 and zero.stage < 3:
        spread = replace(zero, stage=3, optimizer="adamw")
        also = ", model.checkpointing_keeps=nothing" if plan.keeps == "attention" else ""
        yield f"zero.stage=3{also}", replace(plan, zero=spread, keeps="nothing")
    single = plan.world_size == 1 and zero.stage in (1, 2) and zero.offload == "none"
    if single and zero.precision != "bf16":
        yield "zero.stage=0", replace(plan, zero=replace(zero, stage=0))
    if zero.stage < 3 and zero.offload == "none" and zero.optimizer == "adamw":
        eight_bits = replace(zero, optimizer="adamw8bit")
        yield "zero.optimizer=adamw8bit", replace(plan, zero=eight_bits)
    if zero.offload == "none":
        offloading = replace(zero, offload="optimizer", stage=max(zero.stage, 2), optimizer="adamw")
        yield (
            f"zero.offload=optimizer, zero.stage={offloading.stage}",
            replace(plan, zero=offloading),
        )
    setting, less = plan.codec_remedy
    if setting and less < plan.codec_bytes:
        yield setting, replace(plan, codec_bytes=less)
    if plan.lora_rank is None:
        yield "model.lora.rank=32", replace(plan, lora_rank=32)
    half = replace(sizes, video=max(1, sizes.video // 2))
    yield "half the frames in data.buckets", replace(plan, sizes=half)
    shared = math.gcd(plan.world_size, config["num_attention_heads"])
    if shared > plan.sequence:
        yield f"parallel.sequence={shared}", replace(plan, sequence=shared)
    if sizes.batch > 1:
        yield "train.micro_batch=1", replace(plan, sizes=replace(sizes, batch=1))
    if plan.ema:
        yield "ema.decay=0", replace(plan, ema=False)


def _together(estimated: MemoryEstimate, available_bytes: int) -> str:
    """Say how many of the remedies, one after the other, are enough."""
    current, used = estimated, []
    while current.total > _TIGHT * available_bytes:
        better = (
            (text, made)
            for text, plan in _remedies(current.config, current.plan)
            if text not in used and (made := estimate(current.config, plan)).total < current.total
        )
        text, current = next(better, ("", current))
        if not text:
            return (
                f"All together would still need {current.total / GIB:.1f} GiB: use larger devices, "
                "or more of them with zero.stage=3"
            )
        used.append(text)
    return f"Enough together: {'; '.join(used)}: {current.total / GIB:.1f} GiB"
