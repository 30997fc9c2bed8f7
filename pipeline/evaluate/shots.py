"""Is one person one over cuts? Faces of a video's shots, compared over their distance."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import cv2
import numpy as np

from pipeline.engines.interfaces import Picture
from pipeline.evaluate.identity import cosine
from pipeline.observing.shots import ShotDetector, ShotsConfig, Verdict

FAR = 3  # shots apart, and more: one measure
_SMALL = 160  # pixels of the long side at which cuts are searched


class ShotStarts:
    """Collects the frames of a video with which shots begin."""

    def __init__(self, fps: float) -> None:
        self._detector = ShotDetector(ShotsConfig(), fps)
        self._starts: list[int] = []

    def add(self, index: int, picture: Picture) -> None:
        """Take the next picture, RGB."""
        scale = min(1.0, _SMALL / max(picture.shape[:2]))
        size = [max(2, round(side * scale)) for side in picture.shape[1::-1]]
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        self._take(self._detector.add(index, index, cv2.cvtColor(small, cv2.COLOR_RGB2BGR)))

    def _take(self, verdicts: Iterable[Verdict]) -> None:
        self._starts += [verdict.index for verdict in verdicts if verdict.opened_by]

    def finish(self) -> tuple[int, ...]:
        """Return the first frame of every shot."""
        self._take(self._detector.finish())
        return tuple(self._starts)


def over_distance(
    indices: Sequence[int], faces: Sequence[np.ndarray | None], starts: Sequence[int]
) -> dict[int, float]:
    """Return, by how many shots two shots are apart, the mean cosine of their mean faces.

    indices: frames that were measured; faces: (D,) of each of them, None where none was found;
    starts: first frames of the shots. Distances of FAR and more are one. Shots without a face are
    compared with none.
    """
    shot_of = np.searchsorted(np.asarray(starts), np.asarray(indices), side="right") - 1
    by_shot: dict[int, list[np.ndarray]] = {}
    for shot, face in zip(shot_of.tolist(), faces, strict=True):
        if face is not None and shot >= 0:
            by_shot.setdefault(shot, []).append(face)
    means = {shot: np.mean(found, axis=0) for shot, found in by_shot.items()}
    alike: dict[int, list[float]] = {}
    for one, other in combinations(sorted(means), 2):
        likeness = cosine(means[one], means[other])
        if likeness is not None:
            alike.setdefault(min(other - one, FAR), []).append(likeness)
    return {distance: float(np.mean(found)) for distance, found in sorted(alike.items())}
