"""Engines by name, or as "module:Class". A module is imported only when its engine is chosen."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pipeline.engines.interfaces import (
    Captioner,
    EngineInfo,
    FaceDetector,
    PersonDetector,
    PictureScorer,
    Recogniser,
    Segmenter,
)
from pipeline.execution.device import DEVICE

# task -> name in the configuration -> where the class is; every class is made without arguments
REGISTRY: dict[str, dict[str, str]] = {
    "people": {
        "opencv": "pipeline.engines.people.opencv_people:OpencvPeople",
        "ultralytics": "pipeline.engines.people.ultralytics_yolo:UltralyticsPeople",
        "yolox": "pipeline.engines.people.yolox:YoloxPeople",
    },
    "faces": {
        "opencv": "pipeline.engines.faces.opencv_faces:OpencvFaces",
        "scrfd": "pipeline.engines.faces.scrfd:ScrfdFaces",
        "scrfd_pose": "pipeline.engines.faces.scrfd_pose:ScrfdPoseFaces",
        "yunet": "pipeline.engines.faces.yunet:YunetFaces",
    },
    "recogniser": {
        "appearance": "pipeline.engines.identity.appearance:Appearance",
        "arcface_osnet": "pipeline.engines.identity.arcface_osnet:ArcfaceOsnet",
        "arcface": "pipeline.engines.identity.arcface:ArcFace",
        "sface": "pipeline.engines.identity.sface:SFace",
    },
    "masks": {
        "grabcut": "pipeline.engines.masks.grabcut:GrabCut",
        "yolo_seg": "pipeline.engines.people.ultralytics_yolo:UltralyticsMasks",
        "segment_anything": "pipeline.engines.masks.segment_anything:SegmentAnything",
    },
    "captions": {
        "attributes": "pipeline.engines.captions.attributes:AttributeCaptioner",
        "vlm": "pipeline.engines.captions.vlm:VlmCaptioner",
        "server": "pipeline.engines.captions.server:ServerCaptioner",
    },
    "scorers": {
        "aesthetic": "pipeline.engines.scores.clip_heads:AestheticScorer",
        "nsfw": "pipeline.engines.scores.clip_heads:NsfwScorer",
        "watermark": "pipeline.engines.scores.clip_heads:WatermarkScorer",
        "text": "pipeline.engines.scores.lettering:TextScorer",
    },
    "editor": {
        "none": "",
        "relight": "pipeline.engines.editing.relight_editor:RelightEditor",
        "diffusers": "pipeline.engines.editing.diffusers_editor:DiffusersEditor",
    },
}
NO_EDITOR = "none"
_LATE = ("captions", "editor")  # tasks that measure nothing of a video


# engine of a task -> the (engine, task) in models.yaml whose weights it reads; others read none
READS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("people", "ultralytics"): (("ultralytics", "person_detection"),),
    ("people", "yolox"): (("yolox", "person_detection"),),
    ("faces", "scrfd"): (("scrfd", "face_detection"),),
    ("faces", "scrfd_pose"): (("scrfd", "face_detection"), ("insightface", "face_pose")),
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
_FIVE_POINTS = (
    "scrfd",
    "scrfd_pose",
    "yunet",
)  # face detectors that find what face networks are aligned by


@dataclass(frozen=True)
class EnginesConfig:
    """Which engine does which task. The embedded ones need no weights.

    Attributes:
        people: finds people in a frame.
        faces: finds faces in a frame.
        recogniser: turns a person into a vector whose cosine tells how alike two people are.
        masks: cuts a person out.
        captions: says what a clip shows.
        scorers: give a clip's stills a number each; of aesthetic, nsfw, watermark, text.
        editor: makes references of another light, pose or place; none makes none.
    """

    people: str = "opencv"
    faces: str = "opencv"
    recogniser: str = "appearance"
    masks: str = "grabcut"
    captions: str = "attributes"
    scorers: tuple[str, ...] = ()
    editor: str = NO_EDITOR

    def __post_init__(self) -> None:
        for task, name in self.chosen():
            if name not in REGISTRY[task] and ":" not in name:
                known = ", ".join(sorted(REGISTRY[task]))
                raise ValueError(
                    f"engines.{task} must be one of {known}, or module:Class, got {name!r}"
                )
        if len(set(self.scorers)) < len(self.scorers):
            raise ValueError(f"engines.scorers names one twice: {', '.join(self.scorers)}")
        if ("recogniser", self.recogniser) in READS and self.faces == "opencv":
            raise ValueError(
                f"engines.recogniser={self.recogniser} needs five points of every face, which "
                f"engines.faces=opencv does not find; set engines.faces to one of "
                f"{', '.join(_FIVE_POINTS)}"
            )

    def chosen(self) -> list[tuple[str, str]]:
        """Return (task, name) of every engine, in the order of the registry."""
        found = []
        for task in REGISTRY:
            value = getattr(self, task)
            names = (value,) if isinstance(value, str) else value
            found += [(task, name) for name in names if name != NO_EDITOR]
        return found


PRESETS: dict[str, EnginesConfig] = {
    "embedded": EnginesConfig(),
    "production": EnginesConfig(
        people="ultralytics", faces="scrfd", recogniser="arcface_osnet", masks="yolo_seg"
    ),
    "permissive": EnginesConfig(people="yolox", faces="yunet", recogniser="sface"),
}
PRODUCTION = PRESETS["production"]


def engines_preset(name: str) -> EnginesConfig:
    """Return the engines of a preset. Raises ValueError naming the presets."""
    if name not in PRESETS:
        raise ValueError(f"engines must be one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]


@dataclass(frozen=True)
class LoadedEngines:
    """The observing engines of one worker, ready to be called."""

    people: PersonDetector
    faces: FaceDetector
    recogniser: Recogniser
    masks: Segmenter
    scorers: tuple[PictureScorer, ...] = field(default=())


def load_engine(task: str, name: str) -> Any:
    """Import and build one engine. Raises ValueError saying which and why when it cannot."""
    with _explained(task, name):
        return engine_class(task, name)()


def engine_class(task: str, name: str) -> Any:
    """Import an engine's class, which imports neither its library nor its weights."""
    module, _, attribute = REGISTRY[task].get(name, name).partition(":")
    return getattr(importlib.import_module(module), attribute)


@contextmanager
def _explained(task: str, name: str) -> Iterator[None]:
    """Turn whatever goes wrong with an engine into one ValueError that names it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(
            f"engines.{task}={name} cannot be loaded: {error}; "
            'the production engines come with pip install -e ".[engines]"'
        ) from error
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise ValueError(f"engines.{task}={name} cannot be loaded: {error}") from error
    except ValueError as error:
        raise ValueError(f"engines.{task}={name}: {error}") from error


def load_engines(chosen: EnginesConfig) -> LoadedEngines:
    """Build the engines that look at pictures, once per worker."""
    return LoadedEngines(
        people=load_engine("people", chosen.people),
        faces=load_engine("faces", chosen.faces),
        recogniser=load_engine("recogniser", chosen.recogniser),
        masks=load_engine("masks", chosen.masks),
        scorers=tuple(load_engine("scorers", name) for name in chosen.scorers),
    )


def load_captioner(chosen: EnginesConfig) -> Captioner:
    """Build the engine that writes captions."""
    return load_engine("captions", chosen.captions)


def missing_weights(chosen: EnginesConfig) -> list[str]:
    """Check every file that the engines would read; return what is wrong, one text a file."""
    from pipeline.engines.weights import find_for

    wrong = []
    for task, name in chosen.chosen():
        for engine, kind in READS.get((task, name), ()):
            try:
                find_for(engine, kind)
            except (ValueError, OSError) as error:
                wrong.append(f"engines.{task}={name}: {error}")
    return wrong


def weights_in_use(chosen: EnginesConfig, late: bool = False) -> dict[str, str]:
    """Return, by task, which weights the observing engines would read; builds no engine.

    So that a unit is never measured with other weights than its neighbours because another file
    has come to lie in the folder. `late` asks for the engines of pairing instead. Raises
    ValueError where weights are missing or wrong.
    """
    from pipeline.engines.weights import find_for

    used: dict[str, list[str]] = {}
    for task, name in chosen.chosen():
        if (task in _LATE) != late:
            continue
        with _explained(task, name):
            own = getattr(engine_class(task, name), "weights_identity", None)
            found = [own()] if own else []
            if not own:
                reads = (find_for(*read) for read in READS.get((task, name), ()))
                found = [f"{each.weights.name} {each.sha256}" for each in reads]
        used.setdefault(task, []).extend(found)
    return {task: ", ".join(each) for task, each in used.items() if each}


def engine_infos(chosen: EnginesConfig) -> tuple[EngineInfo, ...]:
    """Return who would compute what, in the order of the registry.

    Every engine is built once, on the CPU, so that one that cannot be built stops a run before it
    starts; one that is too large for that has a method `describe`, which is asked instead.
    """
    ours = {name: value for name, value in os.environ.items() if name.startswith("CONTEXTANYONE_")}
    return _infos(chosen, tuple(sorted(ours.items())))


@lru_cache(maxsize=4)
def _infos(
    chosen: EnginesConfig, environment: tuple[tuple[str, str], ...]
) -> tuple[EngineInfo, ...]:
    del environment  # part of the cache's key: it says which weights, and where
    with _on_cpu():
        return tuple(_info(task, name) for task, name in chosen.chosen())


def _info(task: str, name: str) -> EngineInfo:
    with _explained(task, name):
        describe = getattr(engine_class(task, name), "describe", None)
    if describe is None:
        return load_engine(task, name).info
    with _explained(task, name):
        return describe()


@contextmanager
def _on_cpu() -> Iterator[None]:
    before = os.environ.get(DEVICE)
    os.environ[DEVICE] = "cpu"
    try:
        yield
    finally:
        os.environ.pop(DEVICE) if before is None else os.environ.update({DEVICE: before})
