"""Settings of the first phase: another value means looking at every video again."""

from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.engines.engines_config import EnginesConfig, chosen
from pipeline.engines.registry import weights_in_use
from pipeline.media.limits import ProbeConfig
from pipeline.observing.candidates import CandidatesConfig
from pipeline.observing.clip_maker import ClipsConfig
from pipeline.observing.faces import FacesConfig
from pipeline.observing.shots import ShotsConfig
from pipeline.observing.tracks import TracksConfig
from pipeline.observing.trim import TrimConfig
from schemas.settings import check_settings, setting

OBSERVE_VERSION = 13  # changes when the observing code may measure something else
_CLIPS_A_PART = 10  # at least, so that few clips meet a part's border


@dataclass(frozen=True)
class ObserveConfig:
    """What is measured of a video. Another value means looking at it again.

    Attributes:
        engines: who looks at the pictures.
        probe: what a file may be.
        shots: where a video is cut into shots.
        clips: length, rate and size of clips.
        tracks: how people are followed.
        trim: when a clip is cut to the stretch in which somebody is there.
        faces: how faces are found and recognised.
        candidates: which images are kept as possible references.
        stages: stages of your own, module:Class, that every clip passes after the others.
        part_s: longer videos are cut into parts of this length, worked on in parallel.
    """

    engines: EnginesConfig = field(default_factory=EnginesConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    shots: ShotsConfig = field(default_factory=ShotsConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    tracks: TracksConfig = field(default_factory=TracksConfig)
    trim: TrimConfig = field(default_factory=TrimConfig)
    faces: FacesConfig = field(default_factory=FacesConfig)
    candidates: CandidatesConfig = field(default_factory=CandidatesConfig)
    stages: tuple[str, ...] = setting(())
    part_s: float = setting(600.0, low=1, high=1e6, unit="s")

    def __post_init__(self) -> None:
        check_settings(self, "observe")
        if "speech" in self.engines.scorers and self.clips.audio == "none":
            raise ValueError(
                "observe.engines.scorers=[speech] listens to clips: set observe.clips.audio=keep"
            )
        least = _CLIPS_A_PART * self.clips.max_s
        if self.part_s < least:
            raise ValueError(
                f"observe.part_s must be >= {_CLIPS_A_PART} x observe.clips.max_s ({least:g} s), "
                f"so that few clips meet a part's border; got {self.part_s:g}"
            )

    def identity(self) -> dict[str, Any]:
        """Return all that decides what is measured; units are made with exactly this."""
        settings: dict[str, Any] = {"observe": asdict(self)}
        weights = weights_in_use(chosen(self.engines))
        if weights:
            settings["weights"] = weights
        return settings | {"observe_version": OBSERVE_VERSION}
