"""Clips by their measured columns, against the dataset's own gate."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.audit.book import Query
from pipeline.audit.findings import Check, note, warning

_LOOSE = "Drop the clip, or set quality.{0} and pair again; no video is decoded for that."


def _clip(id: str, title: str, why: str, name: str) -> Check:
    return warning(f"clip.{id}", title, why, _LOOSE.format(name))


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
CROWDED = warning(
    "clip.crowded", "More people than can be told apart",
    "Captions and boxes may speak of somebody else.", "Lower people.max_people and pair again.",
)  # fmt: skip
SMALL = warning(
    "clip.small-person", "The person is small in the picture",
    "A face of a few pixels carries no identity.", "Raise people.min_area and pair again.",
)  # fmt: skip
UNSTEADY = note(
    "clip.source-rate", "A source has a variable frame rate",
    "Clips are cut to a constant rate; motion may stutter where frames were repeated.",
    "Look at a clip or two.",
)  # fmt: skip


@dataclass(frozen=True)
class ClipLimit:
    """One measure, the side on which it fails, and the setting that holds its threshold."""

    check: Check
    measure: str  # column of clips, and attribute of what is measured from pixels
    setting: str  # of pipeline.observing.quality.QualityConfig
    too_low: bool


GATES = (
    ClipLimit(DARK, "brightness", "min_brightness", True),
    ClipLimit(DARK, "dark", "max_dark", False),
    ClipLimit(BRIGHT, "bright", "max_bright", False),
    ClipLimit(FLAT, "contrast", "min_contrast", True),
    ClipLimit(BORDER, "black_border", "max_black_border", False),
    ClipLimit(BLURRY, "sharpness", "min_sharpness", True),
    ClipLimit(STILL, "motion", "min_motion", True),
    ClipLimit(FAST, "motion", "max_motion", False),
    ClipLimit(TEXT, "text_area", "max_text_area", False),
)


def queries(has: Mapping[str, bool]) -> Iterator[Query]:
    """Yield the checks of clips; `has` says which columns of clips there are."""
    for gate in GATES:
        yield _gate(gate, "clips" if has.get(gate.measure) else "samples")
    yield _sample(CROWDED, "num_people", "max_people", ">", "'people ' || num_people")
    yield _sample(SMALL, "area", "min_area", "<", "'area ' || round(area, 4)")
    yield Query(
        UNSTEADY, "video",
        "SELECT video_id AS id, '' AS sample_id, 'variable frame rate, ' || round(fps, 2)"
        " || ' on average' AS evidence, NULL AS value, NULL AS threshold FROM videos"
        " SEMI JOIN samples USING (video_id) WHERE NOT constant_fps",
        ("videos.constant_fps", "samples.video_id"), "videos",
    )  # fmt: skip


def _gate(gate: ClipLimit, table: str) -> Query:
    sign = "<" if gate.too_low else ">"
    source = "samples s JOIN clips c USING (clip_id)" if table == "clips" else "samples s"
    column = f"{'c' if table == 'clips' else 's'}.{gate.measure}"
    limit = f"getvariable('{gate.setting}')"
    return Query(
        gate.check, "clip",
        f"SELECT s.clip_id AS id, s.sample_id, '{gate.measure} ' || round({column}, 4)"
        f" AS evidence, {column} AS value, {limit} AS threshold FROM {source}"
        f" WHERE {column} {sign} {limit} {'-' if gate.too_low else '+'} 1e-6",
        (f"{table}.{gate.measure}",), "samples",
    )  # fmt: skip


def _sample(check: Check, column: str, setting: str, sign: str, evidence: str) -> Query:
    return Query(
        check, "sample",
        f"SELECT sample_id AS id, sample_id, {evidence} AS evidence, {column} AS value,"
        f" getvariable('{setting}') AS threshold FROM samples"
        f" WHERE {column} {sign} getvariable('{setting}')",
        (f"samples.{column}",), "samples",
    )  # fmt: skip
