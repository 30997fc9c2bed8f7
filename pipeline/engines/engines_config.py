"""Which engine does which task, and the presets that name a whole set of them."""

from dataclasses import dataclass, field, fields

from pipeline.engines.registry import AUTO, NO_EDITOR, REGISTRY, SETTLED, needs_of
from schemas.settings import check_settings, meant


@dataclass(frozen=True)
class EnginesConfig:
    """Who looks at the videos.

    Each is a name of the registry, module:Class of your own, or auto: the best permissive one that
    is here or can be fetched. A dataset keeps the ones that it was begun with.

    Attributes:
        people: finds people in a frame.
        faces: finds faces in a frame.
        recogniser: turns a person into a vector whose cosine tells how alike two people are.
        masks: cuts a person out.
        scorers: give a clip a number each; of aesthetic, nsfw, watermark, text, and speech, which
            listens and needs observe.clips.audio=keep.
    """

    people: str = AUTO
    faces: str = AUTO
    recogniser: str = AUTO
    masks: str = AUTO
    scorers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_settings(self, "observe.engines")
        _check_names(self, "observe.engines")
        if len(set(self.scorers)) < len(self.scorers):
            raise ValueError(f"observe.engines.scorers names one twice: {', '.join(self.scorers)}")
        recogniser = needs_of("recogniser", self.recogniser)
        if recogniser.landmarks and self.faces == "opencv":
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
        known = [AUTO] * (task in SETTLED) + sorted(REGISTRY[task])
        if name not in known and ":" not in name:
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
    AUTO: EngineSet(),
    "embedded": EngineSet(
        EnginesConfig(people="opencv", faces="opencv", recogniser="appearance", masks="grabcut")
    ),
    "production": EngineSet(
        EnginesConfig(
            people="ultralytics", faces="scrfd", recogniser="arcface_osnet", masks="yolo_seg"
        )
    ),
    "permissive": EngineSet(
        EnginesConfig(
            people="yolox", faces="yunet", recogniser="sface_appearance", masks="selfie_pose"
        )
    ),
}


def engines_preset(name: str) -> EngineSet:
    """Return the engines of a preset. Raises ValueError naming the presets."""
    if name not in PRESETS:
        raise ValueError(
            f"engines must be one of {', '.join(PRESETS)}, got {name!r}{meant(name, PRESETS)}"
        )
    return PRESETS[name]
