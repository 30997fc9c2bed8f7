"""Identity vectors of several spaces in one row: a face decides, a body only where no face is.

A row is the blocks of all spaces side by side, of unit length. The first space in which the person
is seen decides: its block has nearly all the length, and later blocks ride along at `CARRIED` of
it. So the plain cosine of two rows is the cosine of two faces (to 1e-4), or of two bodies without
a face; of a face and a body it is at most `CARRIED` and means nothing, which no window lets pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.engines.interfaces import Recogniser, SimilarityWindows

CARRIED = 0.01  # length of the block of a space that does not decide
_UNSEEN = (0.1 * CARRIED) ** 2  # product of the lengths of a part that one of two does not show


@dataclass(frozen=True)
class Worn:
    """What a body's vector says of hair and clothes, part by part, beside anybody else's.

    The parts are columns [first, last) of a row, or of a space before it has its place in a row.
    They compare where both people show them; the first one both must show.
    """

    parts: tuple[tuple[int, int], ...]
    least: float  # cosine from which two may wear the same
    margin: float  # by which the same clothes are more alike than those of anybody near
    floor: float  # of a picture that shows somebody whose track is known to wear them

    def placed(self, first: int) -> "Worn":
        """Return this for a space that begins at a column of the row."""
        return replace(self, parts=tuple((first + low, first + high) for low, high in self.parts))

    def likeness(self, row: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return (N,) cosines of one row (D,) with others (N, D), NaN where nothing compares."""
        dots, lengths = np.zeros((2, len(rows)), np.float64)
        comparable = np.zeros(len(rows), bool)
        for part, (low, high) in enumerate(self.parts):
            one, others = row[low:high], rows[:, low:high]
            length = float(np.linalg.norm(one)) * np.linalg.norm(others, axis=1)
            dots += others @ one
            lengths += length
            if part == 0:
                comparable = length > _UNSEEN
        return np.where(comparable, dots / np.where(comparable, lengths, 1.0), np.nan)


@dataclass(frozen=True)
class Turned:
    """Where a row keeps faces that are turned away, and what they say beside clothes.

    Such a face does not tell who somebody is among strangers. Among the few of a shot or two it
    does, where it is clearly most like one of them who wears the same.
    """

    front: tuple[int, int]  # columns of a face that decides
    side: tuple[int, int]  # columns of one that does not
    least: float  # cosine from which it may be the same face
    margin: float  # by which it is more like it than anybody else's near

    def likeness(self, row: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return (N,) cosines of one row's face (D,) with those of (N, D), NaN where unseen."""
        if len(row) < self.side[1]:  # of an older dataset
            return np.full(len(rows), np.nan)
        (one,), others = self._faces(row[None]), self._faces(rows)
        seen = others.any(axis=1) & bool(one.any())
        return np.where(seen, others @ one, np.nan)

    def _faces(self, rows: np.ndarray) -> np.ndarray:
        front, side = rows[:, slice(*self.front)], rows[:, slice(*self.side)]
        lengths = np.linalg.norm(front, axis=1, keepdims=True)
        faces = np.where(lengths > CARRIED / 10, front, side)
        return faces / np.maximum(np.linalg.norm(faces, axis=1, keepdims=True), 1e-6)


@dataclass(frozen=True)
class Space:
    """Columns [first, last) of a row, and what cosines within them mean."""

    name: str
    first: int
    last: int
    windows: SimilarityWindows
    worn: Worn | None = None
    turned: Turned | None = None

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


def worn_of(spaces: Sequence[Space]) -> Worn | None:
    """Return what tells clothes apart, None where no space of the recogniser does."""
    return next((space.worn for space in spaces if space.worn), None)


def turned_of(spaces: Sequence[Space]) -> Turned | None:
    """Return what tells faces that are turned away, None where no space of the recogniser does."""
    return next((space.turned for space in spaces if space.turned), None)


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


def likeness(
    row: np.ndarray, rows: np.ndarray, spaces: Sequence[Space]
) -> tuple[np.ndarray, np.ndarray]:
    """Compare one row (D,) with (N, D) others: by faces, by bodies, or else by what is worn.

    Returns (N,) cosines, and (N,) whether they are of what is worn: where one is decided by a face
    and the other is not, and the recogniser tells clothes apart.
    """
    cosines = rows @ row
    worn, known = worn_of(spaces), np.isfinite(cosines)
    mixed = np.zeros(len(rows), bool)
    if worn is None or not known.any():
        return cosines, mixed
    mixed[known] = deciding(rows[known], spaces) != deciding(row[None], spaces)[0]
    cosines[mixed] = worn.likeness(row, rows[mixed])
    return cosines, mixed
