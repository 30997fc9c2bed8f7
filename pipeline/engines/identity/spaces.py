"""Identity vectors of several spaces in one row: a face decides, a body only where no face is.

A row is the blocks of all spaces side by side, of unit length. The first space in which the person
is seen decides: its block has nearly all the length, and later blocks ride along at `CARRIED` of
it. So the plain cosine of two rows is the cosine of two faces (to 1e-4), or of two bodies without
a face; of a face and a body it is at most `CARRIED` and means nothing, which no window lets pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.engines.interfaces import Recogniser, SimilarityWindows

CARRIED = 0.01  # length of the block of a space that does not decide


@dataclass(frozen=True)
class Space:
    """Columns [first, last) of a row, and what cosines within them mean."""

    name: str
    first: int
    last: int
    windows: SimilarityWindows

    @classmethod
    def whole(cls, windows: SimilarityWindows) -> "Space":
        """Return the one space of a recogniser whose rows are not divided."""
        return cls("", 0, 1 << 30, windows)

    def block(self, rows: np.ndarray) -> np.ndarray:
        """Return this space's columns of (..., D) rows."""
        return rows[..., self.first : self.last]


def spaces_of(recogniser: Recogniser) -> tuple[Space, ...]:
    """Return a recogniser's spaces, the deciding one first; most have one."""
    return getattr(recogniser, "spaces", (Space.whole(recogniser.windows),))


def join(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Return (N, D) unit rows from (N, Dk) unit blocks, the deciding one first.

    A block of zeros says that the person is not seen in that space.
    """
    rows = []
    for parts in zip(*blocks, strict=True):
        decided, scaled = False, []
        for part in parts:
            scaled.append(part * np.float32(CARRIED) if decided else part)
            decided = decided or bool(np.any(part))
        row = np.concatenate(scaled).astype(np.float32)
        rows.append(row / max(float(np.linalg.norm(row)), 1e-6))
    return np.stack(rows) if rows else np.zeros((0, sum(each.shape[1] for each in blocks)), "f4")


def deciding(rows: np.ndarray, spaces: Sequence[Space]) -> np.ndarray:
    """Return (N,) the index of the space that decides each row, which holds most of its length."""
    lengths = [np.linalg.norm(space.block(rows), axis=-1) for space in spaces]
    return np.argmax(np.stack(lengths, axis=-1), axis=-1)


def compare(
    row: np.ndarray, rows: np.ndarray, spaces: Sequence[Space]
) -> tuple[np.ndarray, np.ndarray]:
    """Compare one row (D,) with (N, D) others, each in the first space in which both are seen.

    Returns (N,) cosines and the (N,) indices of the spaces; where no space holds both, the cosine
    is NaN and the index -1. Cosines of two spaces do not compare: each has its own windows.
    """
    cosines = np.full(len(rows), np.nan, np.float32)
    where = np.full(len(rows), -1)
    for index, space in enumerate(spaces):
        one, others = space.block(row), space.block(rows)
        length, lengths = np.linalg.norm(one), np.linalg.norm(others, axis=1)
        both = (where < 0) & (lengths > CARRIED / 10) & bool(length > CARRIED / 10)
        if both.any():
            cosines[both] = (others[both] @ one) / (lengths[both] * length)
            where[both] = index
    return cosines, where
