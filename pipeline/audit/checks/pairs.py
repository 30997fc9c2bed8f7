"""Pairs of clip and reference: is it the right person, and not a copy of the clip?"""

from collections.abc import Iterator

from pipeline.audit.checks.corrections import SAME_BY_DECISION
from pipeline.audit.finding_store import Query
from pipeline.audit.findings import error, warning

KIND = error(
    "pair.kind", "The pair kind contradicts the ids",
    "Copies are counted as cross-video pairs, and curricula by kind teach the wrong thing.",
    "Pair again; a kind follows from the ids and times of both ends.",
)  # fmt: skip
INSIDE = error(
    "pair.inside-clip", "The reference lies inside the clip that it is paired with",
    "The model learns to paste the reference instead of to film the person.",
    "Take the reference from another shot, or augment it and call it in_clip_augmented.",
)  # fmt: skip
UNAUGMENTED = error(
    "pair.unaugmented", "A reference from inside its clip was not changed",
    "It is a picture of the clip itself: copying it is the easiest answer.",
    "Augment it, or drop the sample.",
)  # fmt: skip
TIME = error(
    "pair.time", "Time or gap of a reference is not what its clip says",
    "The image and the row that describes it come from different moments.",
    "Pair again; image and time must come from one candidate row.",
)  # fmt: skip
OTHER_CHARACTER = error(
    "pair.other-character", "The reference shows another character than the sample",
    "The model is taught that two people are one.",
    "Drop the sample, or pair again.",
)  # fmt: skip
LOW_SIMILARITY = error(
    "pair.low-similarity", "A reference is less like its clip than one person may be",
    "Below the recogniser's floor it is somebody else for nearly every pair.",
    "Drop the sample, or choose other references.",
)  # fmt: skip
NO_REFERENCE = error(
    "pair.no-reference", "A sample has no reference", "There is nothing to be consistent with.",
    "Drop the sample.",
)  # fmt: skip
TOO_NEAR = warning(
    "pair.too-near", "An unchanged reference of the same shot is close in time",
    "Seconds apart, pose, light and expression are the clip's own.",
    "Take one from further away, or augment it.",
)  # fmt: skip
COPY = warning(
    "pair.copy-vector", "A reference is nearly the same picture as one of the clip",
    "Its identity vector is the clip's: the model may copy instead of understand.",
    "Take another reference, or augment it.",
)  # fmt: skip
LOW_QUALITY = warning(
    "pair.low-quality", "A reference is of low quality",
    "A blurred or cut-off person says little about who it is.",
    "Choose another, or raise pair.references.min_quality and pair again.",
)  # fmt: skip
TWICE = warning(
    "pair.reference-twice", "A sample lists one image twice",
    "The second adds nothing and weighs the first double.", "Drop the repetition.",
)  # fmt: skip
MIRRORED = warning(
    "pair.mirrored", "A reference is mirrored",
    "Lettering, partings, scars and asymmetric clothes are the wrong way round.",
    "Set pair.augment.flip to 0 and pair again.",
)  # fmt: skip
EDIT_DRIFT = warning(
    "pair.edit-drift", "An edited reference has drifted from the person",
    "Editors change skin, age and hair; below 0.7 people see another person.",
    "Drop the edit, or edit again with another seed.",
)  # fmt: skip

_INSIDE = (
    "(r.video_id = s.video_id AND (r.clip_id = s.clip_id"
    " OR (r.time_s >= s.start_s AND r.time_s < s.end_s)))"
)
_GAP = "greatest(s.start_s - r.time_s, r.time_s - s.end_s, 0)"
_PAIRS = "refs r JOIN samples s USING (sample_id)"
_IDS = ("refs.reference_id", "samples.sample_id", "refs.video_id", "refs.clip_id", "refs.time_s",
        "samples.start_s", "samples.end_s")  # fmt: skip
_EDIT_FLOOR = 0.7  # Movie Gen's, for ArcFace; another recogniser's floor is checked apart


def _pairs(
    evidence: str, where: str, value: str = "NULL", threshold: str = "NULL", tables: str = _PAIRS
) -> str:
    return (
        f"SELECT r.reference_id AS id, r.sample_id, {evidence} AS evidence, {value} AS value,"
        f" {threshold} AS threshold FROM {tables} WHERE {where}"
    )


def queries() -> Iterator[Query]:
    """Yield the checks of pairs that are SQL."""
    yield from (_kind(), _inside(), _unaugmented(), _clip_time(), _gap(), _too_near())
    yield from (_other_character(), _low_similarity(), _copies(), _low_quality())
    yield from (_no_reference(), _reference_twice(), _mirrored(), _edit_drift())


def _kind() -> Query:
    true = "CASE WHEN r.video_id <> s.video_id THEN 'cross_video' ELSE 'same video' END"
    wrong = (
        "(r.kind = 'cross_video') <> (r.video_id <> s.video_id)"
        f" OR (r.kind = 'in_clip_augmented' AND NOT {_INSIDE})"
    )
    evidence = f"r.kind || ', but the ids say ' || {true}"
    return Query(KIND, "reference", _pairs(evidence, wrong), ("refs.kind", *_IDS), "refs")


def _inside() -> Query:
    evidence = (
        "r.kind || ' at ' || round(r.time_s, 2) || ' s, the clip is ' || round(s.start_s, 2)"
        " || ' to ' || round(s.end_s, 2) || ' s'"
    )
    sql = _pairs(evidence, f"r.kind <> 'in_clip_augmented' AND {_INSIDE}")
    return Query(INSIDE, "reference", sql, ("refs.kind", *_IDS), "refs")


def _unaugmented() -> Query:
    where = "r.kind = 'in_clip_augmented' AND coalesce(r.augmentation, '') = ''"
    sql = _pairs("'in_clip_augmented without a recipe'", where)
    return Query(UNAUGMENTED, "reference", sql, ("refs.kind", "refs.augmentation"), "refs")


def _clip_time() -> Query:
    sql = _pairs(
        "'taken at ' || round(r.time_s, 2) || ' s, its clip is ' || round(c.start_s, 2) || ' to '"
        " || round(c.end_s, 2) || ' s'",
        "r.time_s < c.start_s - 0.25 OR r.time_s > c.end_s + 0.25",
        tables="refs r JOIN clips c USING (clip_id)",
    )
    return Query(TIME, "reference", sql, ("refs.time_s", "clips.clip_id", "clips.start_s"), "refs")


def _gap() -> Query:
    true = f"CASE WHEN r.video_id = s.video_id THEN {_GAP} END"
    wrong = (
        f"r.video_id = s.video_id AND (isnan(r.time_gap_s) OR abs(r.time_gap_s - {_GAP}) > 0.05)"
    )
    evidence = f"'gap ' || round(r.time_gap_s, 2) || ' s, the times say ' || round({true}, 2)"
    sql = _pairs(evidence, wrong, "r.time_gap_s", true)
    return Query(TIME, "reference", sql, ("refs.time_gap_s", *_IDS), "refs")


def _too_near() -> Query:
    where = (
        "r.kind = 'same_shot_other_clip' AND coalesce(r.augmentation, '') = ''"
        f" AND {_GAP} < getvariable('min_gap_s')"
    )
    evidence = f"round({_GAP}, 2) || ' s outside the clip'"
    sql = _pairs(evidence, where, _GAP, "getvariable('min_gap_s')")
    return Query(TOO_NEAR, "reference", sql, ("refs.kind", "refs.augmentation", *_IDS), "refs")


def _other_character() -> Query:
    tables = f"{_PAIRS} JOIN tracks t ON t.track_id = r.track_id"
    where = "t.character_id <> s.character_id"
    evidence = "'shows ' || coalesce(nullif(t.character_id, ''), 'nobody') || ', the sample ' "
    sql = _pairs(evidence + "|| s.character_id", where, tables=tables)
    needs = ("refs.track_id", "tracks.character_id", "samples.character_id")
    return Query(OTHER_CHARACTER, "reference", sql, needs, "refs")


def _floor() -> str:
    return (
        "CASE WHEN r.kind IN ('cross_video', 'edited') THEN getvariable('cross_floor')"
        " ELSE getvariable('floor') END"
    )


def _low_similarity() -> Query:
    evidence = "r.kind || ': cosine ' || round(r.similarity, 3)"
    decided = SAME_BY_DECISION.format("s.track_id", "r.track_id")
    where = f"r.similarity < {_floor()} - 1e-4 AND NOT {decided} AND coalesce(r.compared, '') = ''"
    sql = _pairs(evidence, where, "r.similarity", _floor())
    return Query(LOW_SIMILARITY, "reference", sql, ("refs.similarity", "refs.kind"), "refs")


def _copies() -> Query:
    where = "r.similarity >= getvariable('ceiling') AND coalesce(r.augmentation, '') = ''"
    evidence = "r.kind || ': cosine ' || round(r.similarity, 4) || ' to the clip''s track'"
    sql = _pairs(evidence, where, "r.similarity", "getvariable('ceiling')")
    return Query(COPY, "reference", sql, ("refs.similarity", "refs.augmentation"), "refs")


def _low_quality() -> Query:
    sql = _pairs(
        "'quality ' || round(r.quality, 3)", "r.quality < getvariable('min_quality') - 1e-6",
        "r.quality", "getvariable('min_quality')",
    )  # fmt: skip
    return Query(LOW_QUALITY, "reference", sql, ("refs.quality",), "refs")


def _no_reference() -> Query:
    sql = (
        "SELECT sample_id AS id, sample_id, 'an empty list' AS evidence, 0 AS value,"
        " 1 AS threshold FROM samples WHERE coalesce(num_references, 0) = 0"
    )
    return Query(NO_REFERENCE, "sample", sql, ("samples.references",), "samples")


def _reference_twice() -> Query:
    sql = (
        "SELECT min(reference_id) AS id, sample_id, count(*) || ' times' AS evidence,"
        " count(*) AS value, 1 AS threshold FROM refs GROUP BY sample_id, sha256"
        " HAVING count(*) > 1 AND sha256 <> ''"
    )
    return Query(TWICE, "reference", sql, ("refs.sha256",), "refs")


def _mirrored() -> Query:
    where = "regexp_matches(r.augmentation, '\"flip\": ?true')"
    sql = _pairs("'the recipe flips it'", where)
    return Query(MIRRORED, "reference", sql, ("refs.augmentation",), "refs")


def _edit_drift() -> Query:
    where = (
        "regexp_matches(r.augmentation, '\"(prompt|prompt_id|editor)\":')"
        f" AND r.similarity < {_EDIT_FLOOR}"
    )
    evidence = "'edited, cosine ' || round(r.similarity, 3)"
    sql = _pairs(evidence, where, "r.similarity", str(_EDIT_FLOOR))
    return Query(EDIT_DRIFT, "reference", sql, ("refs.augmentation", "refs.similarity"), "refs")
