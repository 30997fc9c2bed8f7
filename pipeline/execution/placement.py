"""Plan which processes observe the videos, before any starts: CPUs, and shares of GPUs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.execution.budget import Budget, ClusterConfig, Resources
from pipeline.execution.worker import Pool


@dataclass(frozen=True)
class Placement:
    """The pools of the observing phase, and a note for the user.

    One pool cuts clips and runs the engines; or, where engines get GPUs, a second one runs the
    engines, so that no GPU waits for a decoder.
    """

    pools: tuple[Pool, ...]
    note: str

    @property
    def apart(self) -> bool:
        """Whether the engines run in a pool of their own, the last."""
        return len(self.pools) > 1


def place_observing(
    wanted: ClusterConfig, have: Resources, for_gpu: Sequence[str], workers: int
) -> Placement:
    """Place the observing engines; `for_gpu` names those that want a GPU.

    Raises Budget when what was asked for does not fit.
    """
    if not for_gpu or wanted.gpus_per_worker == 0 or have.gpus == 0:
        return Placement((Pool("observe", workers),), _cpu_note(wanted, have, for_gpu))
    slots = gpu_slots(have.gpus, wanted.gpus_per_worker)
    if slots == 0 or wanted.gpu_workers > slots:
        raise Budget(
            f"run.cluster.gpu_workers={wanted.gpu_workers or 1} of run.cluster.gpus_per_worker="
            f"{wanted.gpus_per_worker:g} do not fit on {have.gpus:g} GPUs, which hold {slots}; "
            "lower one of them, or set run.cluster.gpus_per_worker=0 to stay on the CPUs"
        )
    share = wanted.gpus_per_worker
    if workers == 1:
        return Placement(
            (Pool("observe", 1, gpus=share),),
            f"1 worker cuts clips and runs engines on {share:g} GPU",
        )
    looking = wanted.gpu_workers or min(slots, workers // 2)
    if looking >= workers:
        raise Budget(
            f"run.cluster.gpu_workers={looking} leave none of {workers} workers to cut clips; "
            "lower run.cluster.gpu_workers or raise run.cluster.workers"
        )
    pools = (Pool("clips", workers - looking), Pool("people", looking, gpus=share))
    note = f"{workers - looking} workers cut clips, {looking} run engines on {share:g} GPU each"
    return Placement(pools, note)


def place_captioner(
    wanted: ClusterConfig, have: Resources, gpu: bool, num_batches: int
) -> Pool | None:
    """Return the pool of a captioner that wants a `gpu`, None where it runs in this process.

    A captioner takes whole GPUs: it runs after the others have left.
    """
    if not gpu or wanted.gpus_per_worker == 0 or have.gpus < 1:
        return None
    size = max(1, min(int(have.gpus), int(have.cpus), num_batches))
    return Pool("captions", size, gpus=1.0)


def gpu_slots(gpus: float, share: float) -> int:
    """Return how many workers fit: a share of one GPU never spans two."""
    if share >= 1:
        return int(gpus / math.ceil(share))
    return int(gpus) * int(1 / share + 1e-9)


def _cpu_note(wanted: ClusterConfig, have: Resources, for_gpu: Sequence[str]) -> str:
    if not for_gpu:
        return ""
    why = "run.cluster.gpus_per_worker is 0" if have.gpus else "the cluster has no GPU"
    return f"{why}: {', '.join(for_gpu)} run on the CPU"
