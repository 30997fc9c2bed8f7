"""Evaluation protocols: a score means something only with the rules by which it was computed.

The same videos score .515, .519, .550 or .876 depending on the rules. So every protocol pins which
frames are measured, which engines detect and recognise faces, which face of a frame counts, and
what negative cosines and frames without a face count as. A run with other engines says so in its
result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipeline.engines.interfaces import EngineInfo
from schemas.settings import check_settings, meant, setting


@dataclass(frozen=True)
class FrameSampling:
    """Which frames of a video are measured.

    Attributes:
        kind: uniform (from first to last, rounded down, repeated where a video is shorter), or all.
        number: of frames in a uniform sample.
    """

    kind: Literal["uniform", "all"]
    number: int = setting(0, low=0, high=10**6)

    def __post_init__(self) -> None:
        check_settings(self, "protocol.frames")
        if self.kind == "uniform" and not self.number:
            raise ValueError("protocol.frames.number must be at least 1 in a uniform sample, got 0")

    def indices(self, num_frames: int) -> list[int]:
        """Return the frames, ascending; a uniform sample of a short video repeats some."""
        if num_frames < 1:
            raise ValueError("a video without frames cannot be measured")
        if self.kind == "uniform":
            return np.linspace(0, num_frames - 1, self.number).astype(int).tolist()
        return list(range(num_frames))


@dataclass(frozen=True)
class Protocol:
    """The rules of one published evaluation, or of ours.

    Attributes:
        value: what `protocol_value` is: face (mean cosine to the reference), self (DINO, each
            frame to the one before and to the first), or shots (faces of shots to each other, the
            mean over distances).
        detectors, recognisers: ids of the engines that the rules name; () where none is ours.
        face: which face of a frame counts: largest, or best (nearest to the reference).
        padded_retry: whether a frame without a face is searched again inside a grey border of 25 %.
        clamped: cosines below 0 count as 0.
        missing: what a frame without a face counts as: skipped, or zero.
        low, high: the range that the rules map to 0 to 1.
        also: further metrics of the rules -> the model that each needs.
    """

    name: str
    source: str
    frames: FrameSampling
    value: Literal["face", "self", "shots"]
    detector: str
    recogniser: str
    detectors: tuple[str, ...] = ()
    recognisers: tuple[str, ...] = ()
    face: Literal["largest", "best"] = "largest"
    padded_retry: bool = False
    clamped: bool = False
    missing: Literal["skipped", "zero"] = "skipped"
    low: float = setting(0.0, low=-1, high=1)
    high: float = setting(1.0, low=-1, high=1)
    also: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_settings(self, "protocol")
        if self.low >= self.high:
            raise ValueError(
                f"protocol.low must be below protocol.high, got {self.low}, {self.high}"
            )

    def departures(self, engines: Sequence[EngineInfo]) -> list[str]:
        """Return how a run with these engines departs from this protocol."""
        used_by_task = {info.task: info.id for info in engines}
        departures = []
        if self.value != "self":
            for task, named, ids in (
                ("face_detection", self.detector, self.detectors),
                ("recognition", self.recogniser, self.recognisers),
            ):
                used = used_by_task.get(task, "none")
                if used not in ids:
                    departures.append(f"{task}: the protocol has {named}, this run {used}")
        if self.detectors and used_by_task.get("face_detection") in self.detectors:
            departures.append(
                "face_detection: searched at up to 640 px and at 128 px, not at one size"
            )
        return departures

    def score(self, cosines: Sequence[float | None]) -> float | None:
        """Return the protocol's value from one cosine a frame, None where there is no face."""
        counted = [max(0.0, c) if self.clamped else c for c in cosines if c is not None]
        if self.missing == "zero":
            return float(np.sum(counted) / len(cosines)) if cosines else None
        if not counted:
            return 0.0 if self.clamped else None
        return float(np.mean(counted))


_BUFFALO = ("insightface-det_10g/1", "arcface-w600k_r50/1")
_CURRICULAR = "CurricularFace IR-101 (glint360k), published as a pickle only"

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="contextanyone",
            source="ours: the paper names ArcFace and DINO similarity, and no frames or weights",
            frames=FrameSampling("uniform", 32),
            value="face",
            detector="SCRFD-10G (det_10g)",
            recogniser="ArcFace R50 (w600k_r50)",
            detectors=_BUFFALO[:1],
            recognisers=_BUFFALO[1:],
            also={"dino_reference": "DINO", "clip_text": "CLIP"},
        ),
        Protocol(
            name="opens2v-v1",
            source="OpenS2V-Eval 1.0, FaceSim-Arc",
            frames=FrameSampling("uniform", 32),
            value="face",
            detector="SCRFD-10G at det size 320",
            recogniser="ArcFace R50 (w600k_r50)",
            detectors=_BUFFALO[:1],
            recognisers=_BUFFALO[1:],
            padded_retry=True,
            clamped=True,
            also={
                "facesim_cur": _CURRICULAR,
                "nexus_score": "YOLO-World-L, published as a pickle only, beside GME-Qwen2-VL-7B",
                "natural_score": "GPT-4o-2024-11-20, a service that nobody can pin",
                "gme_score": "GME-Qwen2-VL-7B",
                "aesthetic": "LAION's improved predictor on CLIP-L/14",
            },
        ),
        Protocol(
            name="vbench-subject",
            source="VBench subject_consistency: a video's likeness to itself, not to a reference",
            frames=FrameSampling("all"),
            value="self",
            detector="none",
            recogniser="DINO ViT-B/16 at 224",
            low=0.1462,
            also={"dynamic_degree": "RAFT"},
        ),
        Protocol(
            name="multi-shot",
            source="ours: is the person the same over cuts, whatever the reference?",
            frames=FrameSampling("all"),
            value="shots",
            detector="SCRFD-10G (det_10g)",
            recogniser="ArcFace R50 (w600k_r50)",
            detectors=_BUFFALO[:1],
            recognisers=_BUFFALO[1:],
            face="best",
        ),
        Protocol(
            name="msrvtt-p",
            source="MSRVTT-Personalization, Face-S",
            frames=FrameSampling("all"),
            value="face",
            detector="YOLOv9-face at confidence 0.2",
            recogniser="ArcFace R100",
            recognisers=("arcface-glintr100/1",),
            missing="zero",
            also={
                "clip_text": "CLIP-L/14",
                "subj_s": "DINO on crops of Grounding DINO and SAM",
                "dync_d": "RAFT",
            },
        ),
        Protocol(
            name="consisid",
            source="ConsisID, FaceSim-Arc",
            frames=FrameSampling("uniform", 16),
            value="face",
            detector="SCRFD-10G at det size 320",
            recogniser="ArcFace R100 (antelopev2)",
            detectors=_BUFFALO[:1],
            recognisers=("arcface-glintr100/1",),
            clamped=True,
            also={
                "facesim_cur": _CURRICULAR,
                "clip_text": "CLIP",
                "fid": "Inception on aligned faces, and hundreds of them",
            },
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """Return a protocol. Raises ValueError for a name that is unknown."""
    if name not in PROTOCOLS:
        raise ValueError(
            f"--protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}"
            f"{meant(name, PROTOCOLS)}"
        )
    return PROTOCOLS[name]
