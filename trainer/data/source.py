"""What the loader needs of a source of samples, be they pixels or latents."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from trainer.data.batch import Bucket, LatentBatch, PixelBatch, SkippedSample
from trainer.data.index import Assigned, RowLocation
from trainer.data.origin import Origin
from trainer.data.pictures import Unreadable

Batch = PixelBatch | LatentBatch
Value = TypeVar("Value")


@dataclass(frozen=True)
class BatchRequest:
    """Which micro-batch to make: its samples, and those that replace an unreadable one."""

    step: int
    bucket: Bucket
    places: tuple[int, ...]
    # of each place: those of its sample, then of the samples that may stand in; a sample's rows
    locations: tuple[tuple[tuple[RowLocation, ...], ...], ...]


class BatchBuilder(Protocol):
    """Makes batches. It is sent to the processes that decode."""

    def make(self, request: BatchRequest) -> Batch: ...


class SampleSet(Protocol):
    """The samples of a dataset, as indices."""

    @property
    def splits(self) -> Mapping[str, int]:
        """Samples of each split, whether they fit a bucket or not."""
        ...

    @property
    def origin(self) -> Origin:
        """Which version of which dataset they are of."""
        ...

    def fps_of(self, indices: np.ndarray) -> float:
        """Return the rate of the frames of these samples, as they are trained on."""
        ...

    def assign(self, split: str) -> Assigned:
        """Return which samples of a split go to which bucket."""
        ...

    def locations(self, index: int) -> tuple[RowLocation, ...]:
        """Return where a sample is; several rows are windows of it, one of which is drawn."""
        ...

    def builder(self, seed: int, training: bool) -> BatchBuilder:
        """Return what makes its batches; in training windows, references and changes are drawn."""
        ...


@dataclass(frozen=True)
class LoadedSample(Generic[Value]):
    """One sample of a batch, and those that were skipped because they cannot be read."""

    value: Value
    skipped: tuple[SkippedSample, ...]


def first_readable(
    samples: tuple[tuple[RowLocation, ...], ...], load: Callable[[tuple[RowLocation, ...]], Value]
) -> LoadedSample[Value]:
    """Load the first sample that can be read. Raises ValueError when none can."""
    skipped: list[SkippedSample] = []
    for locations in samples:
        try:
            value = load(locations)
        except Unreadable as error:
            skipped.append(SkippedSample(locations[0].sample_id, str(error)))
        else:
            return LoadedSample(value, tuple(skipped))
    first_three = "; ".join(f"{skip.sample_id}: {skip.reason}" for skip in skipped[:3])
    raise ValueError(
        f"{len(skipped)} samples in a row cannot be read, the first: {first_three}. The dataset is "
        "damaged: set data.verify=true to find damaged files, or curate it again"
    )
