"""Which engine does which task, and the presets that name a whole set of them."""

from dataclasses import dataclass, field, fields

from pipeline.engines.registry import NO_EDITOR, REGISTRY, needs_of
from schemas.settings import check_settings, meant


@dataclass(frozen=True)
class EnginesConfig:
    """Who looks at the videos. The embedded engines need no weights.

    Each is a name of the registry, or module:Class of your own.

    Attributes:
        people: finds people in a frame.
        faces: finds faces in a frame.
        recogniser: turns a person into a vector whose cosine tells how alike two people are.
        masks: cuts a person out.
        scorers: give a clip's stills a number each; of aesthetic, nsfw, watermark, text.
    """

    people: str = "opencv"
    faces: str = "opencv"
    recogniser: str = "appearance"
    masks: str = "grabcut"
    scorers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_settings(self, "observe.engines")
        _check_names(self, "observe.engines")
        if len(set(self.scorers)) < len(self.scorers):
            raise ValueError(f"observe.engines.scorers names one twice: {', '.join(self.scorers)}")
        if needs_of("recogniser", self.recogniser).landmarks and self.faces == "opencv":
            able = [name for name in REGISTRY["faces"] if name != "opencv"]
            raise ValueError(
                f"observe.engines.recogniser={self.recogniser} needs five points of every face, "
                "which observe.engines.faces=opencv does not find; set observe.engines.faces to "
                f"one of {', '.join(able)}"
            )


@dataclass(frozen=True)
class WritersConfig:
    """Who writes captions, and who edits references: nothing of a video is measured by them.

    Attributes:
        captions: says what a clip shows.
        editor: makes references of another light, pose or place; none makes none.
    """

    captions: str = "attributes"
    editor: str = NO_EDITOR

    def __post_init__(self) -> None:
        check_settings(self, "pair.engines")
        _check_names(self, "pair.engines")


def _check_names(config: EnginesConfig | WritersConfig, section: str) -> None:
    for task, name in chosen(config):
        if name not in REGISTRY[task] and ":" not in name:
            known = sorted(REGISTRY[task])
            raise ValueError(
                f"{section}.{task} must be one of {', '.join(known)}, or module:Class, "
                f"got {name!r}{meant(name, known)}"
            )


def chosen(*configs: EnginesConfig | WritersConfig) -> list[tuple[str, str]]:
    """Return (task, name) of every engine, in the order of the registry."""
    found = []
    for config in configs:
        for each in fields(config):
            value = getattr(config, each.name)
            names = (value,) if isinstance(value, str) else value
            found += [(each.name, name) for name in names if name != NO_EDITOR]
    order = list(REGISTRY)
    return sorted(found, key=lambda engine: order.index(engine[0]))


@dataclass(frozen=True)
class EngineSet:
    """All engines of a curation."""

    observing: EnginesConfig = field(default_factory=EnginesConfig)
    pairing: WritersConfig = field(default_factory=WritersConfig)

    @property
    def chosen(self) -> list[tuple[str, str]]:
        return chosen(self.observing, self.pairing)


PRESETS: dict[str, EngineSet] = {
    "embedded": EngineSet(),
    "production": EngineSet(
        EnginesConfig(
            people="ultralytics", faces="scrfd", recogniser="arcface_osnet", masks="yolo_seg"
        )
    ),
    "permissive": EngineSet(EnginesConfig(people="yolox", faces="yunet", recogniser="sface")),
}


def engines_preset(name: str) -> EngineSet:
    """Return the engines of a preset. Raises ValueError naming the presets."""
    if name not in PRESETS:
        raise ValueError(
            f"engines must be one of {', '.join(PRESETS)}, got {name!r}{meant(name, PRESETS)}"
        )
    return PRESETS[name]
