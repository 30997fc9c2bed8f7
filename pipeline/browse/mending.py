"""What a person corrects in the page: every act is a line of `corrections.jsonl`, shown at once.

The tables in memory stay as they were published; views lay the corrections over them, so that the
page shows what the next curation will make of it. An undo takes no more than the line away.
"""

import datetime
import getpass
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.browse import queries
from pipeline.dataset.corrections import marks_of_references, name_of, texts_of_tracks
from pipeline.dataset.decided import Decided, decide
from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, open_table
from schemas.corrections import (
    CAPTION,
    IDENTITY,
    NAME,
    REFERENCE,
    SPLIT,
    Correction,
)
from schemas.ids import content_id
from schemas.manifest import Manifest

_OVERLAYS = {  # table -> its columns
    "corrected": ("track_id", "character_id"),
    "named": ("character_id", "name"),
    "captioned": ("track_id", "caption"),
    "wished": ("character_id", "split"),
    "marked": ("reference_id", "mark"),
}
_PEOPLE = """
    CREATE OR REPLACE VIEW people AS SELECT t.* REPLACE (
        coalesce(c.character_id, t.character_id) AS character_id)
    FROM shown_tracks t LEFT JOIN corrected c USING (track_id)
"""
_SHOWN = """
    CREATE OR REPLACE VIEW shown_tracks AS
    SELECT track_id, clip_id, video_id, shot_id, character_id, purity, coverage, area, shot_size,
        face_rate FROM {}
"""
_PLAIN = "CREATE OR REPLACE VIEW mended AS SELECT * FROM samples"
_MENDED = """
    CREATE OR REPLACE VIEW mended AS SELECT s.* REPLACE (
        coalesce(c.character_id, s.character_id) AS character_id,
        coalesce(w.split, s.split) AS split, coalesce(t.caption, s.caption) AS caption)
    FROM samples s LEFT JOIN corrected c USING (track_id) LEFT JOIN captioned t USING (track_id)
    LEFT JOIN wished w ON w.character_id = coalesce(c.character_id, s.character_id)
"""


def prepare(db: duckdb.DuckDBPyConnection, with_tracks: bool) -> None:
    """Make the views, with nothing laid over; a dataset without tracks is known by its samples."""
    for name, columns in _OVERLAYS.items():
        db.execute(f"CREATE TABLE {name} ({', '.join(f'{column} VARCHAR' for column in columns)})")
    db.execute(_SHOWN.format("tracks" if with_tracks else "samples"))
    db.execute(_PEOPLE)
    db.execute(_PLAIN)


def lay_over(db: duckdb.DuckDBPyConnection, corrections: Iterable[Correction]) -> Decided:
    """Show the corrections; return what they say of who is who."""
    corrections = list(corrections)
    decided = decide(corrections)
    _fill(db, "corrected", _regrouped(db, decided))
    names = texts_of_tracks(corrections, NAME)
    _fill(db, "named", _by_character(db, names))
    _fill(db, "captioned", texts_of_tracks(corrections, CAPTION))
    _fill(db, "wished", _by_character(db, texts_of_tracks(corrections, SPLIT)))
    _fill(db, "marked", marks_of_references(corrections))
    db.execute(_MENDED if corrections else _PLAIN)
    return decided


def _fill(db: duckdb.DuckDBPyConnection, table: str, rows: Mapping[str, str]) -> None:
    columns = _OVERLAYS[table]
    arrays = [pa.array(list(values), pa.string()) for values in (rows.keys(), rows.values())]
    db.register("_rows", pa.table(arrays, names=list(columns)))
    db.execute(f"DELETE FROM {table}")
    db.execute(f"INSERT INTO {table} SELECT * FROM _rows")
    db.unregister("_rows")


def _regrouped(db: duckdb.DuckDBPyConnection, decided: Decided) -> dict[str, str]:
    """Return the character of every track whose character changes.

    A group keeps the id that most of its tracks have, unless a larger group has it.
    """
    if not decided:
        return {}
    ids = [track_id for person in decided.people for track_id in person]
    rows = db.execute(
        "SELECT character_id, list(track_id) FROM shown_tracks WHERE character_id IN (SELECT"
        " character_id FROM shown_tracks WHERE track_id IN (SELECT unnest(?)))"
        " AND (character_id <> '' OR track_id IN (SELECT unnest(?))) GROUP BY character_id",
        [ids, ids],
    ).fetchall()
    before = {track_id: who for who, tracks in rows for track_id in tracks}
    groups = [tracks for who, tracks in rows if who]
    groups += [[track_id] for who, tracks in rows if not who for track_id in tracks]
    after: dict[str, str] = {}
    taken: set[str] = set()
    for group in sorted(decided.regroup(groups), key=lambda group: (-len(group), min(group))):
        held = Counter(before[track_id] for track_id in group if before[track_id])
        free = [who for who in held if who not in taken]
        who = min(free, key=lambda each: (-held[each], each), default="")
        who = who or content_id("character", min(group))
        taken.add(who)
        after |= {track_id: who for track_id in group if before[track_id] != who}
    return after


def _by_character(db: duckdb.DuckDBPyConnection, texts: Mapping[str, str]) -> dict[str, str]:
    """Return what was said of tracks, by the character that they have now."""
    if not texts:
        return {}
    rows = db.execute(
        "SELECT character_id, list(track_id) FROM people WHERE track_id IN (SELECT unnest(?))"
        " AND character_id <> '' GROUP BY 1",
        [list(texts)],
    ).fetchall()
    found = {who: name_of(tracks, texts) for who, tracks in rows}
    return {who: text for who, text in found.items() if text}


@dataclass(frozen=True)
class Author:
    """Who corrects, and when."""

    by: str
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)

    @classmethod
    def of_account(cls) -> "Author":
        """Return the account that runs the server."""
        try:
            return cls(getpass.getuser())
        except (OSError, KeyError):
            return cls("somebody")

    def write(self, kind: str, people: Iterable[Iterable[str]], why: str, **fields: str):
        """Return a correction of now."""
        at = self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return Correction(kind, tuple(map(tuple, people)), self.by, at, why=why, **fields)


def impossible(
    made: Correction, db: duckdb.DuckDBPyConnection, manifest: Manifest, store: Store
) -> str:
    """Return why a correction cannot be: two tracks of one person share a frame. '' if it can."""
    if made.kind not in IDENTITY:
        return ""
    sql = (
        "SELECT clip_id, list(track_id) FROM shown_tracks WHERE track_id IN (SELECT unnest(?))"
        " GROUP BY 1 HAVING count(*) > 1"
    )
    beside = [row for tracks in made.people for row in db.execute(sql, [list(tracks)]).fetchall()]
    if not beside:
        return ""
    spans = _spans({id for _, tracks in beside for id in tracks}, manifest, store)
    for clip_id, tracks in beside:
        for one, other in combinations(sorted(id for id in tracks if id in spans), 2):
            if max(spans[one][0], spans[other][0]) < min(spans[one][1], spans[other][1]):
                return (
                    f"these cannot be one person: in clip {clip_id} two of them are seen in the "
                    "same frame"
                )
    return ""


def _spans(ids: set[str], manifest: Manifest, store: Store) -> dict[str, tuple[int, int]]:
    """Return the frames, [first, last), in which tracks are seen."""
    found = {}
    for path in files_of("tracks", manifest):
        file = open_table(path, store)
        table = file.read(columns=["track_id", "first_frame", "boxes"])
        wanted = [place for place, id in enumerate(table["track_id"].to_pylist()) if id in ids]
        for row in table.take(wanted).to_pylist():
            first = row["first_frame"]
            found[row["track_id"]] = (first, first + len(row["boxes"]))
    return found


class Acts:
    """Turns what the page sends into corrections; ValueError says what is wrong with it."""

    def __init__(self, db: duckdb.DuckDBPyConnection, author: Author) -> None:
        self._db, self._author = db, author

    def correction(self, body: Mapping[str, Any]) -> Correction:
        """Return the line that an act becomes; `act` is a kind of correction."""
        act = body.get("act")
        make = {
            "merge": self._merge, "different": self._different, "separate": self._separate,
            "move": self._move, NAME: self._name, SPLIT: self._split, CAPTION: self._caption,
            REFERENCE: self._reference,
        }.get(act if isinstance(act, str) else "")  # fmt: skip
        if make is None:
            known = ", ".join((*IDENTITY, NAME, SPLIT, CAPTION, REFERENCE))
            raise ValueError(f"act must be one of {known}, got {str(act)[:40]!r}")
        return make(body)

    def tracks_of(self, character_id: str) -> list[str]:
        """Return the tracks of a character, as corrected. Raises ValueError without any."""
        found = queries.tracks_of(self._db, character_id)
        if not found:
            raise ValueError(f"there is no character {character_id[:60]!r}")
        return found

    def _characters(self, body: Mapping[str, Any], least: int) -> list[list[str]]:
        ids = _texts(body, "characters")
        if len(set(ids)) < max(least, len(ids)):
            raise ValueError(f"characters must be {least} ids or more, each once")
        return [self.tracks_of(id) for id in ids]

    def _merge(self, body: Mapping[str, Any]) -> Correction:
        """Merge characters; of one alone, say that all of its tracks are one person."""
        people = self._characters(body, 1)
        together = [track_id for tracks in people for track_id in tracks]
        return self._author.write("merge", [together], _text(body, "why"))

    def _different(self, body: Mapping[str, Any]) -> Correction:
        return self._author.write("different", self._characters(body, 2), _text(body, "why"))

    def _separate(self, body: Mapping[str, Any]) -> Correction:
        every = self.tracks_of(_needed(body, "character"))
        chosen = _texts(body, "tracks")
        others = [id for id in every if id not in set(chosen)]
        if not chosen or not set(chosen) <= set(every) or not others:
            raise ValueError(
                f"tracks must be some, and not all, of the character's {len(every)} tracks"
            )
        return self._author.write("separate", [chosen, others], _text(body, "why"))

    def _move(self, body: Mapping[str, Any]) -> Correction:
        """Move tracks of any characters to another; those who lose all of theirs are merged."""
        target = _needed(body, "character")
        home, moved = self.tracks_of(target), _texts(body, "tracks")
        rows = self._db.execute(
            "SELECT character_id, list(track_id) FROM people WHERE track_id IN (SELECT unnest(?))"
            " GROUP BY 1",
            [moved],
        ).fetchall()
        found = {track_id for _, tracks in rows for track_id in tracks}
        if not moved or found != set(moved) or any(who == target for who, _ in rows):
            raise ValueError("tracks must be of this dataset, and not of the character already")
        left = [[id for id in self.tracks_of(who) if id not in found] for who, _ in rows if who]
        people = [[*home, *moved], *(tracks for tracks in left if tracks)]
        kind = "move" if len(people) > 1 else "merge"
        return self._author.write(kind, people, _text(body, "why"))

    def _name(self, body: Mapping[str, Any]) -> Correction:
        tracks = self.tracks_of(_needed(body, "character"))
        value = _text(body, "value").strip()
        return self._author.write(NAME, [tracks], _text(body, "why"), value=value)

    def _split(self, body: Mapping[str, Any]) -> Correction:
        tracks = self.tracks_of(_needed(body, "character"))
        return self._author.write(SPLIT, [tracks], _text(body, "why"), value=_text(body, "value"))

    def _caption(self, body: Mapping[str, Any]) -> Correction:
        found = self._db.execute(
            "SELECT track_id FROM samples WHERE sample_id = ?", [_needed(body, "sample")]
        ).fetchone()
        if found is None:
            raise ValueError("there is no such sample")
        value = " ".join(_text(body, "value").split())
        return self._author.write(CAPTION, [[found[0]]], _text(body, "why"), value=value)

    def _reference(self, body: Mapping[str, Any]) -> Correction:
        reference_id = _needed(body, "reference")
        found = self._db.execute(
            'SELECT r.track_id FROM (SELECT unnest("references") AS r FROM samples)'
            " WHERE r.reference_id = ? LIMIT 1",
            [reference_id],
        ).fetchone()
        if found is None:
            raise ValueError("no sample has such a reference")
        fields = {"value": _text(body, "value"), "reference_id": reference_id}
        return self._author.write(REFERENCE, [[found[0]]], _text(body, "why"), **fields)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {type(value).__name__}")
    return value


def _needed(body: Mapping[str, Any], name: str) -> str:
    value = _text(body, name)
    if not value:
        raise ValueError(f"{name} is missing")
    return value


def _texts(body: Mapping[str, Any], name: str) -> list[str]:
    values = body.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} must be a list of ids")
    return values
