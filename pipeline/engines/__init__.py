"""Engines by name, or as "module:Class". A module is imported only when its engine is chosen."""

import importlib
from dataclasses import dataclass, field
from typing import Any

from pipeline.engines.interfaces import (
    Captioner,
    EngineInfo,
    FaceDetector,
    PersonDetector,
    Recogniser,
    Segmenter,
)

# task -> name in the configuration -> where the class is; every class is made without arguments
REGISTRY: dict[str, dict[str, str]] = {
    "people": {"opencv": "pipeline.engines.opencv_people:OpencvPeople"},
    "faces": {"opencv": "pipeline.engines.opencv_faces:OpencvFaces"},
    "recogniser": {"appearance": "pipeline.engines.appearance:Appearance"},
    "masks": {"grabcut": "pipeline.engines.grabcut:GrabCut"},
    "captions": {"attributes": "pipeline.engines.attributes:AttributeCaptioner"},
}


@dataclass(frozen=True)
class Engines:
    """Which engine does which task. The embedded ones need no weights.

    Attributes:
        people: finds people in a frame.
        faces: finds faces in a frame.
        recogniser: turns a person into a vector whose cosine tells how alike two people are.
        masks: cuts a person out.
        captions: says what a clip shows.
    """

    people: str = "opencv"
    faces: str = "opencv"
    recogniser: str = "appearance"
    masks: str = "grabcut"
    captions: str = "attributes"

    def __post_init__(self) -> None:
        for task, engines in REGISTRY.items():
            chosen = getattr(self, task)
            if chosen not in engines and ":" not in chosen:
                known = ", ".join(sorted(engines))
                raise ValueError(
                    f"engines.{task} must be one of {known}, or module:Class, got {chosen!r}"
                )


@dataclass(frozen=True)
class Loaded:
    """The observing engines of one worker, ready to be called."""

    people: PersonDetector
    faces: FaceDetector
    recogniser: Recogniser
    masks: Segmenter
    infos: tuple[EngineInfo, ...] = field(default=())


def load_engine(task: str, name: str) -> Any:
    """Import and build one engine. Raises ValueError saying which and why when it cannot."""
    module, _, attribute = REGISTRY[task].get(name, name).partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, OSError) as error:
        raise ValueError(f"engines.{task}={name} cannot be loaded: {error}") from error


def load_engines(chosen: Engines) -> Loaded:
    """Build the engines that look at pictures, once per worker."""
    return Loaded(
        people=load_engine("people", chosen.people),
        faces=load_engine("faces", chosen.faces),
        recogniser=load_engine("recogniser", chosen.recogniser),
        masks=load_engine("masks", chosen.masks),
    )


def load_captioner(chosen: Engines) -> Captioner:
    """Build the engine that writes captions."""
    return load_engine("captions", chosen.captions)


def engine_infos(chosen: Engines) -> list[EngineInfo]:
    """Return who would compute what, in the order of the registry."""
    return [load_engine(task, getattr(chosen, task)).info for task in REGISTRY]
