"""All settings of a curation, each defined beside the stage that it steers."""

from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.curation.shards import Shards
from pipeline.engines.registry import Engines, weights_in_use
from pipeline.execution.cluster import Cluster
from pipeline.media.limits import ProbeLimits
from pipeline.media.sandbox import Sandbox
from pipeline.observing.candidates import Candidates
from pipeline.observing.clips import Clips
from pipeline.observing.faces import Faces
from pipeline.observing.quality import QualityGate
from pipeline.observing.scores import ScoreGate
from pipeline.observing.shots import Shots
from pipeline.observing.tracks import TrackGate, Tracks
from pipeline.pairing.captions import Captions
from pipeline.pairing.duplicates import Duplicates
from pipeline.pairing.gates import Gates, Licences
from pipeline.pairing.samples import Pairing

OBSERVE_VERSION = 3  # changes when the observing code may measure something else


@dataclass(frozen=True)
class Curate:
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

    engines: Engines = field(default_factory=Engines)
    probe: ProbeLimits = field(default_factory=ProbeLimits)
    shots: Shots = field(default_factory=Shots)
    clips: Clips = field(default_factory=Clips)
    tracks: Tracks = field(default_factory=Tracks)
    faces: Faces = field(default_factory=Faces)
    candidates: Candidates = field(default_factory=Candidates)
    part_s: float = 600.0
    licences: Licences = field(default_factory=Licences)
    quality: QualityGate = field(default_factory=QualityGate)
    scores: ScoreGate = field(default_factory=ScoreGate)
    duplicates: Duplicates = field(default_factory=Duplicates)
    people: TrackGate = field(default_factory=TrackGate)
    pairing: Pairing = field(default_factory=Pairing)
    captions: Captions = field(default_factory=Captions)
    shards: Shards = field(default_factory=Shards)
    sandbox: Sandbox = field(default_factory=Sandbox)
    cluster: Cluster = field(default_factory=Cluster)
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
