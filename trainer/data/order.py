"""Which samples a step sees: a pure function of (seed, step), whoever asks and whenever.

Every bucket has an endless stream of its samples, epoch after epoch, each epoch in an order of its
own. A batch is cut from the stream of one bucket. In epoch e come the batches that end within the
first e + 1 epochs of their stream and did not before, those of all buckets mixed.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.data.batch import Bucket
from trainer.data.draws import seed_of
from trainer.data.hashing import permutation

_KEPT_ORDERS = 16  # shuffled epochs kept in memory, 4 bytes a sample each


@dataclass(frozen=True)
class GlobalBatch:
    """The samples of one step, of all processes together."""

    step: int
    bucket: Bucket
    number: int  # of the batch in its bucket's stream
    indices: tuple[int, ...]  # of the samples in the source, one for each place


class Order:
    """The order of training. It holds no state: any step can be asked for, in any order."""

    def __init__(
        self,
        buckets: Mapping[Bucket, Sequence[int] | np.ndarray],
        batch_size: int,
        seed: int,
    ) -> None:
        """Order the samples, given as indices into their source; batches are of all processes."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        empty = [str(bucket) for bucket, indices in buckets.items() if len(indices) == 0]
        if empty or not buckets:
            raise ValueError(f"every bucket needs a sample, these have none: {empty or 'all'}")
        self.batch_size, self.seed = batch_size, seed
        self.buckets = tuple(sorted(buckets))
        self._indices = [np.asarray(buckets[bucket], np.int64) for bucket in self.buckets]
        self._sizes = np.array([len(indices) for indices in self._indices], np.int64)
        self._shuffled = functools.lru_cache(_KEPT_ORDERS)(self._shuffle)

    @property
    def num_samples(self) -> int:
        return int(self._sizes.sum())

    def batch(self, step: int) -> GlobalBatch:
        """Return the samples of a step; steps count from 0."""
        epoch = self.epoch_of(step)
        before, after = self._finished(epoch), self._finished(epoch + 1)
        ends = np.cumsum(after - before)
        shuffled = self._shuffled("steps", epoch, int(ends[-1]))
        place = int(shuffled[step - int(before.sum())])
        which = int(np.searchsorted(ends, place, side="right"))
        number = int(after[which] - ends[which] + place)
        indices = self._stream(which, number * self.batch_size, self.batch_size)
        return GlobalBatch(step, self.buckets[which], number, indices)

    def stand_ins(self, batch: GlobalBatch, place: int, count: int) -> tuple[int, ...]:
        """Return the samples that are tried in turn when that of a place cannot be read."""
        position = batch.number * self.batch_size + place
        return self._stream(self.buckets.index(batch.bucket), position + 1, count)

    def epoch_of(self, step: int) -> int:
        """Return the epoch of a step: how often, about, all samples were seen before it."""
        if step < 0:
            raise ValueError(f"step must be >= 0, got {step}")
        low, high = 0, self.batch_size * (step + 2)  # a sample gives a batch in batch_size epochs
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.steps_before(middle) <= step else (low, middle)
        return low

    def steps_before(self, epoch: int) -> int:
        """Return the number of the first step of an epoch."""
        return int(self._finished(epoch).sum())

    def _finished(self, epoch: int) -> np.ndarray:
        """Return how many batches of each bucket end within its first `epoch` epochs."""
        return epoch * self._sizes // self.batch_size

    def _stream(self, which: int, start: int, count: int) -> tuple[int, ...]:
        """Return `count` samples of a bucket's stream from a position on."""
        bucket, size = self.buckets[which], int(self._sizes[which])
        name = f"{bucket.height}x{bucket.width}x{bucket.frames}"
        found: list[int] = []
        while len(found) < count:
            epoch, offset = divmod(start + len(found), size)
            places = self._shuffled(name, epoch, size)[offset : offset + count - len(found)]
            found += self._indices[which][places].tolist()
        return tuple(found)

    def _shuffle(self, name: str, epoch: int, size: int) -> np.ndarray:
        return permutation(seed_of(self.seed, "order", name, epoch), size)


def slice_of(batch_size: int, rank: int, world_size: int) -> range:
    """Return the places of a global batch that a process computes; all have equally many."""
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be 0 to {world_size - 1}, got {rank}")
    if batch_size % world_size:
        raise ValueError(
            f"train.batch_size {batch_size} cannot be shared by {world_size} processes equally; "
            f"make it a multiple of {world_size}, or change the number of processes"
        )
    share = batch_size // world_size
    return range(rank * share, (rank + 1) * share)
