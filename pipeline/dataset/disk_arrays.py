"""Arrays of vectors that lie in files without a name, for as long as somebody holds them."""

import mmap
import tempfile

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


def _empty(rows: int, size: int) -> np.ndarray:
    with tempfile.TemporaryFile(prefix="contextanyone-") as file:
        file.truncate(rows * size * np.dtype(np.float32).itemsize)
        mapped = mmap.mmap(file.fileno(), 0)
    return np.frombuffer(mapped, np.float32).reshape(rows, size)
