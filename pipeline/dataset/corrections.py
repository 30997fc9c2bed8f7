"""What people corrected: JSON lines beside the manifest, written by the page, read by all.

`schemas.corrections` says what a line is. Later lines win: they are read in the order of `at`.
"""

import json
from collections.abc import Iterable, Mapping

from pipeline.dataset.store import Store
from schemas.corrections import CAPTION, NAME, REFERENCE, SPLIT, Correction

CORRECTIONS = "corrections.jsonl"


def read_corrections(store: Store) -> tuple[Correction, ...]:
    """Return the corrections, the earliest first. Raises ValueError naming a bad line."""
    if not store.exists(CORRECTIONS):
        return ()
    found = []
    for number, line in enumerate(store.read(CORRECTIONS).decode().splitlines(), start=1):
        if line.strip():
            found.append(_parsed(line, f"{CORRECTIONS}, line {number}"))
    return tuple(sorted(dict.fromkeys(found), key=lambda each: each.at))


def _parsed(line: str, where: str) -> Correction:
    try:
        return Correction.from_json(json.loads(line))
    except (ValueError, TypeError, RecursionError) as problem:
        raise ValueError(f"{where}: {problem}") from None


def write_corrections(corrections: Iterable[Correction], store: Store) -> None:
    """Replace the file; none removes it."""
    lines = [json.dumps(each.to_json(), ensure_ascii=False, sort_keys=True) for each in corrections]
    if lines:
        store.write(CORRECTIONS, "".join(f"{line}\n" for line in lines).encode())
    else:
        store.delete(CORRECTIONS)


def texts_of_tracks(corrections: Iterable[Correction], kind: str) -> dict[str, str]:
    """Return what was last said of every track by corrections of a kind: caption, name, split."""
    assert kind in (CAPTION, NAME, SPLIT)
    return {
        track_id: each.value
        for each in corrections
        if each.kind == kind
        for track_id in each.tracks
    }


def marks_of_references(corrections: Iterable[Correction]) -> Mapping[str, str]:
    """Return which images are best or bad."""
    marks = {each.reference_id: each.value for each in corrections if each.kind == REFERENCE}
    return {reference_id: mark for reference_id, mark in marks.items() if mark}


def name_of(tracks: Iterable[str], names: Mapping[str, str]) -> str:
    """Return the name that most of a character's tracks have; ties go to the first in order.

    `names` is by track, as `texts_of_tracks` returns it.
    """
    counted: dict[str, int] = {}
    for track_id in tracks:
        if name := names.get(track_id, ""):
            counted[name] = counted.get(name, 0) + 1
    return min(counted, key=lambda name: (-counted[name], name), default="")
