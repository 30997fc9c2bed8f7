"""Arrays of vectors that lie in files without a name, for as long as somebody holds them."""

import mmap
import tempfile
from collections.abc import Iterable

import numpy as np

_SMALL = 4096  # rows that stay in memory
_BLOCK = 65_536  # rows copied at once


def gathered(matrix: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return (N, D) float32, the rows of a matrix at some places; many of them lie on disk."""
    if len(places) <= _SMALL:
        return matrix[places]
    found = _empty(len(places), matrix.shape[1])
    for first in range(0, len(places), _BLOCK):
        found[first : first + _BLOCK] = matrix[places[first : first + _BLOCK]]
    return found


def stacked(rows: Iterable[np.ndarray], number: int, size: int) -> np.ndarray:
    """Return (number, size) float32 of rows that come one by one; many of them lie on disk."""
    found = _empty(number, size)
    for place, row in enumerate(rows):
        found[place] = row
    return found


def mean_rows(matrix: np.ndarray, order: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return (G, D) float32, the means of groups of rows; many of them lie on disk.

    `order` names the rows of one group after another's, `sizes` (G,) how many each has: one or
    more.
    """
    found = _empty(len(sizes), matrix.shape[1])
    ends = np.cumsum(sizes)
    for first in range(0, len(sizes), _SMALL):
        part = slice(first, first + _SMALL)
        starts = ends[part] - sizes[part]
        rows = matrix[order[starts[0] : ends[part][-1]]]
        sums = np.add.reduceat(rows, starts - starts[0])
        found[part] = sums / sizes[part, None].astype(np.float32)
    return found


def unit_rows(matrix: np.ndarray, least: float = 1e-6) -> np.ndarray:
    """Return (N, D) float32, every row divided by its length; many of them lie on disk.

    A row that is shorter than `least` is divided by that.
    """
    found = _empty(*matrix.shape)
    for first in range(0, len(matrix), _BLOCK):
        part = matrix[first : first + _BLOCK]
        lengths = np.linalg.norm(part, axis=1, keepdims=True)
        found[first : first + _BLOCK] = part / np.maximum(lengths, least)
    return found


def _empty(rows: int, size: int) -> np.ndarray:
    if rows <= _SMALL:
        return np.empty((rows, size), np.float32)
    with tempfile.TemporaryFile(prefix="contextanyone-") as file:
        file.truncate(rows * size * np.dtype(np.float32).itemsize)
        mapped = mmap.mmap(file.fileno(), 0)
    return np.frombuffer(mapped, np.float32).reshape(rows, size)
