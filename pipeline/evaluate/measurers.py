"""The engines that an evaluation measures by, and what it therefore cannot measure."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.engines.identity.embedders import (
    CLIP_ENV,
    DINO_ENV,
    ClipEmbedder,
    Dino,
    PictureEmbedder,
    TextPictureEmbedder,
)
from pipeline.engines.interfaces import EngineInfo, FaceDetector, Recogniser
from pipeline.engines.registry import load_engine

Model = TypeVar("Model")
# preset -> face detector, recogniser of faces (a body says nothing of who somebody is)
FACE_ENGINES = {
    "embedded": ("opencv", "appearance"),
    "production": ("scrfd", "arcface"),
    "permissive": ("yunet", "sface"),
}
_BY_DINO = ("dino_reference", "dino_self_consistency")
_BY_CLIP = ("clip_reference", "clip_text")
NEVER = {
    "sscd": "SSCD is published as TorchScript, which runs code when it is read; correlation and "
    "pose change are measured instead",
}


@dataclass(frozen=True)
class Measurers:
    """Engines, injected: whatever has these interfaces will do."""

    faces: FaceDetector
    recogniser: Recogniser
    dino: PictureEmbedder | None = None
    clip: TextPictureEmbedder | None = None
    not_computed: dict[str, str] = field(default_factory=dict)  # metric -> why

    @property
    def infos(self) -> list[EngineInfo]:
        """Who measured."""
        everyone = (self.faces, self.recogniser, self.dino, self.clip)
        return [each.info for each in everyone if each is not None]


def load_measurers(preset: str, dino: str = "", clip: str = "") -> Measurers:
    """Load the engines of a preset, and DINO and CLIP where a folder is named."""
    if preset not in FACE_ENGINES:
        raise ValueError(f"--engines must be one of {', '.join(FACE_ENGINES)}, got {preset!r}")
    faces, recogniser = FACE_ENGINES[preset]
    missing = dict(NEVER)
    found_dino = _where_named(Dino, dino, DINO_ENV, _BY_DINO, missing)
    found_clip = _where_named(ClipEmbedder, clip, CLIP_ENV, _BY_CLIP, missing)
    return Measurers(
        load_engine("faces", faces),
        load_engine("recogniser", recogniser),
        found_dino,
        found_clip,
        missing,
    )


def _where_named(
    load: Callable[[str], Model],
    folder: str,
    variable: str,
    metrics: tuple[str, ...],
    missing: dict[str, str],
) -> Model | None:
    """Load a model that was named; one that was not leaves its metrics out, with the reason."""
    if folder or os.environ.get(variable):
        return load(folder)
    missing |= dict.fromkeys(metrics, f"no model is named: set {variable} to its folder")
    return None
