"""The few samples on which every validation is made: always the same, never changed."""

import logging

import numpy as np

from trainer.data.data_config import DataConfig
from trainer.data.draws import seed_of
from trainer.data.hashing import permutation
from trainer.data.loader import STAND_INS
from trainer.data.source import Batch, BatchRequest, SampleSet

_LOG = logging.getLogger(__name__)


def fixed_batches(
    source: SampleSet, data: DataConfig, split: str, count: int, seed: int
) -> list[Batch]:
    """Return `count` samples of a split, each as a batch of one: first frames, best references.

    They depend on the seed alone; samples that cannot be read are passed over. Training samples
    take the place of an empty split, with a warning.
    """
    assigned = source.assign(split)
    buckets = sorted(assigned.buckets)
    rows = np.concatenate([assigned.buckets[bucket] for bucket in buckets])
    of = np.repeat(np.arange(len(buckets)), [len(assigned.buckets[b]) for b in buckets])
    if not len(rows) and split != data.train_split:
        _LOG.warning(
            "no sample of split %r fits a bucket (%s): validating on training samples, which shows "
            "whether the model learns, not whether it generalises",
            split,
            assigned.seen,
        )
        return fixed_batches(source, data, data.train_split, count, seed)
    drawn = permutation(seed_of(seed, "held out", split), len(rows))[: count + STAND_INS]
    builder = source.builder(seed, training=False)
    batches: list[Batch] = []
    for place in drawn:
        if len(batches) == count:
            break
        locations = source.locations(int(rows[place]))
        request = BatchRequest(0, buckets[of[place]], (len(batches),), ((locations,),))
        try:
            batches.append(builder.make(request))
        except ValueError as error:
            _LOG.warning("passed over in validation: %s", error)
    return batches
