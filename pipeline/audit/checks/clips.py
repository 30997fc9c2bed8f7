"""Clips by their measured columns, against the dataset's own gate."""

from collections.abc import Iterator, Mapping

from pipeline.audit.finding_store import Query
from pipeline.audit.findings import Check, note, warning
from pipeline.audit.limits import variable
from schemas.thresholds import PEOPLE, QUALITY, SCORES, Threshold

_LOOSE = "Drop the clip, or set pair.{0} and pair again; no video is decoded for that."


def _clip(id: str, title: str, why: str, name: str) -> Check:
    return warning(f"clip.{id}", title, why, _LOOSE.format(f"quality.{name}"))


BLURRY = _clip("blurry", "A clip is blurred", "The model learns to blur.", "min_sharpness")
DARK = _clip("dark", "A clip is dark", "The person cannot be made out.", "max_dark")
BRIGHT = _clip("bright", "A clip is blown out", "What is white holds no person.", "max_bright")
FLAT = _clip("flat", "A clip has hardly any contrast", "Fog or a blank card.", "min_contrast")
BORDER = _clip(
    "border", "A clip has black bars", "The model learns to draw bars.", "max_black_border"
)
STILL = _clip(
    "still", "A clip hardly moves", "A photograph teaches that video stands still.", "min_motion"
)
FAST = _clip("fast", "A clip is torn by motion", "Torn footage or a shaken camera.", "max_motion")
TEXT = _clip(
    "text", "A clip has burned-in text", "The model learns to write subtitles.", "max_text_area"
)
NOT_SAFE = warning(
    "safety.nsfw", "A clip is probably not safe for work",
    "The model learns to show it, and people who work with the dataset see it.",
    _LOOSE.format("scores.max_nsfw"),
)  # fmt: skip
WATERMARKED = warning(
    "clip.watermarked", "A clip bears a watermark, as scored",
    "The model learns to draw watermarks.", _LOOSE.format("scores.max_watermark"),
)  # fmt: skip
LETTERED = warning(
    "clip.lettered", "A clip is full of text, as scored", "The model learns to write.",
    _LOOSE.format("scores.max_text"),
)  # fmt: skip
UNPLEASING = warning(
    "clip.unpleasing", "A clip is not pleasing, as scored", "Results will look like it.",
    _LOOSE.format("scores.min_aesthetic"),
)  # fmt: skip
CROWDED = warning(
    "clip.crowded", "More people than can be told apart",
    "Captions and boxes may speak of somebody else.",
    "Lower pair.people.max_people and pair again.",
)  # fmt: skip
SMALL = warning(
    "clip.small-person", "The person is small in the picture",
    "A face of a few pixels carries no identity.", "Raise pair.people.min_area and pair again.",
)  # fmt: skip
UNSTEADY = note(
    "clip.source-rate", "A source has a variable frame rate",
    "Clips are cut to a constant rate; motion may stutter where frames were repeated.",
    "Look at a clip or two.",
)  # fmt: skip

CHECK_OF: Mapping[str, Check] = {  # by the setting of the threshold that a clip does not pass
    "pair.quality.min_brightness": DARK,
    "pair.quality.max_dark": DARK,
    "pair.quality.max_bright": BRIGHT,
    "pair.quality.min_contrast": FLAT,
    "pair.quality.max_black_border": BORDER,
    "pair.quality.min_sharpness": BLURRY,
    "pair.quality.min_motion": STILL,
    "pair.quality.max_motion": FAST,
    "pair.quality.max_text_area": TEXT,
    "pair.scores.max_nsfw": NOT_SAFE,
    "pair.scores.max_watermark": WATERMARKED,
    "pair.scores.max_text": LETTERED,
    "pair.scores.min_aesthetic": UNPLEASING,
    "pair.people.max_people": CROWDED,
    "pair.people.min_area": SMALL,
}


def queries(has: Mapping[str, bool]) -> Iterator[Query]:
    """Yield the checks of clips; `has` says which columns of clips there are."""
    for threshold in QUALITY:
        yield _beyond(threshold, "clips" if has.get(threshold.measure) else "samples")
    evidence = {"pair.people.max_people": "'people ' || num_people",
                "pair.people.min_area": "'area ' || round(area, 4)"}  # fmt: skip
    for threshold in PEOPLE:
        if threshold.setting in evidence:
            yield _sample_beyond(threshold, evidence[threshold.setting])
    yield Query(
        UNSTEADY, "video",
        "SELECT video_id AS id, '' AS sample_id, 'variable frame rate, ' || round(fps, 2)"
        " || ' on average' AS evidence, NULL AS value, NULL AS threshold FROM videos"
        " SEMI JOIN samples USING (video_id) WHERE NOT constant_fps",
        ("videos.constant_fps", "samples.video_id"), "videos",
    )  # fmt: skip


def score_queries() -> Iterator[tuple[Threshold, Query]]:
    """Yield the checks of what scorers said, each with its threshold."""
    for threshold in SCORES:
        yield threshold, _beyond(threshold, "clips")


def _beyond(threshold: Threshold, table: str) -> Query:
    source = "samples s JOIN clips c USING (clip_id)" if table == "clips" else "samples s"
    measure, limit = threshold.measure, f"getvariable('{variable(threshold)}')"
    column = f"{'c' if table == 'clips' else 's'}.{measure}"
    if table == "clips" and measure in ("dark", "bright"):  # people decide, as in the gate
        column = f"least({column}, coalesce(c.person_{measure}, {column}))"  # NaN is the greatest
    slack = "- 1e-6" if threshold.side == "min" else "+ 1e-6"
    return Query(
        CHECK_OF[threshold.setting], "clip",
        f"SELECT s.clip_id AS id, s.sample_id, '{measure} ' || round({column}, 4)"
        f" AS evidence, {column} AS value, {limit} AS threshold FROM {source}"
        f" WHERE {column} {threshold.sign} {limit} {slack}",
        (f"{table}.{measure}",), "samples",
    )  # fmt: skip


def _sample_beyond(threshold: Threshold, evidence: str) -> Query:
    column, limit = threshold.measure, f"getvariable('{variable(threshold)}')"
    return Query(
        CHECK_OF[threshold.setting], "sample",
        f"SELECT sample_id AS id, sample_id, {evidence} AS evidence, {column} AS value,"
        f" {limit} AS threshold FROM samples WHERE {column} {threshold.sign} {limit}",
        (f"samples.{column}",), "samples",
    )  # fmt: skip
