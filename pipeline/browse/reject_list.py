"""What was dropped and why, and what another threshold would keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from pipeline.browse.queries import MAX_PAGE, rows_of
from schemas.reasons import Reason

_BINS = 48


@dataclass(frozen=True)
class LateThreshold:
    """A late threshold: which column it looks at, and on which side it keeps."""

    reason: Reason
    table: str
    column: str
    keeps_above: bool

    @property
    def level(self) -> str:
        return self.table.removesuffix("s")


GATES: Mapping[str, LateThreshold] = {
    f"{gate.table}.{gate.column}.{'min' if gate.keeps_above else 'max'}": gate
    for gate in (
        LateThreshold(Reason.BLURRY, "clips", "sharpness", True),
        LateThreshold(Reason.TOO_STILL, "clips", "motion", True),
        LateThreshold(Reason.TOO_FAST, "clips", "motion", False),
        LateThreshold(Reason.TOO_DARK, "clips", "brightness", True),
        LateThreshold(Reason.TOO_DARK, "clips", "dark", False),
        LateThreshold(Reason.TOO_BRIGHT, "clips", "bright", False),
        LateThreshold(Reason.LOW_CONTRAST, "clips", "contrast", True),
        LateThreshold(Reason.BLACK_BORDERS, "clips", "black_border", False),
        LateThreshold(Reason.BURNED_IN_TEXT, "clips", "text_area", False),
        LateThreshold(Reason.TOO_MANY_PEOPLE, "clips", "num_people", False),
        LateThreshold(Reason.TRACK_TOO_SHORT, "tracks", "coverage", True),
        LateThreshold(Reason.PERSON_TOO_SMALL, "tracks", "area", True),
        LateThreshold(Reason.IMPURE_TRACK, "tracks", "purity", True),
        LateThreshold(Reason.UNCONFIRMED_PERSON, "tracks", "face_rate", True),
    )
}


def reasons(db: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return how often each stage dropped something for each reason."""
    return rows_of(
        db.execute(
            "SELECT stage, level, reason, bool_or(failed) AS failed, count(*) AS number "
            "FROM rejects GROUP BY 1, 2, 3 ORDER BY number DESC, stage, reason"
        )
    )


def page(
    db: duckdb.DuckDBPyConnection, stage: str, reason: str, offset: int, limit: int
) -> dict[str, Any]:
    """Return lines of the ledger, each with the clip that shows it where there is one."""
    where, values = "true", []
    for name, value in (("stage", stage), ("reason", reason)):
        if value:
            where += f" AND r.{name} = ?"
            values.append(value)
    total = db.execute(f"SELECT count(*) FROM rejects r WHERE {where}", values).fetchone()
    found = db.execute(
        f"SELECT r.*, coalesce(c.clip_id, t.clip_id) AS clip_id, c.caption FROM rejects r "
        "LEFT JOIN clips c ON c.clip_id = r.id LEFT JOIN tracks t ON t.track_id = r.id "
        f"WHERE {where} ORDER BY r.stage, r.reason, r.value, r.id LIMIT ? OFFSET ?",
        [*values, min(limit, MAX_PAGE), offset],
    )
    return {"total": total[0] if total else 0, "rows": rows_of(found)}


def gates(db: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return the gates whose column the dataset has measured, with the threshold in force."""
    told = []
    for name, gate in GATES.items():
        seen = db.execute(
            f"SELECT min({gate.column}), max({gate.column}), count({gate.column}) FROM {gate.table}"
        ).fetchone()
        if not seen or not seen[2]:
            continue
        used = db.execute(
            "SELECT median(threshold), count(*) FROM rejects WHERE reason = ? AND level = ? AND "
            f"{'value < threshold' if gate.keeps_above else 'value > threshold'}",
            [str(gate.reason), gate.level],
        ).fetchone()
        told.append(
            {
                "gate": name, "reason": str(gate.reason), "level": gate.level,
                "column": gate.column, "keeps_above": gate.keeps_above, "low": seen[0],
                "high": seen[1], "threshold": used[0] if used else None,
                "dropped": used[1] if used else 0,
            }
        )  # fmt: skip
    return told


def what_if(db: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    """Return every measured value of a gate's column with what became of the row.

    A row that this gate dropped may still fall at a later one, so what comes back is at most that.
    Raises ValueError for an unknown gate.
    """
    if name not in GATES:
        raise ValueError(f"no gate {name[:60]!r}; there are {', '.join(GATES)}")
    gate = GATES[name]
    found = db.execute(
        f"SELECT x.{gate.level}_id AS id, x.clip_id, x.{gate.column} AS value, "
        "CASE WHEN d.id IS NULL THEN 'kept' WHEN d.here THEN 'dropped' ELSE 'elsewhere' END "
        f"AS fate FROM {gate.table} x LEFT JOIN (SELECT id, bool_or(reason = ?) AS here "
        f"FROM rejects WHERE level = ? GROUP BY id) d ON d.id = x.{gate.level}_id "
        f"WHERE isfinite(x.{gate.column}) ORDER BY value LIMIT 200000",
        [str(gate.reason), gate.level],
    )
    return {"gate": name, "keeps_above": gate.keeps_above, "rows": rows_of(found)}
