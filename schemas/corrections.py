"""What a person corrected: one line of `corrections.jsonl`, by content ids, never by row numbers.

A character's id changes with its tracks, a sample's with its references; a track's id is a hash of
what it is cut from. So every line names tracks:

    {"kind": "separate", "people": [["t1", "t2"], ["t3"]], "by": "ana", "at": "…", "why": "…"}

kind                              people                            value
merge separate move different     one list of tracks a person       –
name                              the character's tracks            its name, '' for none
split                             the character's tracks            train | validation | test
caption                           the one track of the sample       the clip's caption
reference                         the track that it shows           best | bad, '' for neither

Of the first four, two lists show two people, and but for `different`, which says nothing of that,
tracks of one list show one.
"""

import re
from collections.abc import Set
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

from schemas.ids import content_id
from schemas.reasons import Split

DIFFERENT = "different"
IDENTITY = ("merge", "separate", "move", DIFFERENT)
NAME, SPLIT, CAPTION, REFERENCE = "name", "split", "caption", "reference"
BEST, BAD = "best", "bad"
MAX_TRACKS = 20_000  # of one line
_KINDS = (*IDENTITY, NAME, SPLIT, CAPTION, REFERENCE)
_LONGEST = {NAME: 80, CAPTION: 2000}
_VALUES = {SPLIT: tuple(map(str, Split)), REFERENCE: (BEST, BAD, "")}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_MAX_ID, _MAX_BY, _MAX_WHY = 200, 80, 2000


@dataclass(frozen=True)
class Correction:
    """One decision of a person.

    Attributes:
        kind: see above.
        people: lists of track ids.
        reference_id: of kind reference: the image.
        value: see above.
        by: who decided.
        at: when, UTC, such as 2026-11-26T16:40:00Z.
        why: in the person's words, or ''.
    """

    kind: str
    people: tuple[tuple[str, ...], ...]
    by: str
    at: str
    value: str = ""
    reference_id: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(
                f"kind must be one of {', '.join(_KINDS)}, got {str(self.kind)[:60]!r}"
            )
        self._check_people()
        self._check_value()
        for name, most in (("by", _MAX_BY), ("why", _MAX_WHY)):
            text = getattr(self, name)
            if not isinstance(text, str) or len(text) > most:
                raise ValueError(f"{name} must be text of at most {most} characters")
        if not self.by:
            raise ValueError("by must say who decided")
        if not isinstance(self.at, str) or not _TIME.fullmatch(self.at):
            raise ValueError(f"at must be such as 2026-11-26T16:40:00Z, got {str(self.at)[:40]!r}")

    def _check_people(self) -> None:
        tracks = self.tracks
        if not all(isinstance(id, str) and 0 < len(id) <= _MAX_ID for id in tracks):
            raise ValueError(f"people must be lists of track ids of 1 to {_MAX_ID} characters")
        if not all(self.people) or len(set(tracks)) < len(tracks) or len(tracks) > MAX_TRACKS:
            sizes = list(map(len, self.people))
            raise ValueError(
                f"people must be lists of at least one and in all at most {MAX_TRACKS} tracks, "
                f"each in one list once; got {len(tracks)} in lists of {sizes}"
            )
        lists = len(self.people)
        if self.kind in IDENTITY[1:] and lists < 2:
            raise ValueError(f"{self.kind} must have two lists of tracks or more, got {lists}")
        if self.kind not in IDENTITY[1:] and lists != 1:
            raise ValueError(f"{self.kind} must have one list of tracks, got {lists}")
        if self.kind == "merge" and len(tracks) < 2:
            raise ValueError("merge must name two tracks or more")
        if self.kind in (CAPTION, REFERENCE) and len(tracks) != 1:
            raise ValueError(f"{self.kind} must name one track, got {len(tracks)}")

    def _check_value(self) -> None:
        if not isinstance(self.value, str) or len(self.value) > _LONGEST.get(self.kind, _MAX_ID):
            longest = _LONGEST.get(self.kind, _MAX_ID)
            raise ValueError(f"value must be text of at most {longest} characters")
        allowed = _VALUES.get(self.kind)
        if allowed is not None and self.value not in allowed:
            named = ", ".join(repr(value) for value in allowed)
            raise ValueError(f"{self.kind} must be one of {named}, got {self.value[:40]!r}")
        if self.kind in IDENTITY and self.value:
            raise ValueError(f"{self.kind} takes no value, got {self.value[:40]!r}")
        if self.kind == CAPTION and not self.value.strip():
            raise ValueError("a caption must not be empty")
        if not all(sign.isprintable() for sign in self.value):
            raise ValueError("value must be one line of printable text")
        if not isinstance(self.reference_id, str) or len(self.reference_id) > _MAX_ID:
            raise ValueError(f"reference_id must be text of at most {_MAX_ID} characters")
        if (self.kind == REFERENCE) != bool(self.reference_id):
            raise ValueError("reference_id belongs to kind reference, and to no other")

    @property
    def tracks(self) -> tuple[str, ...]:
        """Every track that it names."""
        return tuple(chain.from_iterable(self.people))

    def without(self, gone: Set[str]) -> "Correction | None":
        """Return it without ids that were forgotten and without its words; None if nothing is left.

        Words may name the person who was forgotten.
        """
        if not gone & {*self.tracks, self.reference_id}:
            return self
        left = tuple(tuple(id for id in tracks if id not in gone) for tracks in self.people)
        left = tuple(tracks for tracks in left if tracks)
        least = 2 if self.kind in IDENTITY else 1
        lists = 2 if self.kind in IDENTITY[1:] else 1
        if self.reference_id in gone or len(left) < lists or sum(map(len, left)) < least:
            return None
        return replace(self, people=left, why="")

    @property
    def id(self) -> str:
        """The hash of all that it says."""
        return content_id("correction", asdict(self))

    def to_json(self) -> dict[str, Any]:
        """Return the line's object, without what is empty."""
        kept = {name: value for name, value in asdict(self).items() if value}
        return kept | {"people": [list(tracks) for tracks in self.people]}

    @classmethod
    def from_json(cls, row: Any) -> "Correction":
        """Read a line's object. Raises ValueError saying what is wrong with it."""
        if not isinstance(row, dict):
            raise ValueError(f"must be an object, got {type(row).__name__}")
        unknown = sorted(map(str, row.keys() - cls.__dataclass_fields__.keys()))
        missing = sorted({"kind", "people", "by", "at"} - row.keys())
        if unknown or missing:
            raise ValueError(f"has unknown keys {unknown} and lacks {missing}")
        lists = row["people"]
        if not isinstance(lists, list) or not all(isinstance(tracks, list) for tracks in lists):
            raise ValueError("people must be a list of lists of track ids")
        values: dict[str, Any] = {**row, "people": tuple(map(tuple, lists))}
        return cls(**values)
