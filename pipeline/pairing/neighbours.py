"""Which vectors are near each other: every pair of few rows, blocks of many.

Up to EXACT rows all pairs are compared. Beyond, faiss holds the rows in cells around pivots, and
only the PROBED cells nearest to a row are looked through for its NEIGHBOURS nearest rows. Pivots
are rows, taken at even steps: callers sort by id, which is a hash, so that is a draw that knows
no random state and needs no training. A search is one dot product after another whatever the
number of threads, and what is found is computed again and rounded here, so threads change nothing.

The rows in their cells lie in a file without a name. Memory: 16 bytes a row, and 12 per pair found.
"""

import math
import tempfile
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
    cells = max(1, min(len(rows), round(_CELLS * math.sqrt(len(rows)))))
    step = len(rows) // cells
    pivots = np.ascontiguousarray(rows[: cells * step : step], np.float32)
    quantizer = faiss.IndexFlatIP(rows.shape[1])
    quantizer.add(pivots)
    index = faiss.IndexIVFFlat(quantizer, rows.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.train(pivots)  # the pivots are there: nothing is trained
    cell = np.concatenate([quantizer.assign(batch, 1).ravel() for batch in _batches(rows)])
    lists = _in_cells(faiss, rows, cell, cells)
    index.replace_invlists(lists)
    index.nprobe = min(PROBED, cells)
    for top, batch in enumerate(_batches(queries)):
        yield top * _BATCH, index.search(batch, number)[1]


def _batches(rows: np.ndarray) -> Iterator[np.ndarray]:
    for top in range(0, len(rows), _BATCH):
        yield np.ascontiguousarray(rows[top : top + _BATCH], np.float32)


def _in_cells(faiss: Any, rows: np.ndarray, cell: np.ndarray, cells: int) -> Any:
    """Return the rows and their numbers as faiss looks them up: cell by cell, in a file.

    `cell` (N,) is of each row. Its own way to fill such a file, `add`, reports on the console.
    """
    found = faiss.OnDiskInvertedLists()
    found.nlist, found.code_size = cells, rows.shape[1] * np.dtype(np.float32).itemsize
    ends = np.cumsum(np.bincount(cell, minlength=cells))
    with tempfile.NamedTemporaryFile(prefix="contextanyone-") as file:
        for places in np.split(np.argsort(cell, kind="stable"), ends[:-1]):
            one = faiss.OnDiskOneList()
            one.size = one.capacity = len(places)
            one.offset = file.tell()
            found.lists.push_back(one)
            file.write(np.asarray(rows[places], np.float32).tobytes())
            file.write(places.astype(np.int64).tobytes())
        file.flush()
        found.filename, found.totsize, found.read_only = file.name, file.tell(), True
        found.prefetch_nthread = 0  # it would read pages ahead that are there
        found.do_mmap()
    return found


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ValueError(
            f"more than {EXACT:,} tracks are linked with faiss, which is not installed: "
            'pip install -e ".[scale]", then run the same command again; nothing is measured twice'
        ) from error
    return faiss
