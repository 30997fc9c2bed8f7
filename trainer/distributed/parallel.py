"""Which processes compute which samples: each its own, or several together the same."""

from dataclasses import dataclass

import torch.distributed as dist

from schemas.settings import check_settings, setting
from trainer.distributed.zero import TIMEOUT, Process


@dataclass(frozen=True)
class ParallelConfig:
    """How one sample is shared by several processes; ZeRO spreads states over all of them.

    Attributes:
        sequence: processes that share the tokens of every sample, for clips too long for one GPU;
            it divides model.heads and the number of processes. The results are the same.
    """

    sequence: int = setting(1, low=1, high=256, unit="processes")

    def __post_init__(self) -> None:
        check_settings(self, "parallel")


def check_divides(sequence: int, what: str, number: int) -> None:
    """Raise ValueError, with the degrees that work, unless it divides the number of something."""
    if number % sequence:
        works = [n for n in range(1, number + 1) if number % n == 0]
        raise ValueError(
            f"parallel.sequence must divide {what} ({number}), as {', '.join(map(str, works))} do; "
            f"got {sequence}"
        )


def sequence_group(process: Process) -> dist.ProcessGroup:
    """Return the processes that share this one's samples: neighbours, on one machine if they fit.

    Every process must call it.
    """
    own, _ = dist.new_subgroups(process.sequence, timeout=TIMEOUT)
    assert isinstance(own, dist.ProcessGroup), "every process is in one"
    return own
