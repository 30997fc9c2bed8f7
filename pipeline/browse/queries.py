"""The queries of the page. Every name that enters SQL is checked against a list here."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

MAX_PAGE = 200
_LONGEST = 500  # characters of a filter's value
NUMBERS = (
    "sharpness", "brightness", "motion", "camera_motion", "purity", "coverage", "area",
    "face_rate", "num_people", "duration_s", "width", "height", "fps", "best_similarity",
    "least_similarity", "best_quality", "num_references", "start_s",
)  # fmt: skip
WORDS = ("split", "shot_size", "licence", "source", "caption_engine", "first_kind")
_IDS = ("sample_id", "clip_id", "video_id", "character_id", "track_id", "shot_id")
_NAME = "coalesce(n.name, k.name, '')"  # of a correction, else of the version
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
        except (json.JSONDecodeError, TypeError, RecursionError) as error:
            raise ValueError(f"filter is not understood: {error}") from None
        question._check_shapes()
        columns = (*question.words, question.sort), (*question.least, *question.most)
        for names, known in zip(columns, (_SORTABLE, NUMBERS), strict=True):
            for name in names:
                if name and name not in known:
                    raise ValueError(f"no column {name[:60]!r}; there are {', '.join(known)}")
        return question

    def _check_shapes(self) -> None:
        for name, kind in (("sort", str), ("text", str), ("descending", bool), ("kinds", list),
                           ("words", dict), ("least", dict), ("most", dict)):  # fmt: skip
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} must be a JSON {kind.__name__}")
        if not all(isinstance(values, list) for values in self.words.values()):
            raise ValueError("words must hold a list of values for each column")
        texts = [self.sort, self.text, "" if self.tagged is None else self.tagged, *self.kinds]
        for value in (*texts, *(value for values in self.words.values() for value in values)):
            if not isinstance(value, str) or len(value) > _LONGEST or not _is_text(value):
                raise ValueError(f"filter values must be texts of at most {_LONGEST} characters")
        for value in (*self.least.values(), *self.most.values()):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise ValueError(f"bounds must be finite numbers, got {str(value)[:40]!r}")

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


def _is_text(value: str) -> bool:
    """Whether text is more than half of a pair: a lone surrogate is no character."""
    return not any("\ud800" <= sign <= "\udfff" for sign in value)


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
    places = db.execute(
        f"SELECT position FROM seen WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
        [*values, min(limit, MAX_PAGE), offset],
    ).fetchall()  # wide columns are read of these rows alone
    places = [place for (place,) in places]
    page = db.execute(
        "SELECT * EXCLUDE (file_path, row_group, row_index) FROM seen"
        " WHERE position IN (SELECT unnest(?::BIGINT[]))",
        [places],
    )
    found = {row.pop("position"): row for row in rows_of(page)}
    rows = [found[place] for place in places]
    return {"total": counted[0] if counted else 0, "rows": rows}


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
    bounds = first_row(
        db,
        "SELECT "
        + ", ".join(
            f"{side}({name}) FILTER (isfinite({name}))"
            for name in NUMBERS
            for side in ("min", "max")
        )
        + " FROM seen",
    )
    ranges = {
        name: {"min": plain(float(low)), "max": plain(float(high))}
        for name, low, high in zip(NUMBERS, bounds[::2], bounds[1::2], strict=True)
        if low is not None
    }
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
    top = db.execute(
        "SELECT character_id, count(*) AS samples FROM mended GROUP BY 1 "
        "ORDER BY samples DESC, character_id LIMIT ? OFFSET ?",
        [min(limit, MAX_PAGE), offset],
    ).fetchall()  # other columns are read of these alone
    page = db.execute(
        "SELECT character_id, count(*) AS samples, count(DISTINCT video_id) AS videos, "
        "count(DISTINCT shot_id) AS shots, arg_min(description, sample_id) AS description, "
        "arg_max(sample_id, (ifnull(best_quality, -1), sample_id)) AS shown, "
        f"mean(best_similarity) AS similarity, any_value({_NAME}) AS name "
        "FROM seen LEFT JOIN named n USING (character_id) LEFT JOIN characters k "
        "USING (character_id) WHERE character_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY 1 "
        "ORDER BY samples DESC, character_id",
        [[character_id for character_id, _ in top]],
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
            "t.shot_size, t.face_rate, c.start_s, c.end_s FROM people t LEFT JOIN clips c "
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
    marks = dict(db.execute("SELECT reference_id, mark FROM marked").fetchall())
    images = [row | {"mark": marks.get(row["reference_id"], "")} for row in shown.values()]
    return {"samples": mine, "tracks": tracks, "references": images, "name": name(db, character_id)}


def name(db: duckdb.DuckDBPyConnection, character_id: str) -> str:
    """Return what people call a character, '' where nobody named it."""
    found = db.execute(
        f"SELECT {_NAME} FROM (SELECT ? AS character_id) LEFT JOIN named n USING (character_id)"
        " LEFT JOIN characters k USING (character_id) LIMIT 1",
        [character_id],
    ).fetchone()
    return found[0] if found and found[0] else ""


def tracks_of(db: duckdb.DuckDBPyConnection, character_id: str) -> list[str]:
    """Return the tracks of a character, as corrected."""
    sql = "SELECT track_id FROM people WHERE character_id = ? AND track_id <> '' ORDER BY 1"
    return [row[0] for row in db.execute(sql, [character_id]).fetchall()]


def character_of(db: duckdb.DuckDBPyConnection, track_id: str) -> str:
    """Return the character of a track, as corrected; '' where there is none."""
    found = db.execute("SELECT character_id FROM people WHERE track_id = ?", [track_id]).fetchone()
    return found[0] or "" if found else ""


def people(db: duckdb.DuckDBPyConnection, track_ids: list[str]) -> dict[str, str]:
    """Return the characters of tracks, as corrected."""
    sql = "SELECT track_id, character_id FROM people WHERE track_id IN (SELECT unnest(?))"
    return dict(db.execute(sql, [track_ids]).fetchall())


def tracks(db: duckdb.DuckDBPyConnection, track_ids: list[str]) -> list[dict[str, Any]]:
    """Return tracks with who they are and what shows them."""
    return rows_of(
        db.execute(
            f"SELECT p.*, c.start_s, c.end_s, {_NAME} AS name, s.sample_id FROM people p"
            " LEFT JOIN clips c USING (clip_id) LEFT JOIN named n USING (character_id)"
            " LEFT JOIN characters k USING (character_id) LEFT JOIN (SELECT track_id,"
            " min(sample_id) AS sample_id FROM samples GROUP BY 1) s USING (track_id)"
            " WHERE track_id IN (SELECT unnest(?))",
            [track_ids],
        )
    )
