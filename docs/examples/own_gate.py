"""A gate of your own on clips: only close views of somebody."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.execution.stage import Rejected
from schemas.reasons import Reason
from schemas.tables import Clip, Track


@dataclass(frozen=True)
class CloseViews:
    """Keep clips in which somebody fills at least `min_area` of the picture."""

    min_area: float = 0.1
    name = "close views"  # what the funnel and the rejects call it

    def check(self, clip: Clip, tracks: Sequence[Track]) -> Rejected | None:
        largest = max((track.area for track in tracks), default=0.0)
        if largest < self.min_area:
            return Rejected(Reason.OWN_GATE, largest, self.min_area, "nobody is near")
        return None
