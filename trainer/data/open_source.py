"""Open a dataset as `data.source` says: its samples as pixels, or as latents made before."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainer.data.batch import Bucket
from trainer.data.data_config import DataConfig
from trainer.data.index import check_buckets
from trainer.data.latent_source import LatentSource
from trainer.data.sample_source import SampleSource
from trainer.data.source import SampleSet


def open_source(
    url: str | Path,
    data: DataConfig,
    fingerprint: Mapping[str, str] | None = None,
    others: bool = False,
) -> SampleSet:
    """Open the dataset at `url`. Raises ValueError with what is wrong with it.

    `fingerprint` is that of the run's encoders; latents made by others are refused. `others`:
    whether batches hold another picture of each character.
    """
    if data.source == "samples":
        return SampleSource(url, data, others)
    return LatentSource(url, data, fingerprint, others)


def training_buckets(source: SampleSet, data: DataConfig) -> dict[Bucket, np.ndarray]:
    """Return the training samples of every bucket that has some.

    Raises ValueError when one has too few.
    """
    assigned = source.assign(data.train_split)
    check_buckets(assigned, data.train_split, source.splits, data)
    return {bucket: rows for bucket, rows in assigned.buckets.items() if len(rows)}
