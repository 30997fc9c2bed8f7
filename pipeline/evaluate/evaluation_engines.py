"""The engines of an evaluation, and the metrics that it cannot compute without others."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.engines.identity.embedders import (
    CLIP_ENV,
    DINO_ENV,
    GME_ENV,
    ClipEmbedder,
    Dino,
    GmeEmbedder,
    PictureEmbedder,
    TextPictureEmbedder,
)
from pipeline.engines.interfaces import EngineInfo, FaceDetector, Recogniser
from pipeline.engines.registry import load_engine
from pipeline.evaluate.evaluation_config import EvaluationConfig

Model = TypeVar("Model")
# preset -> face detector, face recogniser
FACE_ENGINES = {
    "embedded": ("opencv", "appearance"),
    "production": ("scrfd", "arcface"),
    "permissive": ("yunet", "sface"),
}
_DINO_METRICS = ("dino_reference", "dino_self_consistency")
_CLIP_METRICS = ("clip_reference", "clip_text")
_GME_METRICS = ("gme_score",)
NOT_SUPPORTED = {
    "sscd": "SSCD is published as TorchScript, which runs code when it is read; correlation and "
    "pose change are measured instead",
}


@dataclass(frozen=True)
class EvaluationEngines:
    """The engines of an evaluation; any objects with these interfaces will do."""

    faces: FaceDetector
    recogniser: Recogniser
    dino: PictureEmbedder | None = None
    clip: TextPictureEmbedder | None = None
    gme: TextPictureEmbedder | None = None
    not_computed: dict[str, str] = field(default_factory=dict)  # metric -> why

    @property
    def infos(self) -> list[EngineInfo]:
        """What each engine is."""
        engines = (self.faces, self.recogniser, self.dino, self.clip, self.gme)
        return [engine.info for engine in engines if engine is not None]


def load_evaluation_engines(config: EvaluationConfig) -> EvaluationEngines:
    """Load face detector and recogniser, and DINO, CLIP, GME where a folder is named."""
    faces, recogniser = FACE_ENGINES[config.engines]
    not_computed = dict(NOT_SUPPORTED)
    return EvaluationEngines(
        load_engine("faces", faces),
        load_engine("recogniser", recogniser),
        _load_if_named(Dino, config.dino, DINO_ENV, _DINO_METRICS, not_computed),
        _load_if_named(ClipEmbedder, config.clip, CLIP_ENV, _CLIP_METRICS, not_computed),
        _load_if_named(GmeEmbedder, config.gme, GME_ENV, _GME_METRICS, not_computed),
        not_computed,
    )


def _load_if_named(
    load: Callable[[str], Model],
    folder: str,
    variable: str,
    metrics: tuple[str, ...],
    not_computed: dict[str, str],
) -> Model | None:
    """Load a model if a folder is named; else note its metrics and why they are not computed."""
    if folder or os.environ.get(variable):
        return load(folder)
    not_computed |= dict.fromkeys(metrics, f"no model is named: set {variable} to its folder")
    return None
