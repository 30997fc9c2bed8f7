"""Rows of a matrix are the same whether they lie in memory or on disk."""

import numpy as np
import pytest

from pipeline.dataset import disk_arrays
from pipeline.dataset.disk_arrays import gathered


@pytest.mark.parametrize("block", [7, 1000])
def test_many_rows_are_gathered_on_disk_as_few_in_memory(monkeypatch, block):
    monkeypatch.setattr(disk_arrays, "_BLOCK", block)
    random = np.random.default_rng(3)
    matrix = random.standard_normal((50, 6)).astype(np.float32)
    places = random.integers(0, 50, disk_arrays._SMALL + 300)
    many = gathered(matrix, places)
    assert many.dtype == np.float32
    assert np.array_equal(many, matrix[places])
    assert np.array_equal(gathered(matrix, places[:20]), matrix[places[:20]])
