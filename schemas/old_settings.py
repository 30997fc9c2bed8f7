"""Read the settings that an older version has stored, under the names of today.

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
_SECTION_OF = {name: section for section, names in _SECTIONS.items() for name in names}
_PAIR_ENGINES = ("captions", "editor")  # what the other engines say is stored with the clips


def current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by section; those that have sections already come back equal.

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
    return current


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
