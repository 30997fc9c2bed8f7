"""A stage of your own: it sees every clip with its people while the video is looked at."""

from dataclasses import dataclass

from pipeline.execution.stage import ClipRow, Rejected
from schemas.reasons import Reason


@dataclass(frozen=True)
class WideEnough:
    """Refuse clips that are upright: this dataset is for landscape video."""

    name = "landscape"

    def process(self, row: ClipRow) -> ClipRow | Rejected:
        aspect = row.clip.width / row.clip.height
        if aspect < 1:
            return Rejected(Reason.OWN_GATE, aspect, 1.0, "the clip is upright")
        return row
