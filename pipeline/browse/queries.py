"""The queries of the page. Every name that enters SQL is checked against a list here."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

MAX_PAGE = 200
NUMBERS = (
    "sharpness", "brightness", "motion", "camera_motion", "purity", "coverage", "area",
    "face_rate", "num_people", "duration_s", "width", "height", "fps", "best_similarity",
    "least_similarity", "best_quality", "num_references", "start_s",
)  # fmt: skip
WORDS = ("split", "shot_size", "licence", "source", "caption_engine", "first_kind")
_IDS = ("sample_id", "clip_id", "video_id", "character_id", "track_id", "shot_id")
_SORTABLE = (*NUMBERS, *WORDS, *_IDS, "caption")


@dataclass(frozen=True)
class SampleQuery:
    """Which samples, in which order."""

    sort: str = ""
    descending: bool = False
    text: str = ""
    words: dict[str, list[str]] = field(default_factory=dict)  # column -> allowed values
    least: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)
    tagged: str | None = None  # '' is any tag, 'none' is untagged

    @classmethod
    def from_json(cls, text: str) -> "SampleQuery":
        """Read one. Raises ValueError for anything that is not a known name or a right value."""
        try:
            raw = json.loads(text) if text else {}
            question = cls(**raw)
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"filter is not understood: {error}") from None
        for name in (*question.words, *question.least, *question.most, question.sort):
            if name and name not in _SORTABLE:
                raise ValueError(f"no column {name[:60]!r}; there are {', '.join(_SORTABLE)}")
        texts = [question.text, *question.kinds, *(v for vs in question.words.values() for v in vs)]
        if not all(isinstance(value, str) and len(value) <= 500 for value in texts):
            raise ValueError("filter values must be texts of at most 500 characters")
        for value in (*question.least.values(), *question.most.values()):
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"bounds must be finite numbers, got {str(value)[:40]!r}")
        return question

    def where(self, tags: dict[str, list[str]]) -> tuple[str, list[Any]]:
        """Return a condition and its values; `tags` is tag -> sample ids."""
        parts, values = ["true"], []
        for name, allowed in self.words.items():
            parts.append(f"list_contains(?, {name})")
            values.append(allowed)
        for sign, bounds in ((">=", self.least), ("<=", self.most)):
            for name, bound in bounds.items():
                parts.append(f"{name} {sign} ?")
                values.append(bound)
        if self.kinds:
            parts.append("list_has_any(kinds, ?)")
            values.append(self.kinds)
        if self.text:
            parts.append(
                "(contains(lower(caption), lower(?)) OR contains(lower(description), lower(?)) OR "
                "sample_id = ? OR character_id = ? OR video_id = ? OR clip_id = ?)"
            )
            values += [self.text] * 6
        if self.tagged is not None:
            named = {id for ids in tags.values() for id in ids}
            named = named if self.tagged in ("", "none") else set(tags.get(self.tagged, ()))
            parts.append(f"{'NOT ' * (self.tagged == 'none')}list_contains(?, sample_id)")
            values.append(sorted(named))
        return " AND ".join(parts), values


def samples(
    db: duckdb.DuckDBPyConnection,
    question: SampleQuery,
    tags: dict[str, list[str]],
    offset: int,
    limit: int,
) -> dict[str, Any]:
    """Return one page, and how many there are in all."""
    where, values = question.where(tags)
    counted = db.execute(f"SELECT count(*) FROM seen WHERE {where}", values).fetchone()
    order = "position"
    if question.sort:
        order = f"{question.sort} {'DESC' if question.descending else 'ASC'} NULLS LAST, {order}"
    page = db.execute(
        "SELECT * EXCLUDE (position, file_path, row_group, row_index) FROM seen "
        f"WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
        [*values, min(limit, MAX_PAGE), offset],
    )
    return {"total": counted[0] if counted else 0, "rows": rows_of(page)}


def rows_of(found: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return rows as JSON can hold them: no NaN."""
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, map(plain, row), strict=True)) for row in found.fetchall()]


def plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def summary(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Return what the page needs once: counts, ranges of scores, values of words."""
    ranges = {}
    for name in NUMBERS:
        low, high = first_row(
            db, f"SELECT min({name}), max({name}) FROM seen WHERE isfinite({name})"
        )
        if low is not None:
            ranges[name] = {"min": plain(float(low)), "max": plain(float(high))}
    words = {
        name: rows_of(
            db.execute(
                f"SELECT {name} AS value, count(*) AS number FROM seen GROUP BY 1 "
                "ORDER BY number DESC, value LIMIT 40"
            )
        )
        for name in WORDS
    }
    words["kinds"] = rows_of(
        db.execute(
            "SELECT unnest(kinds) AS value, count(*) AS number FROM seen GROUP BY 1 "
            "ORDER BY number DESC, value"
        )
    )
    counts = {
        name: first_row(db, f"SELECT count(*) FROM {name}")[0]
        for name in ("samples", "clips", "tracks", "videos", "rejects")
    }
    counts["characters"] = first_row(db, "SELECT count(DISTINCT character_id) FROM samples")[0]
    return {"ranges": ranges, "words": words, "counts": counts}


def first_row(
    db: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any] | None = None
) -> tuple:
    """Return the one row of an aggregate."""
    found = db.execute(sql, values or {}).fetchone()
    assert found is not None, "an aggregate has one row"
    return found


def sample(db: duckdb.DuckDBPyConnection, sample_id: str) -> dict[str, Any] | None:
    """Return one sample with the place of its media."""
    found = rows_of(db.execute("SELECT * FROM seen WHERE sample_id = ? LIMIT 1", [sample_id]))
    return found[0] if found else None


def characters(db: duckdb.DuckDBPyConnection, offset: int, limit: int) -> dict[str, Any]:
    """Return characters, those with most samples first, each with one sample to show."""
    page = db.execute(
        "SELECT character_id, count(*) AS samples, count(DISTINCT video_id) AS videos, "
        "count(DISTINCT shot_id) AS shots, arg_min(description, sample_id) AS description, "
        "arg_max(sample_id, (ifnull(best_quality, -1), sample_id)) AS shown, "
        "mean(best_similarity) AS similarity "
        "FROM seen GROUP BY 1 ORDER BY samples DESC, character_id LIMIT ? OFFSET ?",
        [min(limit, MAX_PAGE), offset],
    )
    rows = rows_of(page)
    return {
        "total": first_row(db, "SELECT count(DISTINCT character_id) FROM seen")[0],
        "rows": rows,
    }


def character(db: duckdb.DuckDBPyConnection, character_id: str) -> dict[str, Any] | None:
    """Return all that shows one character: samples, tracks, and each reference once."""
    mine = rows_of(
        db.execute(
            "SELECT sample_id, clip_id, track_id, video_id, shot_id, split, caption, start_s, "
            'end_s, width, height, purity, coverage, "references" FROM seen '
            "WHERE character_id = ? ORDER BY video_id, start_s LIMIT 500",
            [character_id],
        )
    )
    tracks = rows_of(
        db.execute(
            "SELECT t.track_id, t.clip_id, t.video_id, t.shot_id, t.purity, t.coverage, t.area, "
            "t.shot_size, t.face_rate, c.start_s, c.end_s FROM tracks t LEFT JOIN clips c "
            "USING (clip_id) WHERE t.character_id = ? ORDER BY t.video_id, c.start_s LIMIT 500",
            [character_id],
        )
    )
    if not mine and not tracks:
        return None
    shown: dict[str, dict] = {}
    for row in mine:
        for place, reference in enumerate(row.pop("references") or ()):
            where = {"sample_id": row["sample_id"], "place": place}
            shown.setdefault(reference["reference_id"], reference | where)
    return {"samples": mine, "tracks": tracks, "references": list(shown.values())}
