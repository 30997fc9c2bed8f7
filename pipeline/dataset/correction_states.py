"""Which corrections a version of the dataset obeys, which wait, and which no longer apply."""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations

import pyarrow as pa

from pipeline.dataset.corrections import marks_of_references, texts_of_tracks
from pipeline.dataset.decided import Decided, decide
from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, open_table
from schemas.corrections import (
    BEST,
    CAPTION,
    DIFFERENT,
    IDENTITY,
    NAME,
    REFERENCE,
    SPLIT,
    Correction,
)
from schemas.manifest import Manifest

_REFERENCE_IDS = "references.list.element.reference_id"


class State(StrEnum):
    """How a correction stands to a version."""

    HOLDS = "holds"
    WAITS = "waits"  # for the next curation or repair
    REPLACED = "replaced"  # a later decision says otherwise
    LOST = "lost"  # what it speaks of is not in the dataset


@dataclass(frozen=True)
class Standing:
    """A correction and its state."""

    correction: Correction
    state: State
    detail: str = ""


@dataclass
class _Facts:
    """What a version says of the tracks and images that corrections name."""

    characters: dict[str, str] = field(default_factory=dict)  # by track, '' when left out
    names: dict[str, str] = field(default_factory=dict)  # by character
    captions: dict[str, str] = field(default_factory=dict)  # by track, of its sample
    splits: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)  # images
    first: set[str] = field(default_factory=set)  # images that lead a sample


def standings(
    corrections: Sequence[Correction], manifest: Manifest, store: Store
) -> list[Standing]:
    """Return the state of every correction, in their order."""
    if not corrections:
        return []
    facts, decided = _facts(corrections, manifest, store), decide(corrections)
    latest = {kind: texts_of_tracks(corrections, kind) for kind in (NAME, CAPTION, SPLIT)}
    marks = marks_of_references(corrections)
    found = []
    for each in corrections:
        if each.kind in IDENTITY:
            state = _identity(each, facts, decided)
        elif each.kind == REFERENCE:
            state = _reference(each, facts, marks.get(each.reference_id, ""))
        else:
            state = _text(each, facts, latest[each.kind])
        found.append(Standing(each, *state))
    return found


def no_longer(found: Iterable[Standing]) -> list[Standing]:
    """Return those that do not apply any more."""
    return [each for each in found if each.state in (State.LOST, State.REPLACED)]


def _identity(each: Correction, facts: _Facts, decided: Decided) -> tuple[State, str]:
    here = [[id for id in tracks if id in facts.characters] for tracks in each.people]
    if not all(here) or sum(map(len, here)) < 2:
        gone = len(each.tracks) - sum(map(len, here))
        return State.LOST, f"{gone} of its {len(each.tracks)} tracks are not in the dataset"
    persons = [{decided.person(id) for id in tracks} for tracks in here]
    whole = each.kind != DIFFERENT
    if whole and any(len(person) > 1 for person in persons):
        return State.REPLACED, "a later decision tells some of these tracks apart"
    if any(one & other for one, other in combinations(persons, 2)):
        return State.REPLACED, "a later decision says that these are one person"
    shown = [{facts.characters[id] for id in tracks} - {""} for tracks in here]
    if whole and any(len(ids) > 1 for ids in shown):
        return State.WAITS, "these tracks are still of several characters"
    if any(one & other for one, other in combinations(shown, 2)):
        return State.WAITS, "these people are still one character"
    return State.HOLDS, ""


def _text(each: Correction, facts: _Facts, latest: dict[str, str]) -> tuple[State, str]:
    if all(latest[id] != each.value for id in each.tracks):
        return State.REPLACED, f"a later decision gives another {each.kind}"
    here = [id for id in each.tracks if latest[id] == each.value and id in facts.characters]
    if each.kind == NAME:
        names = {facts.names.get(facts.characters[id], "") for id in here if facts.characters[id]}
    else:
        table = facts.captions if each.kind == CAPTION else facts.splits
        names = {table[id] for id in here if id in table}
    if not names:
        kind = "in no character" if each.kind == NAME else "no sample"
        return State.LOST, f"its {len(each.tracks)} tracks are {kind} of this version"
    if each.value in names and (each.kind == NAME or len(names) == 1):
        return State.HOLDS, ""
    return State.WAITS, f"the {each.kind} is still another"


def _reference(each: Correction, facts: _Facts, mark: str) -> tuple[State, str]:
    if each.value != mark:
        return State.REPLACED, "a later decision says otherwise of this image"
    if not any(id in facts.characters for id in each.tracks):
        return State.LOST, "the track that it shows is not in the dataset"
    if not mark:
        return State.HOLDS, ""
    if mark == BEST:
        known = each.reference_id in facts.first
        return (State.HOLDS, "") if known else (State.WAITS, "no sample has it first: a gate may "
                                                "refuse it for every clip")  # fmt: skip
    used = each.reference_id in facts.used
    return (State.WAITS, "samples still use it") if used else (State.HOLDS, "")


def _facts(corrections: Sequence[Correction], manifest: Manifest, store: Store) -> _Facts:
    facts = _Facts()
    tracks = {id for each in corrections for id in each.tracks}
    images = {each.reference_id for each in corrections if each.reference_id}
    for table in ("samples", "tracks"):  # tracks last: they know who was left out
        for part in _columns(table, ("track_id", "character_id"), manifest, store):
            facts.characters |= _of(tracks, part, "track_id", "character_id")
    people = set(facts.characters.values())
    for part in _columns("characters", ("character_id", "name"), manifest, store):
        facts.names |= _of(people, part, "character_id", "name")
    for part in _columns("samples", ("track_id", "caption", "split"), manifest, store):
        facts.captions |= _of(tracks, part, "track_id", "caption")
        facts.splits |= _of(tracks, part, "track_id", "split")
    for part in _columns("samples", (_REFERENCE_IDS,), manifest, store) if images else ():
        for row in part["references"].to_pylist():
            used = [image["reference_id"] for image in row or ()]
            facts.used |= images.intersection(used)
            facts.first |= images.intersection(used[:1])
    return facts


def _of(ids: Set[str], part: pa.Table, key: str, value: str) -> dict[str, str]:
    """Return a column by another, of some ids alone."""
    rows = zip(part[key].to_pylist(), part[value].to_pylist(), strict=True)
    return {id: found for id, found in rows if id in ids}


def _columns(
    table: str, columns: Sequence[str], manifest: Manifest, store: Store
) -> Iterator[pa.Table]:
    """Yield files of a table that have all of the columns, without anything else."""
    for path in files_of(table, manifest):
        file = open_table(path, store)
        leaves = {file.schema.column(place).path for place in range(len(file.schema))}
        if leaves.issuperset(columns):
            yield file.read(columns=list(columns))
