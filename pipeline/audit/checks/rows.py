"""Ids, references between tables, ranges, boxes, and whether the manifest's counts are true."""

import itertools
from collections.abc import Iterator

from pipeline.audit.dataset import Dataset
from pipeline.audit.finding_store import Query
from pipeline.audit.findings import Action, Check, Finding, error, found
from pipeline.audit.index import AuditIndex
from schemas.reasons import PairKind, Split
from schemas.tombstones import FORGET

KEYS = {  # table -> its primary key
    "videos": ("video_id",),
    "clips": ("clip_id",),
    "tracks": ("track_id",),
    "characters": ("character_id",),
    "samples": ("sample_id",),
    "embeddings": ("track_id", "reference_id", "recogniser"),
}
_LINKS = (  # table, key, the table that must have it
    ("samples", "clip_id", "clips"),
    ("samples", "video_id", "videos"),
    ("samples", "track_id", "tracks"),
    ("samples", "character_id", "characters"),
    ("suspects", "character_id", "characters"),
    ("refs", "clip_id", "clips"),
    ("refs", "video_id", "videos"),
    ("refs", "track_id", "tracks"),
    ("tracks", "clip_id", "clips"),
    ("clips", "video_id", "videos"),
    ("embeddings", "track_id", "tracks"),
)

DUPLICATE_KEY = error(
    "row.duplicate-key", "A key names two rows",
    "Joins multiply rows, and whichever is read last wins.",
    "Drop the copy; if the rows differ, find out which one is true.",
)  # fmt: skip
ORPHAN = error(
    "row.orphan", "An id points to nothing",
    "Nobody can say where the row comes from, nor remove a person from it.",
    "Drop the row, or restore the table that it points to.",
)  # fmt: skip
DISAGREES = error(
    "row.disagrees", "Two tables say different things about one clip, track or character",
    "Rows were joined wrongly: captions, boxes or identities belong to another clip.",
    "Drop the sample, or pair again.",
)  # fmt: skip
DUPLICATE_SAMPLE = error(
    "row.duplicate-sample", "One track of one clip is two samples",
    "The trainer sees it twice as often as all others.",
    "Keep one of them.",
)  # fmt: skip
RANGE = error(
    "row.value-range", "A value is impossible",
    "Filters and samplers that use the column do something nobody meant.",
    "Measure it again, or drop the row.",
)  # fmt: skip
UNKNOWN = error(
    "row.unknown-value", "A split or pair kind is not one of ours",
    "Readers that ask for 'train' silently leave it out or in.",
    "Write one of the values that schemas/reasons.py lists.",
)  # fmt: skip
DURATION = error(
    "row.duration", "Frames, frame rate and times do not fit together",
    "Boxes and captions slide along the clip.",
    "Cut the clip again, or drop the sample.",
)  # fmt: skip
BOXES = error(
    "row.boxes", "Boxes are broken or do not fit their clip",
    "Masks and crops are taken from the wrong place or the wrong frame.",
    "Track again, or drop the sample.",
)  # fmt: skip
SPLIT_COUNTS = error(
    "row.split-counts", "The manifest counts other samples per split than there are",
    "Somebody changed samples after publishing, or a file was lost.",
    "Publish again; --fix writes true counts.", Action.NONE,
)  # fmt: skip
LEDGER = error(
    "row.ledger", "The funnel and the rejects disagree",
    "Rows were lost silently: what is missing has no reason.",
    "Curate again; every dropped row must be in rejects/ with its reason.", Action.NONE,
)  # fmt: skip


def queries() -> Iterator[Query]:
    """Yield the checks of rows that are SQL."""
    for table, key in KEYS.items():
        yield _duplicates(table, key)
    for table, key, target in _LINKS:
        yield _orphans(table, key, target)
    yield from (_sample_clip(), _sample_track(), _reference_track(), _character_counts(), _twice())
    yield from (_unknown_split(), _unknown_kind(), _durations())
    yield from (_boxes("samples"), _boxes("tracks"))
    yield from (_ranges("samples", _SAMPLE_RANGES), _ranges("clips", _CLIP_RANGES))
    yield _ranges("refs", _REFERENCE_RANGES)


def _level(table: str) -> str:
    return "reference" if table == "refs" else table.removesuffix("s")


def _own_sample(table: str) -> str:
    return "sample_id" if table in ("samples", "refs") else "''"


def _duplicates(table: str, key: tuple[str, ...]) -> Query:
    columns = ", ".join(key)
    sample = "min(sample_id)" if table == "samples" else "''"
    return Query(
        DUPLICATE_KEY, _level(table),
        f"SELECT min({key[0]}) AS id, {sample} AS sample_id,"
        f" count(*) || ' rows in {table}' AS evidence, count(*) AS value, 1 AS threshold"
        f" FROM {table} GROUP BY {columns} HAVING count(*) > 1",
        tuple(f"{table}.{name}" for name in key), table,
    )  # fmt: skip


def _orphans(table: str, key: str, target: str) -> Query:
    own = {"refs": "reference_id", "suspects": "character_id"}.get(table) or KEYS[table][0]
    return Query(
        ORPHAN, _level(table),
        f"SELECT t.{own} AS id, {_own_sample(table)} AS sample_id,"
        f" '{key} ' || coalesce(t.{key}, 'missing') || ' is not in {target}' AS evidence,"
        f" NULL AS value, NULL AS threshold FROM {table} t"
        f" ANTI JOIN {target} o ON t.{key} = o.{key}",
        (f"{table}.{key}", f"{table}.{own}", f"{target}.{key}"), table,
    )  # fmt: skip


def _differs(columns: dict[str, str]) -> str:
    """Return SQL that lists what differs, NULL when nothing does."""
    parts = [f"CASE WHEN {condition} THEN '{name}' END" for name, condition in columns.items()]
    return f"nullif(concat_ws(', ', {', '.join(parts)}), '')"


def _sample_clip() -> Query:
    equal = ("video_id", "shot_id", "width", "height", "num_frames")
    near = ("fps", "start_s", "end_s")
    columns = {name: f"s.{name} <> c.{name}" for name in equal}
    columns |= {name: f"abs(s.{name} - c.{name}) > 1e-3" for name in near}
    return Query(
        DISAGREES, "sample",
        "SELECT sample_id AS id, sample_id, what || ' differ from the clip''s row' AS evidence,"
        " NULL AS value, NULL AS threshold FROM (SELECT s.sample_id,"
        f" {_differs(columns)} AS what FROM samples s JOIN clips c USING (clip_id))"
        " WHERE what IS NOT NULL",
        ("samples.clip_id", "clips.clip_id", "clips.video_id"), "samples",
    )  # fmt: skip


def _sample_track() -> Query:
    columns = {
        "clip_id": "s.clip_id <> t.clip_id",
        "character_id": "s.character_id <> t.character_id",
        "first_frame": "s.first_frame <> t.first_frame",
        "the number of boxes": "s.num_boxes <> t.num_boxes",
    }
    return Query(
        DISAGREES, "sample",
        "SELECT sample_id AS id, sample_id, what || ' differ from the track''s row' AS evidence,"
        " NULL AS value, NULL AS threshold FROM (SELECT s.sample_id,"
        f" {_differs(columns)} AS what FROM samples s JOIN tracks t USING (track_id))"
        " WHERE what IS NOT NULL",
        ("samples.track_id", "tracks.track_id", "tracks.character_id"), "samples",
    )  # fmt: skip


def _reference_track() -> Query:
    columns = {"clip_id": "r.clip_id <> t.clip_id", "video_id": "r.video_id <> t.video_id"}
    return Query(
        DISAGREES, "reference",
        "SELECT reference_id AS id, sample_id, what || ' differ from the track''s row' AS evidence,"
        " NULL AS value, NULL AS threshold FROM (SELECT r.reference_id, r.sample_id,"
        f" {_differs(columns)} AS what FROM refs r JOIN tracks t USING (track_id))"
        " WHERE what IS NOT NULL",
        ("refs.track_id", "refs.clip_id", "tracks.track_id", "tracks.clip_id"), "refs",
    )  # fmt: skip


def _character_counts() -> Query:
    of = {"tracks": "track_id", "clips": "clip_id", "shots": "shot_id", "videos": "video_id"}
    columns = {f"num_{name}": f"c.num_{name} <> t.{name}" for name in of}
    counts = ", ".join(f"count(DISTINCT {key}) AS {name}" for name, key in of.items())
    return Query(
        DISAGREES, "character",
        "SELECT character_id AS id, '' AS sample_id, what || ' differ from its tracks'' rows'"
        " AS evidence, NULL AS value, NULL AS threshold FROM (SELECT c.character_id,"
        f" {_differs(columns)} AS what FROM characters c JOIN (SELECT character_id, {counts}"
        " FROM tracks GROUP BY 1) t USING (character_id)) WHERE what IS NOT NULL",
        ("characters.character_id", "characters.num_tracks", "tracks.character_id"), "characters",
    )  # fmt: skip


def _twice() -> Query:
    return Query(
        DUPLICATE_SAMPLE, "sample",
        "SELECT max(sample_id) AS id, max(sample_id) AS sample_id,"
        " count(*) || ' samples of track ' || track_id AS evidence, count(*) AS value,"
        " 1 AS threshold FROM samples GROUP BY clip_id, track_id"
        " HAVING count(DISTINCT sample_id) > 1",
        ("samples.sample_id", "samples.clip_id", "samples.track_id"), "samples",
    )  # fmt: skip


def _listed(values: type[Split] | type[PairKind]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _unknown_split() -> Query:
    return Query(
        UNKNOWN, "sample",
        "SELECT sample_id AS id, sample_id, 'split ' || coalesce('''' || split || '''', 'missing')"
        " AS evidence, NULL AS value, NULL AS threshold FROM samples"
        f" WHERE coalesce(split, '') NOT IN ({_listed(Split)})",
        ("samples.sample_id", "samples.split"), "samples",
    )  # fmt: skip


def _unknown_kind() -> Query:
    return Query(
        UNKNOWN, "reference",
        "SELECT reference_id AS id, sample_id, 'kind ' || coalesce('''' || kind || '''', 'missing')"
        " AS evidence, NULL AS value, NULL AS threshold FROM refs"
        f" WHERE coalesce(kind, '') NOT IN ({_listed(PairKind)})",
        ("refs.reference_id", "refs.kind"), "refs",
    )  # fmt: skip


def _durations() -> Query:
    return Query(
        DURATION, "sample",
        "SELECT sample_id AS id, sample_id, num_frames || ' frames at ' || round(fps, 3)"
        " || '/s for ' || round(end_s - start_s, 3) || ' s' AS evidence, num_frames AS value,"
        " (end_s - start_s) * fps AS threshold FROM samples"
        " WHERE fps > 0 AND abs(num_frames - (end_s - start_s) * fps)"
        " > greatest(3, 0.1 * num_frames)",
        tuple(f"samples.{name}" for name in ("num_frames", "fps", "start_s", "end_s")), "samples",
    )  # fmt: skip


def _boxes(table: str) -> Query:
    key = KEYS[table][0]
    frames = "t.num_frames" if table == "samples" else "c.num_frames"
    join = "" if table == "samples" else " LEFT JOIN clips c USING (clip_id)"
    columns = {
        "boxes that are not finite or turned inside out": "t.bad_boxes <> 0",
        "no box": "t.num_boxes = 0",
        "boxes beyond the last frame": f"t.first_frame + t.num_boxes > {frames}",
        "a first frame before the clip": "t.first_frame < 0",
    }
    if table == "samples":
        columns["boxes outside the picture"] = "t.outside > 0.1 * greatest(t.width, t.height)"
    return Query(
        BOXES, _level(table),
        f"SELECT {key} AS id, {_own_sample(table)} AS sample_id, what AS evidence, NULL AS value,"
        f" NULL AS threshold FROM (SELECT t.*, {_differs(columns)} AS what"
        f" FROM {table} t{join}) WHERE what IS NOT NULL",
        (f"{table}.{key}", f"{table}.boxes", f"{table}.first_frame"), table,
    )  # fmt: skip


_SHARE = "{0} IS NOT NULL AND ({0} < -1e-4 OR {0} > 1 + 1e-4 OR isnan({0}))"
_POSITIVE = "{0} IS NOT NULL AND ({0} <= 0 OR isnan({0}) OR isinf({0}))"
_NOT_NEGATIVE = "{0} IS NOT NULL AND ({0} < 0 OR isnan({0}) OR isinf({0}))"
_SAMPLE_RANGES = {
    "fps": _POSITIVE, "brightness": _SHARE, "purity": _SHARE, "coverage": _SHARE,
    "area": _SHARE, "face_rate": _SHARE, "sharpness": _NOT_NEGATIVE, "motion": _NOT_NEGATIVE,
    "camera_motion": "{0} IS NOT NULL AND ({0} < 0 OR isinf({0}))",  # NaN: nothing to tell it by
}  # fmt: skip
_CLIP_RANGES = {
    "fps": _POSITIVE, "scale": _POSITIVE, "brightness": _SHARE, "dark": _SHARE, "bright": _SHARE,
    "black_border": _SHARE, "text_area": _SHARE, "sharpness": _NOT_NEGATIVE,
    "motion": _NOT_NEGATIVE,
}  # fmt: skip
_REFERENCE_RANGES = {
    "similarity": "{0} IS NULL OR {0} < -1 - 1e-3 OR {0} > 1 + 1e-3 OR isnan({0})",
    "quality": _SHARE, "time_s": _NOT_NEGATIVE,
}  # fmt: skip


def _ranges(table: str, ranges: dict[str, str]) -> Query:
    key = "reference_id" if table == "refs" else KEYS[table][0]
    parts = [
        f"CASE WHEN {condition.format(name)} THEN '{name} ' || coalesce({name}::VARCHAR, 'missing')"
        " END"
        for name, condition in ranges.items()
    ]
    if table == "samples":
        parts += [
            f"CASE WHEN {name} <= 0 THEN '{name} ' || {name} END"
            for name in ("width", "height", "num_frames")
        ]
        parts += ["CASE WHEN end_s <= start_s THEN 'it ends before it starts' END"]
    return Query(
        RANGE, _level(table),
        f"SELECT {key} AS id, {_own_sample(table)} AS sample_id, what AS evidence, NULL AS value,"
        f" NULL AS threshold FROM (SELECT *, nullif(concat_ws(', ', {', '.join(parts)}), '')"
        f" AS what FROM {table}) WHERE what IS NOT NULL",
        (f"{table}.{key}",), table,
    )  # fmt: skip


def check_counts(dataset: Dataset, index: AuditIndex) -> Iterator[Finding]:
    """Compare the manifest's splits and funnel with the rows."""
    if dataset.manifest is None:
        return
    if index.has("samples.split"):
        there = dict(index.rows("SELECT split, count(*) FROM samples GROUP BY 1"))
        listed = {name: number for name, number in dataset.manifest.splits.items() if number}
        for name in sorted(set(there) | set(listed), key=str):
            if there.get(name, 0) != listed.get(name, 0):
                evidence = f"{there.get(name, 0)} samples in {name}, {listed.get(name, 0)} counted"
                yield found(SPLIT_COUNTS, "dataset", str(name), evidence)
    if index.has("rejects.stage", "rejects.level"):
        rejects = index.rows(
            "SELECT stage, level, sum(coalesce(number, 1)) FROM rejects GROUP BY 1, 2"
        )
        there = {(stage, level): number for stage, level, number in rejects}
        listed = [row for row in dataset.manifest.funnel if row.stage != FORGET]
        rows = {(row.stage, row.level): row.rejected + row.failed for row in listed}
        for stage, level in sorted(set(there) | set(rows)):
            ledger, counted = there.get((stage, level), 0), rows.get((stage, level), 0)
            if ledger != counted:
                evidence = f"{stage}, {level}: {counted} dropped, {ledger} in rejects/"
                yield found(LEDGER, "dataset", f"{stage}/{level}", evidence)


COUNTS = (SPLIT_COUNTS, LEDGER)
CHECKS: tuple[Check, ...] = (
    *dict.fromkeys(itertools.chain((query.check for query in queries()), COUNTS)),
)  # fmt: skip
