"""A shard of samples is built in little memory, and is the file of all its rows."""

import weakref
from dataclasses import replace
from typing import cast

import pyarrow.parquet as pq
import pytest
from drawn_dataset import write_drawn_dataset

from pipeline.curation import shards
from pipeline.dataset.parquet import MEDIA_ROWS_PER_GROUP, encode_table
from pipeline.dataset.sample_schema import sample_schema
from pipeline.dataset.store import LocalStore
from pipeline.dataset.tables import current_files
from pipeline.pairing.sample_rows import Ingredients
from schemas.columns import from_table, to_table
from schemas.tables import Sample


@pytest.fixture
def samples(tmp_path):
    """Samples of two and a half row groups."""
    [path, *_] = current_files(write_drawn_dataset(tmp_path / "drawn"), "samples")
    first = from_table(pq.read_table(path), Sample)[0]
    number = 2 * MEDIA_ROWS_PER_GROUP + MEDIA_ROWS_PER_GROUP // 2
    return [replace(first, sample_id=f"{place:024}") for place in range(number)]


def test_a_shard_is_built_a_row_group_at_a_time(samples, tmp_path, monkeypatch):
    alive, most = [], 0

    def build(place, _):
        nonlocal most
        built = replace(samples[place])
        alive.append(weakref.ref(built))
        most = max(most, sum(each() is not None for each in alive))
        return built

    monkeypatch.setattr(shards, "_build", build)
    store = LocalStore(str(tmp_path / "built"))
    places = cast(tuple[Ingredients, ...], tuple(range(len(samples))))
    file = shards.build_shard(shards.ShardPlan("samples/v0001-00000.parquet", places), store)
    assert most == MEDIA_ROWS_PER_GROUP
    assert file.rows == len(samples)
    assert store.read(file.path) == encode_table(to_table(samples, Sample).cast(sample_schema()))
