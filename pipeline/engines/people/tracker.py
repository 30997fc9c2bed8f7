"""Join detections to paths, one person each: overlap, clothes, and flow through the gaps.

Greedy nothing, random nothing: assignment is the Hungarian method on predicted boxes, in the
manner of SORT (Bewley et al. 2016); the prediction is optical flow, and constant velocity
where flow is lost. Own code, because the libraries bring a framework for two hundred lines.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from pipeline.engines.people.optical_flow import follow
from pipeline.pictures.boxes import clip_to, iou

_SAME_PLACE = 0.5  # overlap from which a detection denies what flow says


@dataclass(frozen=True)
class Look:
    """One picture of a clip as the tracker sees it; boxes in pixels of the clip.

    `signatures` are (K, D) unit vectors. `detected` is false for pictures in between, that were
    only decoded to be followed on.
    """

    frame_index: int
    boxes: np.ndarray
    scores: np.ndarray
    signatures: np.ndarray
    grey: np.ndarray
    scale: float  # pixels of `grey` per pixel of the clip
    detected: bool = True


class BoxSource(Enum):
    """Where a box of a path comes from."""

    DETECTED = "detected"
    FOLLOWED = "followed"
    GUESSED = "guessed"


@dataclass
class Path:
    """One person through the looks."""

    looks: list[int] = field(default_factory=list)  # positions in the sequence of looks
    boxes: list[np.ndarray] = field(default_factory=list)
    sources: list[BoxSource] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)  # of detections only
    signatures: list[np.ndarray] = field(default_factory=list)  # of detections only
    not_before: int = 0  # look before which somebody else stood here
    ended: bool = False  # somebody else was seen here: nothing after the last detection counts

    def add(self, look: int, box: np.ndarray, source: BoxSource) -> None:
        """Append where the person is at a look."""
        self.looks.append(look)
        self.boxes.append(box)
        self.sources.append(source)

    def detections(self) -> list[int]:
        """Return positions in the path, not in the looks."""
        return [i for i, source in enumerate(self.sources) if source is BoxSource.DETECTED]


@dataclass(frozen=True)
class Tracker:
    """Links detections over time.

    Attributes:
        min_iou: overlap with the predicted box below which a detection is somebody else
            (SORT: 0.3; lower here, because detections come two a second).
        min_alike: clothes less alike than this are somebody else's, whatever the overlap: the
            median of two people is 0.42, the same person bending down still had 0.56.
        min_new_score: a weaker detection may go on with a path, and not begin one.
        min_second_score: nor may one weaker than this where a better box already shows somebody:
            detectors give a person who bends or reaches out two boxes. ByteTrack begins at 0.6.
        max_followed: looks that flow alone may carry a path.
        max_guessed: looks that constant velocity alone may carry it.
        reach: looks by which flow extends a path before its first and after its last detection.
    """

    min_iou: float = 0.2
    min_alike: float = 0.45
    min_new_score: float = 0.15
    min_second_score: float = 0.5
    max_followed: int = 24
    max_guessed: int = 6
    reach: int = 8

    def track(self, looks: Sequence[Look]) -> list[Path]:
        """Return every path with at least one detection, in order of appearance."""
        active: list[Path] = []
        ended: list[Path] = []
        for position, look in enumerate(looks):
            for path in active:
                self._advance(path, looks, position)
            if look.detected:
                self._assign(active, look, position)
            ended += [path for path in active if self._is_lost(path)]
            active = [path for path in active if not self._is_lost(path)]
        return in_order(self._finish(path, looks) for path in [*ended, *active])

    def _advance(self, path: Path, looks: Sequence[Look], position: int) -> None:
        """Predict where the person is at this look."""
        before, look = looks[position - 1], looks[position]
        box = _followed(before, look, path.boxes[-1])
        if box is not None:
            path.add(position, box, BoxSource.FOLLOWED)
        else:
            path.add(position, path.boxes[-1] + _velocity(path), BoxSource.GUESSED)

    def _assign(self, active: list[Path], look: Look, position: int) -> None:
        """Match detections with predictions; what is left over begins new paths."""
        taken: set[int] = set()
        if active and len(look.boxes):
            for row, column in self._pairs(active, look):
                path = active[row]
                path.boxes[-1], path.sources[-1] = look.boxes[column], BoxSource.DETECTED
                path.scores.append(float(look.scores[column]))
                path.signatures.append(look.signatures[column])
                taken.add(column)
        for column in range(len(look.boxes)):
            if column not in taken and self._may_begin(look, column, taken):
                taken.add(column)
                path = Path(not_before=_displace(active, look.boxes[column], position))
                path.add(position, look.boxes[column], BoxSource.DETECTED)
                path.scores.append(float(look.scores[column]))
                path.signatures.append(look.signatures[column])
                active.append(path)

    def _may_begin(self, look: Look, column: int, taken: set[int]) -> bool:
        """Say whether a detection that continues no path is somebody new."""
        known = look.boxes[sorted(taken)].reshape(-1, 4)
        second = bool((iou(look.boxes[column][None], known) > _SAME_PLACE).any())
        least = self.min_second_score if second else self.min_new_score
        return bool(look.scores[column] >= least)

    def _pairs(self, active: list[Path], look: Look) -> list[tuple[int, int]]:
        from scipy.optimize import linear_sum_assignment  # slow to import

        predicted = np.stack([path.boxes[-1] for path in active])
        overlap = iou(predicted, look.boxes)
        alike = np.stack([path.signatures[-1] for path in active]) @ look.signatures.T
        allowed = (overlap >= self.min_iou) & (alike >= self.min_alike)
        gain = np.where(allowed, overlap + 0.5 * alike, 0.0)
        rows, columns = linear_sum_assignment(-gain)
        return [
            (r, c) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if allowed[r, c]
        ]

    def _is_lost(self, path: Path) -> bool:
        if path.ended:
            return True
        since = len(path.sources) - 1 - path.detections()[-1]
        guessed = (
            sum(source is BoxSource.GUESSED for source in path.sources[-since:]) if since else 0
        )
        return since > self.max_followed or guessed > self.max_guessed

    def _finish(self, path: Path, looks: Sequence[Look]) -> Path:
        """Drop guesses at the end, pull flow onto detections, extend by flow at both ends."""
        last = path.detections()[-1]
        keep = last + 1
        while (
            not path.ended
            and keep < len(path.sources)
            and keep <= last + self.reach
            and path.sources[keep] is BoxSource.FOLLOWED
        ):
            keep += 1
        done = replace(
            path,
            looks=path.looks[:keep],
            boxes=path.boxes[:keep],
            sources=path.sources[:keep],
        )
        _steady_sizes(done)
        _close_gaps(done)
        self._extend_back(done, looks)
        height, width = (side / looks[0].scale for side in looks[0].grey.shape)
        done.boxes = [clip_to(box, width, height) for box in done.boxes]
        return done

    def _extend_back(self, path: Path, looks: Sequence[Look]) -> None:
        for _ in range(self.reach):
            first = path.looks[0]
            if first <= path.not_before:
                return
            box = _followed(looks[first], looks[first - 1], path.boxes[0])
            if box is None:
                return
            path.looks.insert(0, first - 1)
            path.boxes.insert(0, box)
            path.sources.insert(0, BoxSource.FOLLOWED)


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Return paths in the order of appearance; those that begin together by their place."""
    return sorted(paths, key=lambda path: (path.looks[0], *path.boxes[0].tolist()))


def _displace(active: Sequence[Path], box: np.ndarray, position: int) -> int:
    """End the paths that flow carried to where a stranger is now seen.

    Returns the first look that may be the stranger's.
    """
    first = 0
    for path in active:
        seen = path.detections()[-1]
        carried = path.looks[-1] == position and path.sources[-1] is not BoxSource.DETECTED
        if carried and float(iou(path.boxes[-1][None], box[None])[0, 0]) > _SAME_PLACE:
            path.ended = True
            first = max(first, path.looks[seen] + 1)
    return first


def _followed(before: Look, after: Look, box: np.ndarray) -> np.ndarray | None:
    moved = follow(before.grey, after.grey, box * before.scale)
    return None if moved is None else moved / after.scale


def _velocity(path: Path) -> np.ndarray:
    """Return the box's shift per look between the last two detections, sizes kept."""
    seen = path.detections()
    if len(seen) < 2:
        return np.zeros(4, np.float32)
    first, second = seen[-2], seen[-1]
    moved = path.boxes[second] - path.boxes[first]
    shift = (moved[:2] + moved[2:]) / 2 / (second - first)
    return np.tile(shift, 2)


def _steady_sizes(path: Path, reach: int = 2) -> None:
    """Give each detection the median size of its neighbours, hung from the middle of its top.

    The head is found well and the feet are not: one misjudged body must not make a box jump.
    """
    seen = path.detections()
    boxes = np.stack([path.boxes[i] for i in seen])
    sizes = boxes[:, 2:] - boxes[:, :2]
    for position, index in enumerate(seen):
        near = slice(max(0, position - reach), position + reach + 1)
        width, height = np.median(sizes[near], axis=0)
        x, top = (boxes[position, 0] + boxes[position, 2]) / 2, boxes[position, 1]
        path.boxes[index] = np.array([x - width / 2, top, x + width / 2, top + height], np.float32)


def _close_gaps(path: Path) -> None:
    """Make boxes between two detections meet both: flow, corrected; or a straight line."""
    original = list(path.boxes)
    seen = path.detections()
    for first, second in itertools.pairwise(seen):
        between = range(first + 1, second)
        flowed = all(path.sources[i] is BoxSource.FOLLOWED for i in between)
        for i in between:
            share = (i - first) / (second - first)
            line = (1 - share) * original[first] + share * original[second]
            if flowed:
                centre = (original[i][:2] + original[i][2:]) / 2
                drift = share * _drift(original, second, between)
                half = (line[2:] - line[:2]) / 2
                line = np.concatenate([centre + drift - half, centre + drift + half])
            path.boxes[i] = line.astype(np.float32)


def _drift(boxes: list[np.ndarray], second: int, between: range) -> np.ndarray:
    """Return how far flow would have been from the detection that closed the gap, per axis."""
    if not len(between):
        return np.zeros(2, np.float32)
    last, before = boxes[between[-1]], boxes[between[-1] - 1]
    expected = 2 * (last[:2] + last[2:]) - (before[:2] + before[2:])
    return ((boxes[second][:2] + boxes[second][2:]) - expected) / 2
