"""Mend paths that went over to somebody else: give each person the other's end.

Where two people cross or cover each other, a path may follow the wrong one. It shows in what they
wear: the looks before fit those after in the other path better than in their own.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.engines.people.tracker import BoxSource, Path, in_order
from pipeline.pictures.boxes import iou

_GAIN = 0.15  # likeness of clothes that a change must bring for each end that finds another start
_LIKE = 0.75  # least likeness of what is joined
_NEAR_LOOKS = 12  # between two people who may be mistaken, and over which a path is gone on with
_COMPARED = 5  # looks with a detection on both sides
_MOST = 16  # changes in one clip
_CROWD = 12  # paths of a clip, from which on nobody is told apart by clothes, or becomes a sample


@dataclass(frozen=True)
class _Change:
    """Two paths that give each other what comes after a look; `gain` in likeness."""

    gain: float
    look: int
    first: int
    second: int


def mend(paths: Iterable[Path]) -> list[Path]:
    """Return the paths of one clip with wrong ends exchanged, in order of appearance."""
    mended = list(paths)
    for _ in range(_MOST if len(mended) < _CROWD else 0):
        changes = [
            change
            for first, second in itertools.combinations(range(len(mended)), 2)
            for change in _changes(mended[first], mended[second], (first, second))
        ]
        if not changes:
            break
        best = max(changes, key=lambda each: (each.gain, -each.look, -each.first, -each.second))
        pair = mended[best.first], mended[best.second]
        mended = [path for path in mended if path is not pair[0] and path is not pair[1]]
        mended += _exchanged(*pair, best.look)
    return in_order(mended)


def _changes(first: Path, second: Path, places: tuple[int, int]) -> Iterable[_Change]:
    """Yield the exchanges of two paths that are worth it."""
    seen = _seen(first), _seen(second)
    for look in sorted({*seen[0], *seen[1]})[:-1]:
        gain = _gain(first, second, look)
        if gain > 0 and _are_near(first, second, look):
            yield _Change(round(gain, 6), look, *places)


def _seen(path: Path) -> list[int]:
    return [path.looks[place] for place in path.detections()]


def _gain(first: Path, second: Path, look: int) -> float:
    """Return how much better both go on with the other's later looks; 0 where it is not sure."""
    before, after = [], []
    for path in (first, second):
        place = sum(at <= look for at in _seen(path))
        before.append(path.signatures[:place][-_COMPARED:])
        after.append(path.signatures[place:][:_COMPARED])
    kept = [_likeness(before[0], after[0]), _likeness(before[1], after[1])]
    crossed = [_likeness(before[0], after[1]), _likeness(before[1], after[0])]
    joined = [each for each in crossed if each is not None]
    parted = [each for each in kept if each is not None]
    if not joined or len(joined) != len(parted) or min(joined) < _LIKE:
        return 0.0
    gain = sum(joined) - sum(parted)
    return gain if gain >= _GAIN * len(joined) else 0.0


def _likeness(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> float | None:
    if not before or not after:
        return None
    return float((np.stack(before) @ np.stack(after).T).mean())


def _are_near(first: Path, second: Path, look: int) -> bool:
    """Whether the two meet at about a look: only there one is taken for the other."""
    here, there = _around(first, look), _around(second, look)
    return bool(len(here) and len(there)) and float(iou(here, there).max()) > 0


def _around(path: Path, look: int) -> np.ndarray:
    near = [abs(at - look) <= _NEAR_LOOKS for at in path.looks]
    return np.array(list(itertools.compress(path.boxes, near)), np.float32).reshape(-1, 4)


def _exchanged(first: Path, second: Path, look: int) -> list[Path]:
    """Return the two with each other's looks after `look`; what neither goes on with ends there."""
    starts = [_part(path, 0, sum(at <= look for at in path.looks)) for path in (first, second)]
    ends = [
        _part(path, sum(at <= look for at in path.looks), len(path.looks))
        for path in (second, first)
    ]
    joined = [_join(*pair) for pair in zip(starts, ends, strict=True)]
    return [path for path in joined if path.scores]


def _part(path: Path, first: int, end: int) -> Path:
    """Return the looks from `first` to before `end`, places in the path."""
    seen = path.detections()
    own = slice(sum(place < first for place in seen), sum(place < end for place in seen))
    return Path(
        looks=path.looks[first:end],
        boxes=path.boxes[first:end],
        sources=path.sources[first:end],
        scores=path.scores[own],
        signatures=path.signatures[own],
    )


def _join(start: Path, end: Path) -> Path:
    """Return one path, with a straight line from the last detection to the next."""
    if not start.scores or not end.scores:
        return start if start.scores else end
    start = _part(start, 0, start.detections()[-1] + 1)
    end = _part(end, end.detections()[0], len(end.looks))
    missing = range(start.looks[-1] + 1, end.looks[0])
    shares = [(look - start.looks[-1]) / (len(missing) + 1) for look in missing]
    line = [(1 - share) * start.boxes[-1] + share * end.boxes[0] for share in shares]
    return Path(
        looks=[*start.looks, *missing, *end.looks],
        boxes=[*start.boxes, *line, *end.boxes],
        sources=[*start.sources, *[BoxSource.GUESSED] * len(missing), *end.sources],
        scores=[*start.scores, *end.scores],
        signatures=[*start.signatures, *end.signatures],
    )
