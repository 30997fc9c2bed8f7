"""Follow people through shots of half a second as densely as pictures are looked at."""

from dataclasses import dataclass, replace

from pipeline.engines.interfaces import PersonDetector
from pipeline.execution.stage import ClipRow
from pipeline.observing.tracks import TrackPeople, TracksConfig


@dataclass(frozen=True)
class TrackByLength:
    """Track people: with a detector's look at every picture where a clip is only for references.

    At two looks a second a shot of half a second is seen once, and nobody is believed for that.
    """

    detector: PersonDetector
    config: TracksConfig
    name = "tracks"

    def process(self, row: ClipRow) -> ClipRow:
        config = self.config
        if row.clip.reference_only:
            config = replace(config, detect_fps=config.follow_fps)
        return TrackPeople(self.detector, config).process(row)
