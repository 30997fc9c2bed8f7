"""What an engine must do, per task. Pictures are RGB, uint8, (height, width, 3).

Every method takes a batch, so that an engine on a GPU fills it; an engine on a CPU loops.
Boxes are xyxy float32 in pixels of the picture that they were found in.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from pipeline.media.images import Picture as Picture
from schemas.tables import Clip, Track


@dataclass(frozen=True)
class EngineInfo:
    """Who computed a score: it is stored beside every score and printed before every run."""

    id: str  # e.g. "opencv-hog-haar/1": changes whenever its output may change
    task: str  # person_detection | face_detection | recognition | segmentation | captioning
    licence: str  # of the code and of the weights, SPDX where one exists
    commercial: bool  # whether the weights may be used commercially
    weights_digest: str = "none"  # SHA-256 of the weights; "none" for an engine without weights
    gpu: bool = False  # whether it wants a GPU

    def joined_with(self, other: "EngineInfo") -> "EngineInfo":
        """Return who computes when a second network helps with this one's task."""
        digests = f"{self.weights_digest} {other.weights_digest}"
        return EngineInfo(
            id=f"{self.id.removesuffix('/1')}+{other.id.removesuffix('/1')}/1",
            task=self.task,
            licence=" AND ".join(dict.fromkeys((self.licence, other.licence))),
            commercial=self.commercial and other.commercial,
            weights_digest=hashlib.sha256(digests.encode()).hexdigest(),
            gpu=self.gpu or other.gpu,
        )


@dataclass(frozen=True)
class EngineNeeds:
    """What an engine needs to run: said by its class as `needs`, before anything is loaded.

    Attributes:
        packages: distributions beyond those of every curation.
        weights: (engine, task) of entries in models.yaml whose files it reads.
        landmarks: whether it needs five points of every face.
        gpu: whether it computes on a GPU where its worker is given one.
        memory_mib: resident memory that one copy took on a CPU, measured with the smallest weights
            that it reads; 0 where it was not measured.
    """

    packages: tuple[str, ...] = ()
    weights: tuple[tuple[str, str], ...] = ()
    landmarks: bool = False
    gpu: bool = False
    memory_mib: int = 0


@dataclass(frozen=True)
class Detections:
    """The people in one picture, best first."""

    boxes: np.ndarray  # (K, 4)
    scores: np.ndarray  # (K,), 0 to 1


@dataclass(frozen=True)
class Faces:
    """The faces in one picture, best first."""

    boxes: np.ndarray  # (K, 4)
    scores: np.ndarray  # (K,), 0 to 1
    landmarks: np.ndarray  # (K, 5, 2) eyes, nose, mouth corners; NaN where unknown
    yaw: np.ndarray  # (K,) degrees, 0 frontal, NaN unknown


@dataclass(frozen=True)
class PersonImage:
    """One person to be recognised: the picture, where the person is, and what is known."""

    picture: Picture
    box: np.ndarray  # (4,)
    face: np.ndarray | None = None  # (4,)
    landmarks: np.ndarray | None = None  # (5, 2); face networks see no face without all five
    others: tuple[np.ndarray, ...] = ()  # boxes of other people in the picture, (4,) each
    aside: np.ndarray | None = None  # (5, 2) of a face that does not say who somebody is

    def undecided(self) -> "PersonImage":
        """Return this with a face that is known, and does not say who somebody is."""
        return replace(self, landmarks=None, aside=self.landmarks)


@dataclass(frozen=True)
class CutOut:
    """A person's mask, (H, W) uint8, 255 on the person, and how far the engine trusts it.

    Of 60 masks drawn by eye, those trusted less than a half had an IoU below 0.85 or just above.
    """

    mask: np.ndarray = field(repr=False)
    trust: float = 1.0  # 0 to 1; 1 where an engine cannot say


@dataclass(frozen=True)
class SimilarityWindows:
    """Cosines at which THIS recogniser's vectors mean something; never carried to another.

    Vectors of clothes do not prove who somebody is: at or above such windows two tracks are only
    suspected to be one person, whom time and place must prove.
    """

    same_video: float  # tracks of one video at or above are one character
    cross_video: float  # tracks of two videos at or above are one character
    reference_floor: float  # a reference below this shows somebody else
    duplicate: float  # at or above, two pictures are the same picture
    prove: bool = True  # false for vectors of what somebody wears

    @property
    def cosines(self) -> dict[str, float]:
        """The windows by name."""
        return {name: value for name, value in vars(self).items() if name != "prove"}


@dataclass(frozen=True)
class CaptionFacts:
    """What a captioner may look at: the measured facts, and sampled frames for a model."""

    clip: Clip
    tracks: tuple[Track, ...]
    character: Track | None = None
    frames: tuple[Picture, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class CaptionParts:
    """A caption by what it speaks of, without anybody's look; '' where nothing is said."""

    action: str = ""
    scene: str = ""
    camera: str = ""


@dataclass(frozen=True)
class CheckedAnswer:
    """The texts of one clip, who wrote them, and what went wrong on the way.

    `problem` is '' for a first answer that was good. After a good second answer it says what was
    wrong with the first; with `engine` the embedded captioner's, why the model was not used.
    """

    text: str
    description: str
    engine: str
    problem: str = ""
    parts: CaptionParts = field(default_factory=CaptionParts)


class PersonDetector(Protocol):
    """Finds people.

    One whose weak boxes are only good beside strong ones also has `sure`: of whom no box ever has
    this score, nobody is seen. One that costs little has `looks_per_s`, how often it pays to look.
    """

    info: EngineInfo

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]: ...


def sure_score(detector: PersonDetector) -> float:
    """Return the score that one box of a person must have; most detectors ask for none."""
    return getattr(detector, "sure", 0.0)


def looks_per_s(detector: PersonDetector) -> float:
    """Return how often a detector looks where no setting says it."""
    return getattr(detector, "looks_per_s", 2.0)


class FaceDetector(Protocol):
    """Finds faces."""

    info: EngineInfo

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]: ...


class Recogniser(Protocol):
    """Turns a person into a unit vector whose cosine says how alike two people are.

    One that knows faces and bodies also has `spaces` (see `pipeline.engines.identity.spaces`):
    `windows` are then those of the first, and vectors of two spaces are orthogonal.
    """

    info: EngineInfo
    windows: SimilarityWindows

    def embed(self, people: Sequence[PersonImage]) -> np.ndarray:
        """Return (N, D) float32, rows of unit length."""
        ...


class Segmenter(Protocol):
    """Cuts a person out."""

    info: EngineInfo

    def segment(self, people: Sequence[PersonImage]) -> list[np.ndarray]:
        """Return one uint8 mask per picture, 255 on the person."""
        ...


@runtime_checkable
class TrustingSegmenter(Protocol):
    """A segmenter that knows how sure it was."""

    info: EngineInfo

    def cut_out(self, people: Sequence[PersonImage]) -> list[CutOut]:
        """Return one mask per picture, with its trust."""
        ...


class PictureScorer(Protocol):
    """Gives every picture one number. `info.task` is its column in `clips`, with "_scoring"."""

    info: EngineInfo

    def score(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Return (N,) float32."""
        ...


@runtime_checkable
class SoundScorer(Protocol):
    """Gives a clip's sound one number. `info.task` is its column in `clips`, with "_scoring"."""

    info: EngineInfo

    def hear(self, samples: np.ndarray, rate: int) -> float:
        """Return the number for (N, 2) int16 samples, `rate` a second."""
        ...


class Captioner(Protocol):
    """Says what a clip shows and what the character looks like.

    One that needs frames has an attribute `looks` that is true.
    """

    info: EngineInfo

    def caption(self, facts: Sequence[CaptionFacts]) -> list[tuple[str, str]]:
        """Return (caption of the clip, description of the character) per input."""
        ...


class CaptionOutcome(Protocol):
    """The two texts of one clip, who wrote them, and what went wrong on the way."""

    @property
    def text(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def engine(self) -> str: ...
    @property
    def problem(self) -> str: ...
    @property
    def parts(self) -> CaptionParts: ...


@runtime_checkable
class CheckedCaptioner(Protocol):
    """A captioner that checks its own answers, and falls back by itself."""

    info: EngineInfo

    def outcomes(self, facts: Sequence[CaptionFacts]) -> Sequence[CaptionOutcome]:
        """Return one outcome per input."""
        ...
