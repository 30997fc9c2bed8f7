"""DeepSpeed's engine for our model: processes, ZeRO stage, precision, optimizer, and one update."""

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from schemas.settings import check_settings, setting
from trainer.distributed.optimizer import (
    ClippingAdamW,
    OptimizerConfig,
    Schedule,
    adamw_8bit,
    parameter_groups,
)

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

__all__ = [
    "TIMEOUT",
    "OptimizerConfig",
    "Process",
    "Step",
    "ZeroConfig",
    "backward",
    "engine_config",
    "init_process_group",
    "load_deepspeed",
    "load_parameters",
    "make_engine",
    "micro_steps",
    "schedule_of",
    "sharded_init",
]
TIMEOUT = timedelta(minutes=30)  # longer than any save, so only a dead process can reach it


@dataclass(frozen=True)
class ZeroConfig:
    """How the model's states are spread over processes, and in which precision.

    Attributes:
        stage: what is sharded: 0 nothing, 1 moments, 2 also gradients, 3 also parameters.
        offload: what is kept in CPU memory: none, optimizer (stage >= 1), optimizer+parameters
            (stage 3).
        precision: fp32; autocast: fp32 parameters, bf16 matrix products; bf16: bf16 parameters
            beside fp32 copies in the optimizer (stage >= 1).
        optimizer: adamw, or adamw8bit: moments of a byte each instead of four, by bitsandbytes;
            with stages 0 to 2, and with as many processes as before at a resume.
        bucket_elements: numbers that are reduced or gathered at once.
        overlap_comm: reduce gradients while the backward pass goes on (CUDA only).
        prefetch_elements: stage 3: parameters gathered ahead of their use.
        persist_elements: stage 3 without autocast: a smaller parameter stays whole everywhere.
    """

    stage: Literal[0, 1, 2, 3] = 2
    offload: Literal["none", "optimizer", "optimizer+parameters"] = "none"
    precision: Literal["fp32", "autocast", "bf16"] = "autocast"
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    bucket_elements: int = setting(50_000_000, low=1, high=10**12)
    overlap_comm: bool = True
    prefetch_elements: int = setting(50_000_000, low=0, high=10**12)
    persist_elements: int = setting(100_000, low=0, high=10**12)

    def __post_init__(self) -> None:
        check_settings(self, "zero")
        least = {"none": 0, "optimizer": 1, "optimizer+parameters": 3}[self.offload]
        if self.stage < least:
            raise ValueError(
                f"zero.offload={self.offload} needs zero.stage >= {least}, got {self.stage}; "
                "raise zero.stage or set zero.offload=none"
            )
        if self.optimizer == "adamw8bit" and (self.stage == 3 or self.offload != "none"):
            raise ValueError(
                "zero.optimizer=adamw8bit needs zero.stage from 0 to 2 and zero.offload=none, got "
                f"{self.stage} and {self.offload}; set these, or zero.optimizer=adamw"
            )
        if self.precision == "bf16" and self.stage == 0:
            raise ValueError(
                "zero.precision=bf16 needs zero.stage >= 1, got 0: stage 0 keeps no fp32 copy of "
                "the parameters; raise zero.stage or set zero.precision=autocast"
            )


def micro_steps(batch_size: int, micro_batch: int, world_size: int) -> int:
    """Return how many micro-batches a process accumulates before an update.

    world_size: processes, or replicas where several processes share a sample.
    """
    if min(batch_size, micro_batch, world_size) < 1 or batch_size % (micro_batch * world_size):
        sizes = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
        worlds = [n // micro_batch for n in sizes if n % micro_batch == 0]
        raise ValueError(
            f"a batch of {batch_size} cannot be split over {world_size} processes with "
            f"micro-batches of {micro_batch}: allowed numbers of processes are "
            f"{worlds or 'none'} with this micro-batch, and train.batch_size may be any multiple "
            f"of {micro_batch * world_size} with {world_size} processes"
        )
    return batch_size // (micro_batch * world_size)


def load_deepspeed() -> ModuleType:
    """Import DeepSpeed for the accelerator that is there. Takes seconds: only when needed."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    deepspeed.utils.logger.setLevel(logging.WARNING)
    accelerator = get_accelerator()
    if accelerator is not None and accelerator.device_name() == "cpu":
        # Gloo is fast enough. Its shared-memory operator would be compiled at the first start,
        # for 150 s, and fail where g++ or ninja is missing; this table is what enables it.
        deepspeed.ops.__dict__["__compatible_ops__"] = {}
    return deepspeed


class Process(NamedTuple):
    """Which of the launcher's processes this is, and its device.

    `sequence` neighbours share the tokens of the same samples; together they are a replica.
    """

    rank: int
    world_size: int
    device: torch.device
    sequence: int = 1

    @property
    def replica(self) -> int:
        """Which samples it computes: those of this replica."""
        return self.rank // self.sequence

    @property
    def replicas(self) -> int:
        return self.world_size // self.sequence

    @property
    def leads(self) -> bool:
        """Whether it is the first of its replica."""
        return self.rank % self.sequence == 0


def init_process_group(timeout: timedelta = TIMEOUT) -> Process:
    """Join the launcher's processes, or be the only one.

    A process that waits longer than `timeout` for the others fails instead of hanging.
    """
    deepspeed = load_deepspeed()
    os.environ.setdefault("LOCAL_RANK", "0")
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        backend = "nccl" if cuda else "gloo"
        if "RANK" in os.environ:
            torch.distributed.init_process_group(backend, timeout=timeout)
        else:  # alone: a store in memory needs no port
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            store = torch.distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
            torch.distributed.init_process_group(
                backend, store=store, rank=0, world_size=1, timeout=timeout
            )
    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False, timeout=timeout)
    return Process(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)


def engine_config(
    zero: ZeroConfig,
    optimizer: OptimizerConfig,
    micro_batch: int,
    accumulation: int,
    world_size: int,
    num_elements: int | None = None,
) -> dict[str, Any]:
    """Return DeepSpeed's configuration. `num_elements` of the model bounds the buffers."""
    cuda = torch.cuda.is_available()
    bucket = min(zero.bucket_elements, max(num_elements or zero.bucket_elements, 1))
    bucket += bucket % 2  # DeepSpeed aligns what it gathers to 2 elements
    # Autocast gathers in bf16 what it spreads, and in its first update also what it keeps in fp32
    # later: a resumed training would differ.
    persist = 0 if zero.precision == "autocast" else zero.persist_elements
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": micro_batch * accumulation * world_size,
        # Without ZeRO our own optimizer clips, see ClippingAdamW.
        "gradient_clipping": optimizer.clip_norm if zero.stage else 0.0,
        "zero_allow_untested_optimizer": True,  # torch's AdamW
        "zero_force_ds_cpu_optimizer": False,  # torch's again, which needs no compiler
        "bf16": {"enabled": zero.precision == "bf16"},
        "torch_autocast": {"enabled": zero.precision == "autocast", "dtype": "bfloat16"},
        "zero_optimization": {
            "stage": zero.stage,
            "contiguous_gradients": True,
            "overlap_comm": zero.overlap_comm and cuda,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "stage3_prefetch_bucket_size": min(zero.prefetch_elements, bucket),
            "stage3_param_persistence_threshold": persist,
        },
    }
    if zero.precision == "bf16":  # sums of many micro-batches lose their tail in bf16
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    on_host = {"device": "cpu", "pin_memory": cuda}
    if zero.offload != "none":
        config["zero_optimization"]["offload_optimizer"] = on_host
    if zero.offload == "optimizer+parameters":
        config["zero_optimization"]["offload_param"] = on_host
    return config


@contextmanager
def sharded_init(zero: ZeroConfig) -> Iterator[None]:
    """Build a model inside: with stage 3 each process keeps only its share of every parameter.

    Fill it with `load_parameters`; before that it holds its random initialisation.
    """
    if zero.stage < 3:
        yield
        return
    deepspeed = load_deepspeed()
    config = engine_config(zero, OptimizerConfig(), 1, 1, torch.distributed.get_world_size())
    arange = torch.arange
    # No dtype=: on a CPU the context takes bf16 whatever is asked; from the config it is right.
    with deepspeed.zero.Init(config_dict_or_path=config):
        # The context casts every new floating tensor. Parameters never come from arange, but the
        # angles of rotary positions do, and those must stay in double precision.
        torch.arange = arange
        yield


def load_parameters(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Copy tensors into the parameters and buffers of their names; return the names without one.

    One parameter at a time is whole, and only rank 0 reads `tensors` when parameters are spread,
    so the mapping may read from disk when asked.
    """
    targets = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    missing = [name for name in model.state_dict() if name not in tensors]
    unknown = [name for name in tensors if name not in targets]
    if unknown:
        raise ValueError(f"the model has no {unknown[0]} ({len(unknown)} such tensors)")
    for name in tensors:
        target = targets[name]
        with _whole(target) as shape, torch.no_grad():
            if hasattr(target, "ds_id") and torch.distributed.get_rank() != 0:
                continue
            tensor = tensors[name]
            if tensor.shape != shape:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)}, the model's is {tuple(shape)}: "
                    "these weights are of another model"
                )
            target.copy_(tensor)
    return missing


@contextmanager
def _whole(tensor: torch.Tensor) -> Iterator[torch.Size]:
    """Gather a parameter that is spread over processes; yield its whole shape."""
    if not hasattr(tensor, "ds_id"):
        yield tensor.shape
        return
    with load_deepspeed().zero.GatheredParameters([tensor], modifier_rank=0):
        yield tensor.shape


def make_engine(
    model: torch.nn.Module,
    optimizer: OptimizerConfig,
    zero: ZeroConfig,
    *,
    micro_batch: int,
    accumulation: int,
    steps: int,
    is_new: Callable[[str], bool] | None = None,
) -> "DeepSpeedEngine":
    """Wrap the model for training. Every process must have built the same one.

    steps: updates of the whole training, for the schedule. is_new: tells by its name whether a
    parameter belongs to the new modules.
    """
    deepspeed = load_deepspeed()
    groups = parameter_groups(model, optimizer, is_new)
    sizes = (getattr(p, "ds_numel", p.numel()) for group in groups for p in group["params"])
    options: dict[str, Any] = {"lr": optimizer.lr, "betas": optimizer.betas, "eps": optimizer.eps}
    if zero.optimizer == "adamw8bit":
        adamw = adamw_8bit(groups, None if zero.stage else optimizer.clip_norm, **options)
    elif zero.stage:
        adamw = torch.optim.AdamW(groups, fused=True, **options)
    else:
        adamw = ClippingAdamW(groups, optimizer.clip_norm, fused=True, **options)
    world_size = torch.distributed.get_world_size()
    config = engine_config(zero, optimizer, micro_batch, accumulation, world_size, sum(sizes))
    engine, _, _, _ = deepspeed.initialize(
        model=model,
        optimizer=adamw,
        lr_scheduler=Schedule(adamw, optimizer, steps),
        config=config,
    )
    return engine


def schedule_of(engine: "DeepSpeedEngine") -> Schedule:
    """Return the schedule that `make_engine` gave the engine."""
    assert isinstance(engine.lr_scheduler, Schedule), "the engine was not made by make_engine"
    return engine.lr_scheduler


@dataclass(frozen=True)
class Step:
    """What one update did."""

    applied: bool  # False: a loss or the gradient was not finite on some process
    grad_norm: float  # before clipping, of all processes together; inf when skipped
    lr: float


def backward(engine: "DeepSpeedEngine", loss: torch.Tensor) -> Step | None:
    """Add the gradient of one micro-batch; after the last of an update, take it.

    A loss that is not finite on any process makes every process skip the update: it turns its
    own gradients into NaN, and their reduction is what all processes then see and agree on.
    Parameters, moments and schedule stay as they were. Returns None between updates.
    """
    finite = torch.isfinite(loss.detach())
    engine.backward(loss * torch.where(finite, 1.0, math.nan))
    last = engine.is_gradient_accumulation_boundary()
    lr = schedule_of(engine).lr
    engine.step()
    if not last:
        return None
    applied = engine.was_step_applied()
    norm = float(engine.get_global_grad_norm() or 0.0)
    return Step(applied, norm if applied else math.inf, lr)
