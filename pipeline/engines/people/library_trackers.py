"""ByteTrack, OC-SORT and BoT-SORT of the package `trackers` (Apache-2.0) in the place of ours.

They say which boxes are one person, from a person's second box on. Between looks, and before the
first and after the last, flow carries the boxes on as it does ours.
"""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from pipeline.engines.people.tracker import BoxSource, Look, Path, Tracker, in_order

TrackerName = Literal["own", "bytetrack", "ocsort", "botsort"]
_CLASSES = {
    "bytetrack": "ByteTrackTracker",
    "ocsort": "OCSORTTracker",
    "botsort": "BoTSORTTracker",
}
_PATIENCE = 90  # frames of 30 a second: they wait three seconds for somebody hidden, as ours
_STRONG = 0.5  # score from which a box is believed at once


def load_tracker(name: TrackerName, looks_per_s: float = 2.0) -> Tracker:
    """Return a tracker by name. Raises ValueError where its package is missing."""
    if name == "own":
        return Tracker()
    try:
        library = importlib.import_module("trackers")
    except ImportError as error:
        raise ValueError(
            f"observe.tracks.tracker={name} cannot be loaded: {error}; "
            'it comes with pip install -e ".[tracking]"'
        ) from error
    return LibraryTracker(made_by=getattr(library, _CLASSES[name]), looks_per_s=looks_per_s)


@dataclass(frozen=True)
class LibraryTracker(Tracker):
    """Joins detections as a class of the package does.

    Attributes:
        made_by: the class.
        looks_per_s: looks with the detector, by which it counts its patience.
    """

    made_by: Any = None
    looks_per_s: float = 2.0

    def track(self, looks: Sequence[Look]) -> list[Path]:
        """Return one path for each identity that the library gives out."""
        tracker, paths = self._make(), {}
        for position, look in enumerate(looks):
            if look.detected:
                for column, identity in _identities(tracker, look):
                    path = paths.setdefault(identity, Path())
                    self._carry(path, looks, position)
                    path.add(position, look.boxes[column], BoxSource.DETECTED)
                    path.scores.append(float(look.scores[column]))
                    path.signatures.append(look.signatures[column])
        for path in paths.values():
            self._carry(path, looks, min(path.looks[-1] + self.reach + 1, len(looks)))
        return in_order(self._finish(path, looks) for path in paths.values())

    def _make(self) -> Any:
        options: dict[str, Any] = {
            "lost_track_buffer": _PATIENCE,
            "frame_rate": self.looks_per_s,
            "minimum_consecutive_frames": 1,
            "high_conf_det_threshold": _STRONG,
        }
        if self.made_by.tracker_id != "ocsort":  # there every strong box begins a track
            options["track_activation_threshold"] = _STRONG
        return self.made_by(**options)

    def _carry(self, path: Path, looks: Sequence[Look], position: int) -> None:
        """Follow a path that has begun through the looks before `position`."""
        for between in range(path.looks[-1] + 1 if path.looks else position, position):
            self._advance(path, looks, between)


def _identities(tracker: Any, look: Look) -> Iterator[tuple[int, int]]:
    """Show the library one look; yield (place among the boxes, identity) of whoever it knows."""
    detections: Any = importlib.import_module("supervision").Detections
    shown = detections(
        xyxy=look.boxes * look.scale,
        confidence=look.scores,
        class_id=np.zeros(len(look.boxes), int),
        data={"column": np.arange(len(look.boxes))},
    )
    moved = getattr(tracker, "cmc", None) is not None  # takes the camera's motion off
    picture = cv2.cvtColor(look.grey, cv2.COLOR_GRAY2BGR) if moved else None
    known = tracker.update(shown, frame=picture)
    columns = known.data.get("column", np.zeros(0, int)).tolist()
    identities = known.tracker_id if known.tracker_id is not None else np.zeros(0, int)
    yield from (pair for pair in zip(columns, identities.tolist(), strict=True) if pair[1] >= 0)
