"""Protocols: a number means something only with the rules by which it was made.

The same videos score .515, .519, .550 or .876 depending on who measures. So every preset pins which
frames are looked at, who finds and recognises faces, which face counts, what happens to negative
cosines and to frames without a face. A run that uses other engines says so in its result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.engines.interfaces import EngineInfo


@dataclass(frozen=True)
class Frames:
    """Which frames of a video are looked at.

    Attributes:
        kind: uniform: `number` from first to last, rounded down, repeated where a video is shorter;
            every: each `number`-th from the first on; all.
    """

    kind: str
    number: int = 0

    def indices(self, num_frames: int) -> list[int]:
        """Return the frames, ascending; a uniform sample of a short video repeats some."""
        if num_frames < 1:
            raise ValueError("a video without frames cannot be measured")
        if self.kind == "uniform":
            return np.linspace(0, num_frames - 1, self.number).astype(int).tolist()
        return list(range(0, num_frames, self.number if self.kind == "every" else 1))


@dataclass(frozen=True)
class Protocol:
    """The rules of one published evaluation, or of ours.

    Attributes:
        value: what `protocol_value` is: face (mean cosine to the reference) or self (DINO, each
            frame to the one before and to the first).
        detectors, recognisers: ids of the engines that the rules name; () where it is none of ours.
        face: which face of a frame counts: largest, or best (nearest to the reference).
        padded_retry: a frame without a face is searched once more inside a grey border of 25 %.
        clamped: cosines below 0 count as 0.
        missing: what a frame without a face is: skipped, or zero.
        low, high: of the range that the rules map to 0 to 1.
        also: further metrics of the rules, by the model that each needs.
    """

    name: str
    source: str
    frames: Frames
    value: str
    detector: str
    recogniser: str
    detectors: tuple[str, ...] = ()
    recognisers: tuple[str, ...] = ()
    face: str = "largest"
    padded_retry: bool = False
    clamped: bool = False
    missing: str = "skipped"
    low: float = 0.0
    high: float = 1.0
    also: dict[str, str] = field(default_factory=dict)

    def departures(self, engines: Sequence[EngineInfo]) -> list[str]:
        """Return in what a run with these engines is not this protocol."""
        found = {info.task: info.id for info in engines}
        told = []
        if self.value == "face":
            for task, wanted, ids in (
                ("face_detection", self.detector, self.detectors),
                ("recognition", self.recogniser, self.recognisers),
            ):
                used = found.get(task, "none")
                if used not in ids:
                    told.append(f"{task}: the protocol has {wanted}, this run {used}")
        if self.detectors and found.get("face_detection") in self.detectors:
            told.append("face_detection: searched at up to 640 px and at 128 px, not at one size")
        return told

    def number(self, cosines: Sequence[float | None]) -> float | None:
        """Return the protocol's value from one cosine a frame, None where there is no face."""
        seen = [max(0.0, c) if self.clamped else c for c in cosines if c is not None]
        if self.missing == "zero":
            return float(np.sum(seen) / len(cosines)) if cosines else None
        if not seen:
            return 0.0 if self.clamped else None
        return float(np.mean(seen))


_BUFFALO = ("insightface-det_10g/1", "arcface-w600k_r50/1")
_CURRICULAR = "CurricularFace IR-101 (glint360k), published as a pickle only"

PRESETS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="contextanyone",
            source="ours: the paper names ArcFace and DINO similarity, and no frames or weights",
            frames=Frames("uniform", 32),
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
            frames=Frames("uniform", 32),
            value="face",
            detector="SCRFD-10G at det size 320",
            recogniser="ArcFace R50 (w600k_r50)",
            detectors=_BUFFALO[:1],
            recognisers=_BUFFALO[1:],
            padded_retry=True,
            clamped=True,
            also={
                "facesim_cur": _CURRICULAR,
                "nexus_score": "YOLO-World-L and GME-Qwen2-VL-7B",
                "natural_score": "GPT-4o-2024-11-20, a service",
                "gme_score": "GME-Qwen2-VL-7B",
                "aesthetic": "LAION's improved predictor on CLIP-L/14",
            },
        ),
        Protocol(
            name="vbench-subject",
            source="VBench subject_consistency: a video's likeness to itself, not to a reference",
            frames=Frames("all"),
            value="self",
            detector="none",
            recogniser="DINO ViT-B/16 at 224",
            low=0.1462,
            also={"dynamic_degree": "RAFT"},
        ),
        Protocol(
            name="msrvtt-p",
            source="MSRVTT-Personalization, Face-S",
            frames=Frames("all"),
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
            frames=Frames("uniform", 16),
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


def protocol_named(name: str) -> Protocol:
    """Return a preset, or raise ValueError that names those there are."""
    if name not in PRESETS:
        raise ValueError(f"--protocol must be one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
