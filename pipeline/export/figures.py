"""Figures about a dataset, each made by a query that stands beside it, so that anybody can check.

The queries are DuckDB's and ask one table, `samples`: a row per sample of the version, without
vetoed ones, with `num_references` and `reference_kinds` for the list of references.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.export.export_source import ExportSource
from pipeline.export.markdown import plain

LIGHT = (
    "sample_id", "clip_id", "video_id", "character_id", "split", "licence", "source", "fps",
    "num_frames", "width", "height", "num_people", "caption_engine",
)  # fmt: skip
_CLIPS = "(SELECT DISTINCT ON (clip_id) * FROM samples WHERE fps > 0)"


@dataclass(frozen=True)
class Query:
    """A question and its SQL; the answer is one value, or two columns: what, how many."""

    asks: str
    sql: str


@dataclass(frozen=True)
class Answer:
    """What a query found."""

    query: Query
    rows: Sequence[tuple[Any, ...]]

    @property
    def value(self) -> Any:
        return self.rows[0][0]


def _by(column: str, counted: str = "count(DISTINCT video_id)") -> str:
    return (
        f"SELECT coalesce(nullif({column}, ''), 'unknown'), {counted} FROM samples"
        " GROUP BY 1 ORDER BY 2 DESC, 1"
    )


QUERIES = {
    "samples": Query("samples", "SELECT count(*) FROM samples"),
    "clips": Query("clips", "SELECT count(DISTINCT clip_id) FROM samples"),
    "hours": Query(
        "hours of clips, each counted once",
        f"SELECT round(coalesce(sum(num_frames / fps), 0) / 3600, 4) FROM {_CLIPS}",
    ),
    "videos": Query("source videos", "SELECT count(DISTINCT video_id) FROM samples"),
    "characters": Query("people told apart", "SELECT count(DISTINCT character_id) FROM samples"),
    "references": Query(
        "reference images", "SELECT coalesce(sum(num_references), 0)::BIGINT FROM samples"
    ),
    "generated": Query(
        "reference images that a model edited",
        "SELECT count(*) FROM (SELECT unnest(reference_kinds) AS kind FROM samples)"
        " WHERE kind = 'edited'",
    ),
    "splits": Query("samples by split", _by("split", "count(*)")),
    "licences": Query("videos by licence", _by("licence")),
    "sources": Query("videos by source", _by("source")),
    "domains": Query(
        "videos by domain of the source, where it is an address",
        "SELECT regexp_extract(source, '^https?://([^/]+)', 1) AS domain,"
        " count(DISTINCT video_id) FROM samples WHERE domain <> '' GROUP BY 1 ORDER BY 2 DESC, 1",
    ),
    "sizes": Query(
        "clips by size", "SELECT width || 'x' || height, count(DISTINCT clip_id) FROM samples"
        " GROUP BY 1 ORDER BY 2 DESC, 1",
    ),
    "captions": Query("samples by who wrote the caption", _by("caption_engine", "count(*)")),
}  # fmt: skip


def answers(source: ExportSource) -> dict[str, Answer]:
    """Run every query over the samples of the export."""
    import duckdb

    with duckdb.connect() as db:
        db.register("samples", _light(source))
        return {
            name: Answer(query, db.execute(query.sql).fetchall()) for name, query in QUERIES.items()
        }


def _light(source: ExportSource) -> pa.Table:
    """Return the samples without media, and how many references of which kinds each has."""
    groups = []
    for group in source.groups():
        kinds = [
            [each["kind"] for each in references or ()]
            for references in group["references"].to_pylist()
        ]
        light = group.select(LIGHT)
        light = light.append_column("num_references", pa.array(map(len, kinds), pa.int64()))
        groups.append(
            light.append_column("reference_kinds", pa.array(kinds, pa.list_(pa.string())))
        )
    if not any(map(len, groups)):
        raise ValueError("there is nothing to describe: the dataset has no sample")
    return pa.concat_tables(groups)


def figure_lines(found: dict[str, Answer], names: Sequence[str], most: int = 40) -> str:
    """Return Markdown: single values as a table with their queries, then each count by kind."""
    single = [found[name] for name in names if _is_single(found[name])]
    lines = ["| | | query |", "|---|---|---|"] if single else []
    lines += [f"| {a.query.asks} | {plain(a.value)} | `{a.query.sql}` |" for a in single]
    for answer in (found[name] for name in names if not _is_single(found[name])):
        lines += ["", f"{answer.query.asks}: `{answer.query.sql}`", ""]
        lines += [f"- {plain(what)}: {plain(number)}" for what, number in answer.rows[:most]]
        if len(answer.rows) > most:
            lines.append(f"- and {len(answer.rows) - most:,} more")
        if not answer.rows:
            lines.append("- none")
    return "\n".join(lines)


def _is_single(answer: Answer) -> bool:
    return len(answer.rows) == 1 and len(answer.rows[0]) == 1
