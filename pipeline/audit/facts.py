"""What is in a dataset, in numbers: the figures behind the report's charts."""

from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.audit.index import AuditIndex
from pipeline.audit.limits import variable
from pipeline.audit.variety import Variety, variety_of
from schemas.reasons import PairKind
from schemas.thresholds import THRESHOLDS

BINS = 24
_ELSEWHERE = (PairKind.CROSS_VIDEO, PairKind.SAME_VIDEO_OTHER_SHOT)


@dataclass(frozen=True)
class Histogram:
    """How one number is spread; the first and last bin also hold what lies beyond."""

    name: str
    label: str
    low: float
    high: float
    counts: list[int]
    median: float
    limits: dict[str, float] = field(default_factory=dict)  # thresholds drawn as lines


@dataclass(frozen=True)
class Shares:
    """How often each value of a text column occurs, most frequent first."""

    name: str
    label: str
    counts: dict[str, int]


@dataclass(frozen=True)
class Identities:
    """How the samples are spread over the characters."""

    characters: int
    gini: float  # 0: all equal, 1: all samples are one character's
    top_share: float
    with_one_sample: int
    largest: list[tuple[str, int]]  # character, samples
    lorenz: list[float]  # cumulative share of the samples, fewest first, 0 to 1 in 50 steps
    per_clip: dict[int, int]  # characters in a clip -> clips


@dataclass(frozen=True)
class Worth:
    """How much of a dataset teaches more than copying; shares from 0 to 1."""

    real_pairs: float  # of samples with a reference from another shot or video
    augmented_only: float  # of samples whose references all show the clip's own moments
    two_looks: float  # of characters that are seen in two shots or more
    own_caption: float  # of samples whose caption no other clip has


@dataclass(frozen=True)
class DatasetFacts:
    """Everything that the report draws and `report.json` holds."""

    totals: dict[str, float]
    splits: dict[str, int]
    histograms: list[Histogram]
    shares: list[Shares]
    similarity: list[Histogram]  # one per pair kind
    identities: Identities
    kinds: dict[str, dict[str, int]]  # pair kind -> references, augmented
    worth: Worth
    variety: Variety

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_NUMBERS = (  # name, label, SQL over samples, the column whose thresholds are drawn
    ("duration_s", "Length of a clip, s", "num_frames / nullif(fps, 0)", ""),
    ("short_side", "Short side, px", "least(width, height)", ""),
    ("fps", "Frames a second", "fps", ""),
    ("motion", "Motion, px a frame at 256 px", "motion", "clips.motion"),
    ("sharpness", "Sharpness, variance of the Laplacian", "sharpness", "clips.sharpness"),
    ("brightness", "Brightness, 0 to 1", "brightness", "clips.brightness"),
    ("area", "Person's share of the picture", "area", "tracks.area"),
    ("face_rate", "Share of looks with a face", "face_rate", ""),
    ("purity", "Purity of the track", "purity", "tracks.purity"),
    ("caption_words", "Words in a caption", "len(string_split(trim(caption), ' '))", ""),
    ("num_references", "References of a sample", "num_references", ""),
)
_SCORES = (  # name of the column of clips, label; filled where a scorer was chosen
    ("aesthetic", "Aesthetic score, 1 to 10"),
    ("nsfw", "Probability of not safe for work"),
    ("watermark", "Probability of a watermark"),
    ("text", "Share of the picture scored as text"),
)
_TEXTS = (
    ("split", "Split"), ("shot_size", "Size of shot"), ("licence", "Licence"),
    ("source", "Source"), ("caption_engine", "Captions by"),
)  # fmt: skip


def gather(index: AuditIndex, variables: dict[str, Any], prefix: str = "") -> DatasetFacts:
    """Compute the facts of one dataset in the index."""
    samples, refs = f"{prefix}samples", f"{prefix}refs"
    scored = f"{prefix}clips SEMI JOIN {samples} USING (clip_id)"
    drawn = [
        histogram(index, name, label, sql, samples, limits=_bounds(column, variables))
        for name, label, sql, column in _NUMBERS
    ]
    drawn += [
        histogram(index, name, label, name, scored, limits=_bounds(f"clips.{name}", variables))
        for name, label in _SCORES
    ]
    min_quality = {"min_quality": variables["min_quality"]}
    drawn.append(histogram(index, "quality", "Quality of a reference", "quality", refs,
                           limits=min_quality))  # fmt: skip
    masks = {"min_mask_quality": variables["min_mask_quality"]}
    drawn.append(histogram(index, "mask_quality", "Quality of a mask", "mask_quality", refs,
                           limits=masks))  # fmt: skip
    shares = [shares_of(index, name, label, samples) for name, label in _TEXTS]
    return DatasetFacts(
        totals=_totals(index, prefix),
        splits=dict(
            index.rows(f"SELECT split, count(*) FROM {samples} GROUP BY 1 ORDER BY 2 DESC, 1")
        ),
        histograms=[histogram for histogram in drawn if histogram],
        shares=[share for share in shares if share.counts],
        similarity=_similarity(index, variables, refs),
        identities=_identities(index, samples),
        kinds=_kinds(index, refs),
        worth=_worth(index, samples, refs),
        variety=variety_of(index, prefix),
    )


def _bounds(column: str, variables: dict[str, Any]) -> dict[str, float | None]:
    """Return the bounds of a column by the names of their settings."""
    return {
        threshold.field: variables[variable(threshold)]
        for threshold in THRESHOLDS
        if threshold.column == column
    }


def _totals(index: AuditIndex, prefix: str) -> dict[str, float]:
    samples, refs = f"{prefix}samples", f"{prefix}refs"
    sql = (
        "SELECT count(*), count(DISTINCT clip_id), count(DISTINCT video_id),"
        " count(DISTINCT character_id), sum(num_frames / nullif(fps, 0)) / 3600 FROM "
    )
    row = index.fetch(sql + samples)[0]
    names = ("samples", "clips", "videos", "characters", "hours")
    totals = {name: float(value or 0) for name, value in zip(names, row, strict=True)}
    totals["references"] = float(index.value(f"SELECT count(*) FROM {refs}"))
    totals["images"] = float(index.value(f"SELECT count(DISTINCT reference_id) FROM {refs}"))
    return totals


def histogram(
    index: AuditIndex, name: str, label: str, sql: str, table: str, where: str = "true",
    limits: dict[str, float | None] | None = None, span: tuple[float, float] | None = None,
) -> Histogram | None:  # fmt: skip
    """Return a histogram between the outer half percents, None when there is nothing to show."""
    values = f"(SELECT ({sql})::DOUBLE AS x FROM {table} WHERE {where})"
    sound = f"FROM {values} WHERE x IS NOT NULL AND NOT isnan(x) AND NOT isinf(x)"
    row = index.fetch(
        f"SELECT quantile_cont(x, 0.005), quantile_cont(x, 0.995), median(x), count(*) {sound}"
    )[0]
    if not row[3]:
        return None
    low, high = span or (float(row[0]), float(row[1]))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    step = (high - low) / BINS
    counted = dict(
        index.fetch(
            f"SELECT least({BINS - 1}, greatest(0, floor((x - {low}) / {step})))::INT AS bin,"
            f" count(*) {sound} GROUP BY 1"
        )
    )
    drawn = {key: float(value) for key, value in (limits or {}).items() if value is not None}
    counts = [int(counted.get(bin, 0)) for bin in range(BINS)]
    return Histogram(name, label, low, high, counts, float(row[2]), drawn)


def shares_of(index: AuditIndex, name: str, label: str, table: str, most: int = 8) -> Shares:
    """Return the most frequent values of a text column; the rest together are 'others'."""
    rows = index.fetch(
        f"SELECT coalesce(nullif({name}, ''), '(none)'), count(*) FROM {table}"
        f" WHERE {name} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    counts = {str(value): int(number) for value, number in rows[:most]}
    rest = sum(number for _, number in rows[most:])
    return Shares(name, label, counts | ({"others": rest} if rest else {}))


def _similarity(index: AuditIndex, variables: dict[str, Any], refs: str) -> list[Histogram]:
    kinds = [row[0] for row in index.fetch(
        f"SELECT kind FROM {refs} WHERE kind IS NOT NULL GROUP BY 1"
        " ORDER BY count(*) DESC, 1 LIMIT 6"
    )]  # fmt: skip
    made = []
    low = index.value(f"SELECT min(similarity) FROM {refs} WHERE NOT isnan(similarity)")
    span = (min(0.0, float(low if low is not None else 0.0)), 1.0)
    for kind in kinds:
        strict = kind in (PairKind.CROSS_VIDEO, PairKind.EDITED)
        floor = variables["cross_floor" if strict else "floor"]
        quoted = "'" + kind.replace("'", "''") + "'"
        drawn = histogram(
            index, kind, kind.replace("_", " "), "similarity", refs, f"kind = {quoted}",
            {"floor": floor, "copy": variables["ceiling"]}, span,
        )  # fmt: skip
        made += [drawn] if drawn else []
    return made


def _kinds(index: AuditIndex, refs: str) -> dict[str, dict[str, int]]:
    rows = index.fetch(
        "SELECT kind, count(*), count(*) FILTER (coalesce(augmentation, '') <> '')"
        f" FROM {refs} WHERE kind IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return {kind: {"references": all_, "augmented": changed} for kind, all_, changed in rows}


def _worth(index: AuditIndex, samples: str, refs: str) -> Worth:
    elsewhere = f"({', '.join(repr(str(kind)) for kind in _ELSEWHERE)})"
    inside = repr(str(PairKind.IN_CLIP_AUGMENTED))
    paired = index.fetch(
        "SELECT avg(real::INT), avg(own::INT) FROM (SELECT sample_id,"
        f" bool_or(kind IN {elsewhere}) AS real, bool_and(kind = {inside}) AS own"
        f" FROM {refs} WHERE kind IS NOT NULL GROUP BY 1)"
    )[0]
    looks = index.value(
        f"SELECT avg((shots > 1)::INT) FROM (SELECT count(DISTINCT shot_id) AS shots"
        f" FROM {samples} GROUP BY character_id)"
    )
    alone = index.value(
        f"SELECT avg((clips = 1)::INT) FROM (SELECT count(DISTINCT clip_id)"
        f" OVER (PARTITION BY lower(caption)) AS clips FROM {samples})"
    )
    return Worth(*(round(float(share or 0), 6) for share in (*paired, looks, alone)))


def _identities(index: AuditIndex, samples: str) -> Identities:
    per = f"(SELECT character_id AS id, count(*) AS n FROM {samples} GROUP BY 1)"
    row = index.fetch(
        "SELECT count(*), coalesce(sum(n), 0), coalesce(max(n), 0), count(*) FILTER (n = 1),"
        f" coalesce(sum((2 * place - total - 1) * n), 0) FROM (SELECT n,"
        f" row_number() OVER (ORDER BY n) AS place, count(*) OVER () AS total FROM {per})"
    )[0]
    number, total, most, single, weighted = (float(value) for value in row)
    largest = index.fetch(f"SELECT id, n FROM {per} ORDER BY n DESC, id LIMIT 12")
    lorenz = index.fetch(
        "SELECT step, max(share) FROM (SELECT ceil(50 * place / total) AS step, share FROM"
        " (SELECT row_number() OVER w AS place, count(*) OVER () AS total,"
        f" sum(n) OVER w / sum(n) OVER () AS share FROM {per} WINDOW w AS (ORDER BY n, id"
        " ROWS UNBOUNDED PRECEDING))) GROUP BY 1 ORDER BY 1"
    )
    per_clip = index.fetch(
        f"SELECT k, count(*) FROM (SELECT count(DISTINCT character_id) AS k FROM {samples}"
        " GROUP BY clip_id) GROUP BY 1 ORDER BY 1"
    )
    return Identities(
        characters=int(number),
        gini=weighted / (number * total) if number and total else 0.0,
        top_share=most / total if total else 0.0,
        with_one_sample=int(single),
        largest=[(str(id), int(n)) for id, n in largest],
        lorenz=[0.0, *(float(share) for _, share in lorenz)],
        per_clip={int(k): int(n) for k, n in per_clip},
    )
