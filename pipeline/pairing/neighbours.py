"""Which vectors are near each other: every pair of few rows, blocks of many.

Up to EXACT rows all pairs are compared. Beyond, faiss holds the rows in cells around pivots, and
only the PROBED cells nearest to a row are looked through for its NEIGHBOURS nearest rows. Pivots
are rows, taken at even steps: callers sort by id, which is a hash, so that is a draw that knows
no random state and needs no training. A search is one dot product after another whatever the
number of threads, and what is found is computed again and rounded here, so threads change nothing.

Memory beyond the rows themselves: the copy in cells (4 N D bytes), and 12 bytes per pair found.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

EXACT = 20_000  # rows up to which all pairs are compared
NEIGHBOURS = 48  # of a row, kept beyond EXACT: more than the clips that most people are seen in
PROBED = 48  # cells; the share of true pairs found is measured in docs/pairs.md
BLOCK = 1024  # rows and columns of cosines held at once: 4 MiB of float32
DECIMALS = 6  # cosines are compared rounded, so that two BLAS builds agree on ties
_BATCH = 16_384  # queries at once
_CELLS = 4  # times the square root of the rows: looking for cells costs about as much as in them


def near_pairs(rows: np.ndarray, threshold: float, exact: int = EXACT) -> np.ndarray:
    """Return (M, 2) int64 pairs, first < second, whose cosine is at least the threshold.

    Sorted. All such pairs for up to `exact` rows (N, D); beyond, those among the nearest.
    """
    if len(rows) <= exact:
        return _all_pairs(rows, threshold)
    found = []
    for top, near in _search(rows, rows, NEIGHBOURS + 1):
        first = np.repeat(np.arange(top, top + len(near)), near.shape[1])
        second = near.ravel()
        keep = (second >= 0) & (second != first)
        pairs = np.sort(np.stack([first[keep], second[keep]], axis=1), axis=1)
        found.append(pairs[cosines_of(rows, pairs) >= threshold])
    return _unique(np.concatenate(found), len(rows))


def nearest(queries: np.ndarray, rows: np.ndarray, number: int) -> Iterator[np.ndarray]:
    """Yield (number,) int64: for every query the rows of the greatest dot product, -1 for none.

    By cells: the nearest may be missed. Order within a line means nothing.
    """
    for _, near in _search(queries, rows, min(number, len(rows))):
        yield from near


def cosines_of(rows: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the rounded dot products of pairs of rows, float64."""
    parts = np.array_split(pairs, max(1, len(pairs) // _BATCH))
    dots = [np.einsum("nd,nd->n", rows[part[:, 0]], rows[part[:, 1]]) for part in parts]
    return np.round(np.concatenate(dots).astype(np.float64), DECIMALS)


def _all_pairs(rows: np.ndarray, threshold: float) -> np.ndarray:
    found = [np.zeros((0, 2), np.int64)]
    for top in range(0, len(rows), BLOCK):
        for left in range(top, len(rows), BLOCK):
            cosines = rows[top : top + BLOCK] @ rows[left : left + BLOCK].T
            first, second = np.nonzero(np.round(cosines, DECIMALS) >= threshold)
            pairs = np.stack([first + top, second + left], axis=1)
            found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return _unique(np.concatenate(found), len(rows))


def _unique(pairs: np.ndarray, size: int) -> np.ndarray:
    keys = np.unique(pairs[:, 0] * size + pairs[:, 1])
    return np.stack([keys // size, keys % size], axis=1)


def _search(queries: np.ndarray, rows: np.ndarray, number: int):
    """Yield (first query, (block, number) indices of near rows)."""
    faiss = _faiss()
    queries = np.ascontiguousarray(queries, np.float32)
    rows = np.ascontiguousarray(rows, np.float32)
    cells = max(1, min(len(rows), round(_CELLS * math.sqrt(len(rows)))))
    step = len(rows) // cells
    pivots = rows[: cells * step : step]
    quantizer = faiss.IndexFlatIP(rows.shape[1])
    quantizer.add(pivots)
    index = faiss.IndexIVFFlat(quantizer, rows.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.train(pivots)  # the pivots are there: nothing is trained
    index.add(rows)
    index.nprobe = min(PROBED, cells)
    for top in range(0, len(queries), _BATCH):
        yield top, index.search(queries[top : top + _BATCH], number)[1]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ValueError(
            f"more than {EXACT:,} tracks are linked with faiss, which is not installed: "
            'pip install -e ".[scale]", then run the same command again; nothing is measured twice'
        ) from error
    return faiss
