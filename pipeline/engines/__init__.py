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
    "people": {
        "opencv": "pipeline.engines.opencv_people:OpencvPeople",
        "ultralytics": "pipeline.engines.ultralytics_yolo:UltralyticsPeople",
        "yolox": "pipeline.engines.yolox_people:YoloxPeople",
    },
    "faces": {
        "opencv": "pipeline.engines.opencv_faces:OpencvFaces",
        "scrfd": "pipeline.engines.insightface_faces:ScrfdFaces",
        "yunet": "pipeline.engines.yunet_faces:YunetFaces",
    },
    "recogniser": {
        "appearance": "pipeline.engines.appearance:Appearance",
        "arcface_osnet": "pipeline.engines.face_body:ArcfaceOsnet",
        "arcface": "pipeline.engines.arcface:ArcFace",
        "sface": "pipeline.engines.sface:SFace",
    },
    "masks": {
        "grabcut": "pipeline.engines.grabcut:GrabCut",
        "yolo_seg": "pipeline.engines.ultralytics_yolo:UltralyticsMasks",
        "segment_anything": "pipeline.engines.segment_anything_masks:SegmentAnything",
    },
    "captions": {
        "attributes": "pipeline.engines.attributes:AttributeCaptioner",
        "vlm": "pipeline.engines.vlm_captions:VlmCaptioner",
        "server": "pipeline.engines.server_captions:ServerCaptioner",
    },
}


# engine of a task -> the (engine, task) in models.yaml whose weights it reads; others read none
READS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("people", "ultralytics"): (("ultralytics", "person_detection"),),
    ("people", "yolox"): (("yolox", "person_detection"),),
    ("faces", "scrfd"): (("scrfd", "face_detection"),),
    ("faces", "yunet"): (("yunet", "face_detection"),),
    ("recogniser", "arcface_osnet"): (
        ("arcface", "face_recognition"),
        ("osnet", "body_recognition"),
    ),
    ("recogniser", "arcface"): (("arcface", "face_recognition"),),
    ("recogniser", "sface"): (("sface", "face_recognition"),),
    ("masks", "yolo_seg"): (("ultralytics", "segmentation"),),
    ("masks", "segment_anything"): (("segment_anything", "segmentation"),),
}
_FIVE_POINTS = ("scrfd", "yunet")  # face detectors that find what face networks are aligned by


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
        if ("recogniser", self.recogniser) in READS and self.faces == "opencv":
            raise ValueError(
                f"engines.recogniser={self.recogniser} needs five points of every face, which "
                f"engines.faces=opencv does not find; set engines.faces to one of "
                f"{', '.join(_FIVE_POINTS)}"
            )


PRESETS: dict[str, Engines] = {
    "embedded": Engines(),
    "production": Engines(
        people="ultralytics", faces="scrfd", recogniser="arcface_osnet", masks="yolo_seg"
    ),
    "permissive": Engines(people="yolox", faces="yunet", recogniser="sface"),
}
PRODUCTION = PRESETS["production"]


def engines_preset(name: str) -> Engines:
    """Return the engines of a preset. Raises ValueError naming the presets."""
    if name not in PRESETS:
        raise ValueError(f"engines must be one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]


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
    except ModuleNotFoundError as error:
        raise ValueError(
            f"engines.{task}={name} cannot be loaded: {error}; "
            'the production engines come with pip install "contextanyone[engines]"'
        ) from error
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise ValueError(f"engines.{task}={name} cannot be loaded: {error}") from error
    except ValueError as error:
        raise ValueError(f"engines.{task}={name}: {error}") from error


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


def missing_weights(chosen: Engines) -> list[str]:
    """Check every file that the engines would read; return what is wrong, one text a file."""
    from pipeline.engines.weights import find_for

    wrong = []
    for task in REGISTRY:
        for engine, kind in READS.get((task, getattr(chosen, task)), ()):
            try:
                find_for(engine, kind)
            except (ValueError, OSError) as error:
                wrong.append(f"engines.{task}={getattr(chosen, task)}: {error}")
    return wrong


def engine_infos(chosen: Engines) -> list[EngineInfo]:
    """Return who would compute what, in the order of the registry."""
    return [load_engine(task, getattr(chosen, task)).info for task in REGISTRY]
