"""What was dropped and why, and what another threshold would keep."""

from collections.abc import Mapping
from typing import Any

import duckdb

from pipeline.browse.queries import MAX_PAGE, first_row, rows_of
from schemas.old_settings import current_settings
from schemas.thresholds import THRESHOLDS, Threshold
from schemas.uris import public_uri

# By "table.column.side". A measure that no column holds cannot be shown.
GATES: Mapping[str, Threshold] = {
    f"{threshold.column}.{threshold.side}": threshold
    for threshold in THRESHOLDS
    if threshold.stored
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
        f"SELECT r.*, coalesce(c.clip_id, t.clip_id) AS clip_id, c.caption, n.uri FROM rejects r "
        "LEFT JOIN names n ON n.video_id = r.video_id "
        "LEFT JOIN clips c ON c.clip_id = r.id LEFT JOIN tracks t ON t.track_id = r.id "
        f"WHERE {where} ORDER BY r.stage, r.reason, r.value, r.id LIMIT ? OFFSET ?",
        [*values, min(limit, MAX_PAGE), offset],
    )
    rows = [row | {"uri": row["uri"] and public_uri(row["uri"])} for row in rows_of(found)]
    return {"total": total[0] if total else 0, "rows": rows}


def gates(db: duckdb.DuckDBPyConnection, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the gates whose column the dataset has measured, with the threshold in force.

    `config` holds the settings of the dataset's manifest; where it lacks one, the ledger's own
    threshold is returned.
    """
    settings = current_settings(config)
    described = []
    for name, gate in GATES.items():
        low, high = first_row(db, f"SELECT min(value), max(value) FROM ({_measured(gate)})")
        if low is None:
            continue
        used, dropped = first_row(
            db, f"SELECT median(threshold), count(*) FROM ({_dropped(gate)})", _parameters(gate)
        )
        bound = _setting(settings, gate.setting)
        described.append(
            {
                "gate": name, "reason": str(gate.reason), "level": gate.level,
                "column": gate.measure, "keeps_above": gate.side == "min", "low": low,
                "high": high, "threshold": used if bound is None else bound, "dropped": dropped,
                "setting": gate.setting, "unit": gate.unit,
            }
        )  # fmt: skip
    return described


def what_if(db: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    """Return every measured value of a gate's column with what became of the row.

    A row that this gate dropped may still fall at a later one, so what comes back is at most that.
    Raises ValueError for an unknown gate.
    """
    if name not in GATES:
        raise ValueError(f"no gate {name[:60]!r}; there are {', '.join(GATES)}")
    gate = GATES[name]
    found = db.execute(
        "SELECT id, clip_id, value, CASE"
        f" WHEN id IN (SELECT id FROM ({_dropped(gate)})) THEN 'dropped'"
        " WHEN id IN (SELECT id FROM rejects WHERE level = $level) THEN 'elsewhere'"
        f" ELSE 'kept' END AS fate FROM ({_measured(gate)}) ORDER BY value LIMIT 200000",
        _parameters(gate),
    )
    return {"gate": name, "keeps_above": gate.side == "min", "rows": rows_of(found)}


def _measured(gate: Threshold) -> str:
    """Return SQL for what the gate measured: the row's id, its clip, the value where known."""
    level, value = gate.level, f"{gate.table}.{gate.measure}"
    # A track may be held against a measure of its clip.
    other = "" if gate.table == f"{level}s" else f" JOIN {gate.table} USING (clip_id)"
    return (
        f"SELECT {level}s.{level}_id AS id, {level}s.clip_id, {value}::DOUBLE AS value"
        f" FROM {level}s{other} WHERE isfinite({value})"
    )


def _dropped(gate: Threshold) -> str:
    """Return SQL for the ledger's lines of this gate, which may share its reason with another."""
    return (
        f"SELECT d.id, d.threshold FROM rejects d JOIN ({_measured(gate)}) m USING (id)"
        f" WHERE d.level = $level AND d.reason = $reason AND d.value {gate.sign} d.threshold"
        " AND abs(d.value - m.value) <= 1e-6 * greatest(1, abs(m.value))"
    )


def _parameters(gate: Threshold) -> dict[str, str]:
    return {"level": gate.level, "reason": str(gate.reason)}


def _setting(settings: Mapping[str, Any], name: str) -> float | None:
    found: Any = settings
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, int | float) else None
