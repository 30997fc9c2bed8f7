"""Read settings that an older version has stored, under today's names.

Before the settings had sections, all those of a curation stood side by side: `quality`, `clips`,
`pairing.references`, `cluster`. Today they are `pair.quality`, `observe.clips`, `pair.references`,
`run.cluster`.
"""

from collections.abc import Mapping
from typing import Any

_SECTIONS = {
    "observe": ("probe", "shots", "clips", "tracks", "faces", "candidates", "part_s"),
    "pair": ("licences", "quality", "scores", "duplicates", "people", "captions", "shards"),
    "run": ("sandbox", "cluster", "max_failed"),
}
# What said where shots are while PySceneDetect found them. At these values it is read as the
# detector of today, which has other settings; what a user had set otherwise is kept and differs.
_OLD_SHOTS = {
    "detectors": ["adaptive", "fade"],
    "adaptive_threshold": 4.0,
    "adaptive_window": 3,
    "min_change": 15.0,
    "content_threshold": 27.0,
    "fade_windows_s": [0.5, 1.0],
    "fade_residual": 0.30,
}
# Until this version of the observing code a number was the default; what pays with the detector is
# today's. What an older version observed is not observed anew, so both mean the same for it.
_LOOKS_BY_DETECTOR, _OLD_LOOKS = 7, 2.0
_SECTION_OF = {name: section for section, names in _SECTIONS.items() for name in names}
_PAIR_ENGINES = ("captions", "editor")  # what the other engines say is stored with the clips


def current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by section; those that have today's names already come back equal.

    Only what is there is moved, and a name that no old version had stays where it is, such as
    `weights` and `observe_version`. So parts of the settings can be given too. Where an old or a
    new section is not a mapping, it is left out: nothing could be read from it.
    """
    current: dict[str, Any] = {}
    for name, value in settings.items():
        for section, moved in _moved(name, value):
            if section:
                current[section] = {**current.get(section, {}), **moved}
            else:
                current |= moved
    observe = current.get("observe")
    if isinstance(observe, Mapping) and isinstance(observe.get("shots"), Mapping):
        current["observe"] = {**observe, "shots": _current_shots(observe["shots"])}
    tracks = current.get("observe", {}).get("tracks") if isinstance(observe, Mapping) else None
    version = settings.get("observe_version", _LOOKS_BY_DETECTOR)
    if isinstance(tracks, Mapping) and isinstance(version, int) and version < _LOOKS_BY_DETECTOR:
        kept = {name: v for name, v in tracks.items() if (name, v) != ("detect_fps", _OLD_LOOKS)}
        current["observe"]["tracks"] = kept
    return current


def _current_shots(shots: Mapping[str, Any]) -> Mapping[str, Any]:
    """Drop the settings of an older detector where they have its defaults."""
    if "detectors" not in shots:
        return shots
    return {
        name: value
        for name, value in shots.items()
        if name not in _OLD_SHOTS or value != _OLD_SHOTS[name]
    }


def _moved(name: str, value: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return where an entry belongs today: each section ('' for none) and what goes there."""
    if name not in ("engines", "pairing", *_SECTIONS):
        return [(_SECTION_OF.get(name, ""), {name: value})]
    if not isinstance(value, Mapping):
        return []
    if name != "engines":
        return [("pair" if name == "pairing" else name, value)]
    early = {task: engine for task, engine in value.items() if task not in _PAIR_ENGINES}
    late = {task: engine for task, engine in value.items() if task in _PAIR_ENGINES}
    parts = (("observe", early), ("pair", late))
    return [(section, {"engines": engines}) for section, engines in parts if engines]
