"""Identity vectors: sound, of one recogniser, and in agreement with the pairs built on them."""

from collections.abc import Iterator

from pipeline.audit.checks.corrections import SAME_BY_DECISION
from pipeline.audit.checks.pairs import COPY
from pipeline.audit.finding_store import Query
from pipeline.audit.findings import Action, Check, error, warning

NOT_FINITE = error(
    "vector.not-finite", "An identity vector has no direction",
    "NaN compares false with everything: gates that use it pass or fail silently.",
    "Embed the images again; drop the samples that rest on it.",
)  # fmt: skip
DIMENSION = error(
    "vector.dimension", "Identity vectors differ in length",
    "Two versions of a recogniser were mixed; their cosines do not compare.",
    "Observe all videos with one of them.", Action.NONE,
)  # fmt: skip
NOT_UNIT = error(
    "vector.not-unit", "An identity vector is not of unit length",
    "Scores computed as dot products are scaled by it: thresholds mean something else.",
    "Divide by the length, or embed again.", Action.NONE,
)  # fmt: skip
MIXED = error(
    "vector.mixed", "Two recognisers are mixed",
    "Cosines of different recognisers do not compare; a threshold holds for one of them.",
    "Observe all videos with one of them.", Action.NONE,
)  # fmt: skip
MISSING = warning(
    "vector.missing", "A reference has no identity vector",
    "Nobody can confirm whom it shows.",
    "Embed it, or accept that it is unproven.",
)  # fmt: skip
DIFFERS = error(
    "pair.similarity-differs", "The stored similarity is not that of the two vectors",
    "The pair was joined from wrong rows, or the image was exchanged after scoring.",
    "Pair again; a pair must be one row with both ids and its similarity.",
)  # fmt: skip
WRONG_IDENTITY = error(
    "pair.wrong-identity", "A reference shows somebody else",
    "Its identity vector is below the recogniser's floor to the clip's track.",
    "Drop the sample, or choose other references.",
)  # fmt: skip

_SOUND = "{0}.length > 1e-6 AND NOT isnan({0}.length) AND NOT isinf({0}.length)"
_TOLERANCE = 0.02  # of a cosine: vectors are stored as float32, scores rounded
_COLUMNS = ("embeddings.track_id", "embeddings.reference_id", "embeddings.vector")
_FLOOR = (
    "CASE WHEN kind IN ('cross_video', 'edited') THEN getvariable('cross_floor')"
    " ELSE getvariable('floor') END"
)


def _sample_of_track(alias: str = "e") -> str:
    return f"(SELECT min(sample_id) FROM samples s WHERE s.track_id = {alias}.track_id)"


def queries() -> Iterator[Query]:
    """Yield the checks of single vectors."""
    yield from (_row(NOT_FINITE, f"NOT ({_SOUND.format('e')})", "'length ' || e.length"),)
    yield _row(
        NOT_UNIT, f"{_SOUND.format('e')} AND abs(e.length - 1) > 0.01",
        "'length ' || round(e.length, 4)", "e.length", "1",
    )  # fmt: skip
    yield _row(
        DIMENSION, "e.dimension <> (SELECT mode(dimension) FROM embeddings)",
        "e.dimension || ' numbers'", "e.dimension", "(SELECT mode(dimension) FROM embeddings)",
    )  # fmt: skip
    recogniser = "e.recogniser || ' ' || e.weights_digest"
    usual = "(SELECT mode(recogniser || ' ' || weights_digest) FROM embeddings)"
    yield Query(
        MIXED, "track",
        f"SELECT e.track_id AS id, '' AS sample_id, {recogniser} || ', most are ' || {usual}"
        f" AS evidence, NULL AS value, NULL AS threshold FROM embeddings e"
        f" WHERE {recogniser} <> {usual}",
        (*_COLUMNS, "embeddings.recogniser", "embeddings.weights_digest"), "embeddings",
    )  # fmt: skip
    usual = "(SELECT mode(recogniser) FROM embeddings)"
    yield Query(
        MIXED, "reference",
        f"SELECT reference_id AS id, sample_id, 'scored by ' || recogniser || ', the vectors are '"
        f" || {usual} AS evidence, NULL AS value, NULL AS threshold FROM refs"
        f" WHERE recogniser <> {usual}",
        (*_COLUMNS, "embeddings.recogniser", "refs.recogniser"), "refs",
    )  # fmt: skip
    usual = "(SELECT mode(recogniser) FROM refs)"
    yield Query(
        MIXED, "reference",
        f"SELECT reference_id AS id, sample_id, 'scored by ' || recogniser || ', most by '"
        f" || {usual} AS evidence, NULL AS value, NULL AS threshold FROM refs"
        f" WHERE recogniser <> {usual} AND NOT EXISTS (SELECT 1 FROM embeddings)",
        ("refs.recogniser",), "refs",
    )  # fmt: skip
    yield Query(
        MISSING, "reference",
        "SELECT r.reference_id AS id, r.sample_id, 'not in embeddings/' AS evidence, NULL AS value,"
        " NULL AS threshold FROM refs r ANTI JOIN embeddings e USING (reference_id)",
        (*_COLUMNS, "refs.reference_id"), "refs",
    )  # fmt: skip


def _row(
    check: Check, where: str, evidence: str, value: str = "NULL", threshold: str = "NULL"
) -> Query:
    return Query(
        check, "vector",
        f"SELECT coalesce(nullif(e.reference_id, ''), e.track_id) AS id,"
        f" {_sample_of_track()} AS sample_id, {evidence} AS evidence, {value} AS value,"
        f" {threshold} AS threshold FROM embeddings e WHERE {where}",
        _COLUMNS, "embeddings",
    )  # fmt: skip


# Every pair's cosine, recomputed once for three checks.
PAIRS_SQL = (
    "CREATE OR REPLACE TABLE pair_cosines AS SELECT r.reference_id, r.sample_id, r.kind,"
    " r.similarity, r.augmentation, r.track_id AS shown, CASE WHEN e.dimension = t.dimension"
    " THEN list_cosine_similarity(e.vector, t.vector) END AS cosine, s.track_id"
    " FROM refs r JOIN samples s USING (sample_id)"
    " JOIN embeddings e ON e.reference_id = r.reference_id"
    " JOIN embeddings t ON t.track_id = s.track_id AND t.reference_id = ''"
    f" WHERE {_SOUND.format('e')} AND {_SOUND.format('t')} AND coalesce(r.compared, '') = ''"
    " AND e.recogniser = t.recogniser AND e.weights_digest = t.weights_digest"
)


def pair_queries() -> Iterator[Query]:
    """Yield the checks of pairs by their vectors; `pair_cosines` must be there."""
    needs = (*_COLUMNS, "refs.similarity", "samples.track_id")
    yield Query(
        DIFFERS, "reference",
        "SELECT reference_id AS id, sample_id, 'stored ' || round(similarity, 3) || ', the vectors"
        " say ' || round(cosine, 3) AS evidence, similarity AS value, cosine AS threshold"
        f" FROM pair_cosines WHERE abs(similarity - cosine) > {_TOLERANCE}",
        needs, "pair_cosines",
    )  # fmt: skip
    yield Query(
        WRONG_IDENTITY, "reference",
        "SELECT reference_id AS id, sample_id, kind || ': cosine ' || round(cosine, 3)"
        f" AS evidence, cosine AS value, {_FLOOR} AS threshold FROM pair_cosines"
        f" WHERE cosine < {_FLOOR} - {_TOLERANCE}"
        f" AND NOT {SAME_BY_DECISION.format('pair_cosines.track_id', 'shown')}",
        needs, "pair_cosines",
    )  # fmt: skip
    yield Query(
        COPY, "reference",
        "SELECT p.reference_id AS id, min(p.sample_id) AS sample_id, min(p.kind)"
        " || ': cosine ' || round(max(list_cosine_similarity(e.vector, o.vector)), 4)"
        " || ' to a picture of the clip' AS evidence,"
        " max(list_cosine_similarity(e.vector, o.vector)) AS value,"
        " getvariable('ceiling') AS threshold FROM pair_cosines p"
        " JOIN embeddings e ON e.reference_id = p.reference_id"
        " JOIN embeddings o ON o.track_id = p.track_id AND o.reference_id <> ''"
        " AND o.dimension = e.dimension AND o.reference_id <> p.reference_id"
        " WHERE coalesce(p.augmentation, '') = '' AND p.similarity < getvariable('ceiling')"
        " GROUP BY p.reference_id, p.sample_id"
        " HAVING max(list_cosine_similarity(e.vector, o.vector)) >= getvariable('ceiling')",
        needs, "pair_cosines",
    )  # fmt: skip
