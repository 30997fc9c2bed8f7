"""Move a person within a picture without inventing what the picture did not show.

A person who was cut off by a side of the picture is still cut off by it afterwards: a move that
would bring the cut inside is weakened, or the person grows a little, or it is not made at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.pictures.cutout import BORDER

STRENGTHS = (1.0, 0.7, 0.4, 0.2)  # of the drawn move, tried in this order
GROWTHS = (1.0, 1.07, 1.15)  # tried with each, where a side cuts the person off
LEAST_KEPT = 0.85  # share of what was seen of the person that is still seen
_DECIMALS = 4
_SAMPLED = 4096  # pixels of the person that are followed to see how many stay inside


@dataclass(frozen=True)
class Move:
    """A turn, a scale, a shift and a perspective; the default moves nothing.

    Attributes:
        rotation_degrees: counter-clockwise.
        scale: about the picture's centre.
        shift_x: share of the width.
        shift_y: share of the height.
        perspective: x and y of the four corners, as a share of the side.
    """

    rotation_degrees: float = 0.0
    scale: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    perspective: tuple[float, ...] = (0.0,) * 8

    def weakened(self, strength: float, growth: float) -> "Move":
        return Move(
            round(strength * self.rotation_degrees, _DECIMALS),
            round(self.scale**strength * growth, _DECIMALS),
            round(strength * self.shift_x, _DECIMALS),
            round(strength * self.shift_y, _DECIMALS),
            tuple(round(strength * value, _DECIMALS) for value in self.perspective),
        )

    def matrix(self, width: int, height: int) -> np.ndarray:
        """Return the 3x3 map from old to new pixels."""
        import cv2

        size = np.array([width, height], np.float32)
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * size
        angle = np.radians(self.rotation_degrees)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        moved = self.scale * (corners - size / 2) @ turn.T + size / 2
        moved += np.array([self.shift_x, self.shift_y]) * size
        moved += np.array(self.perspective).reshape(4, 2) * size
        return np.asarray(cv2.getPerspectiveTransform(corners, moved.astype(np.float32)))


def possible_move(move: Move, mask: np.ndarray, face: Sequence[float] = ()) -> Move:
    """Return the move as far as it can be made, shifted so that every cut stays at its side.

    `mask` is (H, W), above 127 on what must not be cut in a new place; `face` is xyxy or empty.
    """
    person = _Outline.of(mask, face)
    if person is None:
        return move
    if person.spans:  # two opposite sides cut it off: smaller, it would end inside one of them
        move = replace(move, scale=max(move.scale, 1.0))
    for attempt in _attempts(move, person.is_cut):
        shift = person.shift(attempt.matrix(*person.size))
        if shift is None:
            continue
        dx, dy = shift / person.size
        settled = replace(
            attempt,
            shift_x=round(attempt.shift_x + float(dx), _DECIMALS),
            shift_y=round(attempt.shift_y + float(dy), _DECIMALS),
        )
        if person.stays(settled.matrix(*person.size)):
            return settled
    return Move()


def _attempts(move: Move, is_cut: bool) -> Iterator[Move]:
    for strength in STRENGTHS:
        for growth in GROWTHS if is_cut else GROWTHS[:1]:
            yield move.weakened(strength, growth)


@dataclass(frozen=True)
class _Outline:
    """Where a person is seen in a picture, and which of its sides cut the person off."""

    size: tuple[int, int]  # width, height
    hull: np.ndarray  # (N, 2) around the person
    sampled: np.ndarray  # (N, 2) pixels all over the person
    face: np.ndarray  # (4, 2) corners, or (0, 2)
    cuts: dict[tuple[int, int], np.ndarray]  # (axis, 0 first or 1 last side) -> ends of the cut

    @classmethod
    def of(cls, mask: np.ndarray, face: Sequence[float]) -> "_Outline | None":
        import cv2

        seen = (mask > 127).astype(np.uint8)
        found = cv2.findNonZero(seen)
        if found is None:
            return None
        points = found.reshape(-1, 2)
        corners = np.zeros((0, 2), np.float32)
        if len(face):
            left, top, right, bottom = face
            corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        height, width = mask.shape
        return cls(
            (width, height),
            cv2.convexHull(found).reshape(-1, 2).astype(np.float32),
            points[:: max(1, len(points) // _SAMPLED)].astype(np.float32),
            corners.astype(np.float32),
            _cuts(points, width, height),
        )

    @property
    def is_cut(self) -> bool:
        return bool(self.cuts)

    @property
    def spans(self) -> bool:
        """Whether two opposite sides cut the person off."""
        return any({(axis, 0), (axis, 1)} <= self.cuts.keys() for axis in (0, 1))

    def shift(self, matrix: np.ndarray) -> np.ndarray | None:
        """Return the least shift in pixels, (2,), that keeps cuts, and only those, at the sides."""
        moved = _through(matrix, self.hull)
        shift = np.zeros(2)
        for axis, side in enumerate(self.size):
            rim, along = BORDER * side, moved[:, axis]
            first, last = self.cuts.get((axis, 0)), self.cuts.get((axis, 1))
            lower, upper = [], []  # bounds on the shift
            if first is None:
                lower.append(rim - along.min())
            else:
                upper.append(-_through(matrix, first)[:, axis].max())
            if last is None:
                upper.append(side - 1 - rim - along.max())
            else:
                lower.append(side - 1 - _through(matrix, last)[:, axis].min())
            least, most = max(lower, default=-np.inf), min(upper, default=np.inf)
            if least > most:
                return None
            shift[axis] = min(max(0.0, least), most)
        return shift

    def stays(self, matrix: np.ndarray) -> bool:
        """Whether enough of the person, and all of its face that was seen, is still seen."""
        if float(self._inside(matrix, self.sampled).mean()) < LEAST_KEPT:
            return False
        before = self._inside(np.eye(3), self.face)
        return bool(self._inside(matrix, self.face)[before].all())

    def _inside(self, matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
        moved = _through(matrix, points)
        inside = (moved >= 0) & (moved <= np.array(self.size) - 1)
        return inside[:, 0] & inside[:, 1]


def _cuts(points: np.ndarray, width: int, height: int) -> dict[tuple[int, int], np.ndarray]:
    """Return the two ends of the stretch along which each side cuts the person off."""
    cuts = {}
    for axis, side in enumerate((width, height)):
        rim = BORDER * side
        for last, touching in enumerate(
            (points[:, axis] <= rim, points[:, axis] >= side - 1 - rim)
        ):
            if touching.any():
                along = points[touching, 1 - axis]
                ends = np.empty((2, 2), np.float32)
                ends[:, axis] = (side - 1) * last
                ends[:, 1 - axis] = along.min(), along.max()
                cuts[axis, last] = ends
    return cuts


def _through(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return points (N, 2) mapped by a 3x3 matrix."""
    homogeneous = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return homogeneous[:, :2] / homogeneous[:, 2:]
