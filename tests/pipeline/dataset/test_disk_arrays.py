"""Rows of a matrix are the same whether they lie in memory or on disk."""

import numpy as np
import pytest

from pipeline.dataset import disk_arrays
from pipeline.dataset.disk_arrays import gathered, mean_rows, stacked, unit_rows


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


@pytest.mark.parametrize("number", [300, disk_arrays._SMALL + 300])
def test_rows_that_come_one_by_one_are_a_matrix_and_are_brought_to_one_length(monkeypatch, number):
    monkeypatch.setattr(disk_arrays, "_BLOCK", 700)
    rows = np.random.default_rng(4).standard_normal((number, 6)).astype(np.float32)
    rows[5] = 0
    matrix = stacked(iter(rows), number, 6)
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, rows)
    lengths = np.linalg.norm(unit_rows(matrix), axis=1)
    assert lengths[5] == 0
    assert np.allclose(np.delete(lengths, 5), 1, atol=1e-6)


@pytest.mark.parametrize("number", [40, disk_arrays._SMALL + 300])
def test_means_of_groups_are_those_of_each_group_alone(number):
    random = np.random.default_rng(5)
    sizes = random.integers(1, 5, number)
    order = random.permutation(sizes.sum())
    matrix = random.standard_normal((sizes.sum(), 6)).astype(np.float32)
    found = mean_rows(matrix, order, sizes)
    alone = [matrix[rows].mean(axis=0) for rows in np.split(order, np.cumsum(sizes)[:-1])]
    assert np.allclose(found, np.stack(alone), atol=1e-6)
