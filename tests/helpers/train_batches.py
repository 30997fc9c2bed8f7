"""Batches of a tiny dataset, as training would ask for them."""

from typing import Any

from trainer.data.data_config import DataConfig
from trainer.data.heldout import fixed_batches
from trainer.data.loader import make_loader
from trainer.data.open_source import open_source, training_buckets
from trainer.data.order import Order

SIZE = ("96x160x17",)


def config(**settings: Any) -> DataConfig:
    return DataConfig(**{"buckets": SIZE, "num_workers": 0} | settings)


def batches(
    root, data, steps=(0, 6), rank=0, world_size=1, micro_batch=2, batch_size=4
) -> list[Any]:
    source = open_source(root, data)
    order = Order(training_buckets(source, data), batch_size, seed=0)
    start, stop = steps
    return list(
        make_loader(
            source,
            order,
            data,
            rank=rank,
            world_size=world_size,
            micro_batch=micro_batch,
            start_step=start,
            stop_step=stop,
        )
    )


def held_out(root, data, split, count, seed=0) -> list[Any]:
    return fixed_batches(open_source(root, data), data, split, count, seed)


def by_place(found: list[Any]) -> dict:
    """Return everything that was made, by step and place."""
    return {
        (batch.step, place): (
            batch.sample_ids[at],
            batch.captions[at],
            batch.frames[at].numpy().tobytes(),
            batch.references[at].numpy().tobytes(),
            batch.subject[at].numpy().tobytes(),
        )
        for batch in found
        for at, place in enumerate(batch.places)
    }
