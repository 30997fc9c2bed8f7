"""Leakage: nothing that connects two samples may lie across two splits."""

from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.audit.finding_store import Query
from pipeline.audit.findings import Action, Finding, error, found, note
from pipeline.audit.index import AuditIndex
from pipeline.pairing.duplicates import DuplicatesConfig, find_duplicates
from schemas.files import read_text
from schemas.tables import Clip

_REMEDY = "--fix puts whole connected groups into one split."
_WHY = "What is measured on the held-out split is memory, not skill."
CHARACTER = error("leak.character", "A character is in two splits", _WHY, _REMEDY, Action.SPLIT)
VIDEO = error("leak.video", "A source video is in two splits", _WHY, _REMEDY, Action.SPLIT)
REFERENCE = error(
    "leak.reference", "A reference comes from a video of another split", _WHY, _REMEDY,
    Action.SPLIT,
)  # fmt: skip
IDENTICAL = error("leak.identical", "The same clip lies in two splits", _WHY, _REMEDY, Action.SPLIT)
NEAR_DUPLICATE = error(
    "leak.near-duplicate", "Clips that look alike lie in two splits", _WHY, _REMEDY, Action.SPLIT
)
HELD_OUT = error(
    "leak.held-out", "A clip or reference is also in a held-out set",
    "Scores on that set are worthless for a model trained on this.",
    "Drop these samples.",
)  # fmt: skip
SOURCE = note(
    "leak.source", "A source is in several splits",
    "If a source is one uploader, rooms and people may repeat across its videos.",
    "Compare the videos; keep an uploader in one split where they do.",
)  # fmt: skip
_HASH_BITS = 6  # of 64; the pipeline's own limit for two pictures that are one


def queries() -> Iterator[Query]:
    """Yield the checks of leakage that are SQL."""
    for check, column in ((CHARACTER, "character_id"), (VIDEO, "video_id")):
        yield Query(check, column.removesuffix("_id"), _across(column),
                    (f"samples.{column}", "samples.split"), "samples")  # fmt: skip
    yield Query(IDENTICAL, "clip", _identical(), ("samples.split", "clips.sha256"), "samples")
    yield Query(REFERENCE, "reference", _references(), ("refs.video_id", "samples.split"), "refs")
    yield Query(SOURCE, "source", _sources(), ("samples.source", "samples.split"), "samples")


def _across(column: str) -> str:
    return (
        f"SELECT {column} AS id, min(sample_id) AS sample_id,"
        " count(*) || ' samples in ' || string_agg(DISTINCT split, ', ' ORDER BY split)"
        f" AS evidence, count(DISTINCT split) AS value, 1 AS threshold FROM samples"
        f" WHERE coalesce({column}, '') <> '' GROUP BY {column} HAVING count(DISTINCT split) > 1"
    )


def _identical() -> str:
    return (
        "SELECT arg_min(c.clip_id, s.sample_id) AS id, min(s.sample_id) AS sample_id,"
        " count(DISTINCT c.clip_id) || ' clips with one SHA-256 in '"
        " || string_agg(DISTINCT s.split, ', ' ORDER BY s.split) AS evidence,"
        " count(DISTINCT s.split) AS value, 1 AS threshold"
        " FROM samples s JOIN clips c USING (clip_id) WHERE c.sha256 <> ''"
        " GROUP BY c.sha256 HAVING count(DISTINCT s.split) > 1 AND count(DISTINCT c.clip_id) > 1"
    )


def _references() -> str:
    return (
        "SELECT r.reference_id AS id, s.sample_id, 'the sample is in ' || s.split"
        " || ', the reference''s video in ' || o.splits AS evidence, NULL AS value,"
        " NULL AS threshold FROM refs r JOIN samples s USING (sample_id) JOIN (SELECT video_id,"
        " string_agg(DISTINCT split, ', ' ORDER BY split) AS splits FROM samples GROUP BY 1) o"
        " ON o.video_id = r.video_id WHERE o.splits <> s.split"
    )


def _sources() -> str:
    return (
        "SELECT source AS id, '' AS sample_id, count(*) || ' samples of ' || count(DISTINCT"
        " video_id) || ' videos in ' || string_agg(DISTINCT split, ', ' ORDER BY split)"
        " AS evidence,"
        " count(DISTINCT split) AS value, 1 AS threshold FROM samples WHERE coalesce(source, '')"
        " <> '' GROUP BY source HAVING count(DISTINCT split) > 1"
    )


def clip_splits(index: AuditIndex) -> dict[str, tuple[str, str]]:
    """Return split and one sample of every clip that is used, by clip_id."""
    sql = "SELECT clip_id, min(split), min(sample_id) FROM samples GROUP BY 1"
    return {clip_id: (split, sample_id) for clip_id, split, sample_id in index.rows(sql)}


def hashed_clips(index: AuditIndex) -> list[Clip]:
    """Return the used clips with ids and perceptual hash, all else blank."""
    sql = (
        "SELECT clip_id, video_id, perceptual_hash FROM clips"
        " SEMI JOIN samples USING (clip_id) WHERE length(perceptual_hash) = 48"
        " AND regexp_full_match(perceptual_hash, '[0-9a-f]+')"
    )
    return [_bare(*row) for row in index.rows(sql)]


def _bare(clip_id: str, video_id: str, perceptual_hash: str) -> Clip:
    columns: dict[str, Any] = dict.fromkeys(Clip.__dataclass_fields__)
    columns.update(clip_id=clip_id, video_id=video_id, perceptual_hash=perceptual_hash)
    return Clip(**columns)


def check_near_duplicates(index: AuditIndex, copies: DuplicatesConfig) -> Iterator[Finding]:
    """Look for clips of different videos that look alike and lie in two splits."""
    splits = clip_splits(index)
    limit = float(copies.max_distance or 0)
    for copy, (original, distance) in find_duplicates(hashed_clips(index), copies).items():
        (split, sample_id), (other_split, _) = splits[copy], splits[original]
        if split != other_split:
            evidence = f"{split}; {original} in {other_split} differs in {distance} bits"
            yield found(NEAR_DUPLICATE, "clip", copy, evidence, sample_id, distance, limit)


def read_hashes(paths: Iterable[str]) -> list[int]:
    """Read 64-bit difference hashes, 16 hex digits a line; '#' begins a comment."""
    hashes = []
    for path in paths:
        text = read_text("--held-out", path, "a text file with one hash a line")
        for number, line in enumerate(text.splitlines(), start=1):
            text = line.split("#", 1)[0].strip().lower()
            if not text:
                continue
            if len(text) != 16 or set(text) - set("0123456789abcdef"):
                raise ValueError(f"{path}, line {number}: a hash has 16 hex digits, got {text!r}")
            hashes.append(int(text, 16))
    return hashes


def nearest(hash_: int, hashes: Iterable[int]) -> int:
    """Return the fewest bits by which a hash differs from any of the others, 64 without any."""
    return min(((hash_ ^ other).bit_count() for other in hashes), default=64)


def check_held_out(index: AuditIndex, hashes: list[int]) -> Iterator[Finding]:
    """Look for pictures of a held-out set among the clips' first, middle and last frames."""
    splits = clip_splits(index)
    for clip in hashed_clips(index):
        text = clip.perceptual_hash
        bits = min(nearest(int(text[at : at + 16], 16), hashes) for at in (0, 16, 32))
        if bits <= _HASH_BITS:
            _, sample_id = splits[clip.clip_id]
            evidence = f"a frame differs in {bits} bits from a held-out picture"
            yield found(HELD_OUT, "clip", clip.clip_id, evidence, sample_id, bits, _HASH_BITS)
