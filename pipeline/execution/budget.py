"""What a run may take of a cluster, and whether its pools fit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.execution.worker import Pool
from schemas.settings import check_settings, setting

_NO_PROGRESS_S = 1800
_NODES_S = 600


class Budget(ValueError):
    """The cluster is too small for the plan."""


@dataclass(frozen=True)
class ClusterConfig:
    """How much of the cluster a run may take.

    Attributes:
        workers: processes that work, 0 for one per CPU of the cluster, of nodes that join it later
            too.
        gpus_per_worker: share of a GPU that a worker with engines that want one takes, where the
            cluster has GPUs; 0 keeps all engines on the CPUs.
        gpu_workers: workers that run engines on GPUs, 0 for as many as fit, at most half of all.
        no_progress_s: seconds without any finished row after which a run on Ray gives up.
        nodes_s: seconds to wait, on a running cluster, for nodes that it may still have to start:
            for as many CPUs as `workers` and GPUs as `gpu_workers` say, at least one CPU. Then the
            run goes on with what is there.
    """

    workers: int = setting(0, low=0, high=100_000)
    gpus_per_worker: float = setting(0.25, low=0, high=64)
    gpu_workers: int = setting(0, low=0, high=100_000)
    no_progress_s: int = setting(_NO_PROGRESS_S, low=1, high=10**6, unit="s")
    nodes_s: int = setting(_NODES_S, low=0, high=10**6, unit="s")

    def __post_init__(self) -> None:
        check_settings(self, "run.cluster")
        share = self.gpus_per_worker
        if share > 1 and share != int(share):
            raise ValueError(
                f"run.cluster.gpus_per_worker must be 0 to 1 or a whole number, got {share:g}"
            )


@dataclass(frozen=True)
class Resources:
    """What a cluster has."""

    cpus: float
    gpus: float

    def holds(self, other: "Resources") -> bool:
        return self.cpus >= other.cpus - 1e-9 and self.gpus >= other.gpus - 1e-9


def check_budget(pools: Sequence[Pool], have: Resources) -> None:
    """Refuse pools that together want more than the cluster has: they would wait for ever."""
    kinds = (("CPU", lambda p: p.cpus, have.cpus), ("GPU", lambda p: p.gpus, have.gpus))
    for kind, wants, present in kinds:
        needed = sum(pool.size * wants(pool) for pool in pools)
        if needed > present + 1e-9:
            wanted = " + ".join(f"{pool.name}({pool.size} x {wants(pool):g})" for pool in pools)
            raise Budget(
                f"{wanted} want {needed:g} {kind}, the cluster has {present:g}; lower the pools or "
                "add nodes"
            )


def shrunk(pools: Sequence[Pool], have: Resources) -> list[Pool]:
    """Return pools that fit into what is left of a cluster, one worker each at least."""
    pools = list(pools)
    while not have.holds(wanted := wanted_by(pools)):
        short = [
            pool
            for pool in pools
            if pool.size > 1
            and (wanted.cpus > have.cpus or (pool.gpus and wanted.gpus > have.gpus))
        ]
        if not short:
            break
        largest = max(short, key=lambda pool: pool.size)
        pools[pools.index(largest)] = replace(largest, size=largest.size - 1)
    return pools


def wanted_by(pools: Sequence[Pool]) -> Resources:
    """Return what all workers of the pools take together."""
    return Resources(
        sum(pool.size * pool.cpus for pool in pools), sum(pool.size * pool.gpus for pool in pools)
    )
