"""All settings of a curation, each defined beside the stage that it steers."""

from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.curation.shards import ShardsConfig
from pipeline.engines.registry import EnginesConfig, weights_in_use
from pipeline.execution.cluster import ClusterConfig
from pipeline.media.limits import ProbeConfig
from pipeline.media.sandbox import SandboxConfig
from pipeline.observing.candidates import CandidatesConfig
from pipeline.observing.clips import ClipsConfig
from pipeline.observing.faces import FacesConfig
from pipeline.observing.quality import QualityConfig
from pipeline.observing.scores import ScoresConfig
from pipeline.observing.shots import ShotsConfig
from pipeline.observing.tracks import PeopleConfig, TracksConfig
from pipeline.pairing.captions import CaptionsConfig
from pipeline.pairing.duplicates import DuplicatesConfig
from pipeline.pairing.gates import Gates, LicencesConfig
from pipeline.pairing.samples import PairingConfig

OBSERVE_VERSION = 4  # changes when the observing code may measure something else


@dataclass(frozen=True)
class CurationConfig:
    """Everything that a curation can be told.

    Attributes:
        engines: who does what; decides what is measured.
        probe: what a file may be.
        shots: where a video is cut into shots.
        clips: length, rate and size of clips.
        tracks: how people are followed.
        faces: how faces are found and recognised.
        candidates: which images are kept as possible references.
        part_s: longer videos are cut into parts of this length, in seconds, worked on in parallel.
        licences: late threshold on the owner's terms.
        quality: late thresholds on clips.
        scores: late thresholds on what engines.scorers say of clips.
        duplicates: late threshold on copies.
        people: late thresholds on tracks.
        pairing: characters, references, augmentation, splits.
        captions: what a caption may be.
        shards: size of the samples files.
        sandbox: limits of the process that reads untrusted media.
        cluster: workers and patience.
        max_failed: share of the videos that may fail before the exit code says so.
    """

    engines: EnginesConfig = field(default_factory=EnginesConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    shots: ShotsConfig = field(default_factory=ShotsConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    tracks: TracksConfig = field(default_factory=TracksConfig)
    faces: FacesConfig = field(default_factory=FacesConfig)
    candidates: CandidatesConfig = field(default_factory=CandidatesConfig)
    part_s: float = 600.0
    licences: LicencesConfig = field(default_factory=LicencesConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    scores: ScoresConfig = field(default_factory=ScoresConfig)
    duplicates: DuplicatesConfig = field(default_factory=DuplicatesConfig)
    people: PeopleConfig = field(default_factory=PeopleConfig)
    pairing: PairingConfig = field(default_factory=PairingConfig)
    captions: CaptionsConfig = field(default_factory=CaptionsConfig)
    shards: ShardsConfig = field(default_factory=ShardsConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    max_failed: float = 0.05

    def __post_init__(self) -> None:
        if self.part_s < 10 * self.clips.max_s:
            raise ValueError(
                f"part_s must be >= 10 x clips.max_s ({10 * self.clips.max_s:g}), so that few "
                f"clips meet a part's border; got {self.part_s:g}"
            )
        if not 0 <= self.max_failed <= 1:
            raise ValueError(f"max_failed must be a share from 0 to 1, got {self.max_failed}")

    @property
    def gates(self) -> Gates:
        """The late thresholds."""
        return Gates(self.licences, self.quality, self.duplicates, self.people, self.scores)

    def observing(self) -> dict[str, Any]:
        """Return the settings that decide what is measured; units are made with exactly these."""
        names = ("engines", "probe", "shots", "clips", "tracks", "faces", "candidates", "part_s")
        settings = {name: value for name, value in asdict(self).items() if name in names}
        for later in ("captions", "editor"):
            settings["engines"].pop(later)
        weights = weights_in_use(self.engines)
        if weights:
            settings["weights"] = weights
        return settings | {"observe_version": OBSERVE_VERSION}

    def deciding(self) -> dict[str, Any]:
        """Return the settings that change the dataset, for the manifest."""
        settings = asdict(self)
        for name in ("sandbox", "cluster", "max_failed"):
            settings.pop(name)
        weights = weights_in_use(self.engines) | weights_in_use(self.engines, late=True)
        if weights:
            settings["weights"] = weights
        return settings | {"observe_version": OBSERVE_VERSION}
