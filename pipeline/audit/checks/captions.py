"""Captions: empty, repeated, refused, echoed, miscounting people, naming somebody."""

import functools
from collections.abc import Iterator

from pipeline.audit.finding_store import Query
from pipeline.audit.findings import Check, Finding, found, warning
from pipeline.audit.index import AuditIndex
from pipeline.engines.captions.caption_checks import text_problem
from pipeline.engines.captions.people_count import counted_people

LONGEST = 1200  # signs; text encoders cut off at about 512 tokens
FEWEST_WORDS = 3
REPEATED = 0.2  # of the videos that one caption may describe, where there are enough
LEAST_VIDEOS = 10


def _caption(id: str, title: str, why: str) -> Check:
    remedy = "Caption the clip again, or drop the sample."
    return warning(f"caption.{id}", title, why, remedy)


EMPTY = _caption("empty", "A caption is empty", "The model is taught to ignore the prompt.")
REFUSAL = _caption(
    "refusal", "A caption is a refusal", "The captioner declined; its apology becomes a prompt."
)
ECHO = _caption("echo", "A caption repeats the request", "The prompt of the captioner leaks.")
MARKUP = _caption(
    "markup", "A caption holds markup or odd signs", "No user writes it; it may hide text."
)
LOOP = _caption("loop", "A caption repeats itself", "A language model got stuck.")
LENGTH = _caption(
    "length", "A caption is too short or too long", "It says nothing, or is cut off in training."
)
NAMES = warning(
    "caption.names", "A caption names somebody",
    "The model learns to make a real person by name.", "Take the name out.",
)  # fmt: skip
COUNT = _caption(
    "count", "A caption counts more people than there are", "It describes another clip, or dreams."
)
DUPLICATE = warning(
    "caption.repeated", "One caption describes many videos",
    "Text that fits everything teaches nothing about this clip.",
    "Use a captioner that looks (pair.engines.captions=vlm).",
)  # fmt: skip
CHECKS = (EMPTY, REFUSAL, ECHO, MARKUP, LOOP, LENGTH, NAMES, COUNT)
_BY_PROBLEM = {  # beginnings of what `text_problem` says
    "empty": EMPTY, "refusal": REFUSAL, "repeats the request": ECHO, "markup": MARKUP,
    "control": MARKUP, "hardly any letters": MARKUP, "the same sign": LOOP,
    "the same words": LOOP, "names somebody": NAMES,
}  # fmt: skip


def check_captions(index: AuditIndex) -> Iterator[Finding]:
    """Check every caption and description; equal texts are checked once."""
    sql = "SELECT sample_id, caption, description, num_people FROM samples"
    for sample_id, caption, description, num_people in index.rows(sql):
        check, problem = check_text(caption or "", FEWEST_WORDS)
        if check is not None:
            yield found(check, "sample", sample_id, f"caption: {problem}")
        elif num_people and (counted := _counted(caption)) and counted > num_people:
            evidence = f"says {counted} people, {num_people} measured"
            yield found(COUNT, "sample", sample_id, evidence, "", counted, num_people)
        if description:
            check, problem = check_text(description, 1)
            if check is not None:
                yield found(check, "sample", sample_id, f"description: {problem}")


@functools.lru_cache(4096)
def check_text(text: str, fewest_words: int) -> tuple[Check | None, str]:
    """Return the check that a text fails, and how; nothing of the text is repeated."""
    problem = text_problem(text, LONGEST, fewest_words)
    if not problem:
        return None, ""
    for beginning, check in _BY_PROBLEM.items():
        if problem.startswith(beginning):
            return check, problem
    return LENGTH, problem


@functools.lru_cache(4096)
def _counted(caption: str) -> int | None:
    return counted_people(caption)


def queries() -> Iterator[Query]:
    """Yield the checks of captions that are SQL."""
    yield Query(
        DUPLICATE, "caption",
        "SELECT clip_id AS id, min(sample_id) AS sample_id, 'the same words for '"
        " || videos || ' of ' || total || ' videos' AS evidence, videos / total AS value,"
        f" {REPEATED} AS threshold FROM (SELECT arg_min(clip_id, sample_id) AS clip_id,"
        " min(sample_id) AS sample_id, count(DISTINCT video_id) AS videos,"
        " (SELECT count(DISTINCT video_id) FROM samples) AS total FROM samples"
        " WHERE coalesce(caption, '') <> '' GROUP BY lower(caption))"
        f" WHERE total >= {LEAST_VIDEOS} AND videos > {REPEATED} * total"
        " GROUP BY videos, total, clip_id",
        ("samples.caption", "samples.video_id"), "samples",
    )  # fmt: skip
