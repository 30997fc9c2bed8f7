"""The suspects that nobody has decided, those that concern most samples first."""

from typing import Any

import duckdb

from pipeline.browse.queries import rows_of
from pipeline.dataset.decided import Decided

_SUSPECTS = "SELECT * FROM suspects WHERE kind IN ('merge', 'split')"
# A suspect names characters of the version; corrections since may have given them other ids.
_NOW = """
    SELECT t.character_id, p.character_id, count(*) FROM shown_tracks t
    JOIN people p USING (track_id) WHERE t.character_id IN (
        SELECT character_id FROM suspects UNION SELECT other_character_id FROM suspects)
    GROUP BY 1, 2 ORDER BY 3, 2
"""


def open_suspects(db: duckdb.DuckDBPyConnection, decided: Decided) -> list[dict[str, Any]]:
    """Return the questions that are left: are `a` and `b`, or `a` and one `track_id`, one person?

    Each comes with the number of samples that the answer concerns.
    """
    suspects = rows_of(db.execute(_SUSPECTS))
    if not suspects:
        return []
    now = {before: after for before, after, _ in db.execute(_NOW).fetchall()}
    tracks, samples = _of_characters(db, sorted(set(now.values())))
    found = []
    for row in suspects:
        a, b = now.get(row["character_id"], ""), now.get(row["other_character_id"], "")
        mine, theirs = tracks.get(a, []), tracks.get(b, [])
        question = {name: row[name] for name in ("kind", "track_id", "similarity", "threshold")}
        question |= {"a": a, "b": b, "samples": samples.get(a, 0) + samples.get(b, 0)}
        if row["kind"] == "split" and mine and theirs:
            asks = a != b and not decided.differ(mine, theirs)
        else:
            asks = (
                row["track_id"] in mine
                and len(mine) > 1
                and row["track_id"] not in decided.confirmed
            )
        if asks:
            found.append(question)
    return sorted(found, key=lambda row: (-row["samples"], -(row["similarity"] or 0), row["a"]))


def _of_characters(
    db: duckdb.DuckDBPyConnection, ids: list[str]
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Return the tracks, and the number of samples, of some characters."""
    of = "WHERE character_id IN (SELECT unnest(?)) GROUP BY 1"
    tracks = db.execute(f"SELECT character_id, list(track_id) FROM people {of}", [ids]).fetchall()
    samples = db.execute(f"SELECT character_id, count(*) FROM mended {of}", [ids]).fetchall()
    return dict(tracks), dict(samples)
