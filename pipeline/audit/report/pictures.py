"""Fetch and draw the pictures that the report shows: of findings, of suspects, of rejects."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audit.dataset import foreign_columns
from pipeline.audit.findings import Finding
from pipeline.audit.media.stream import MEDIA_SANDBOX
from pipeline.audit.report.thumbnails import (
    FRAMES,
    Strip,
    StripRow,
    make_handler,
    strip_row,
    total_bytes,
)
from pipeline.audit.run import Audit
from pipeline.dataset.parquet import read_rows_by_key
from pipeline.dataset.store import Store
from pipeline.dataset.units import UNIT_TABLES
from pipeline.media.sandbox import Child, Died
from schemas.bounded_parquet import BoundedParquet
from schemas.columns import schema_of

PER_CHECK = 3  # findings shown with pictures
PER_REASON = 2  # rejects shown with pictures
SUSPECTS = 6
EXAMPLES = 6  # good samples
AT_RANDOM = 30  # shown at the top
MOST_BYTES = 2_600_000  # of all pictures, before base64
_ERRORS = (pa.ArrowException, OSError, ValueError, KeyError)
_WANTED = ("sample_id", "num_frames", "first_frame", "boxes", "references", "video")
_HIDDEN = "safety."  # findings of these checks are never shown


@dataclass
class Pictures:
    """Strips by what they show."""

    samples: dict[str, Strip] = field(default_factory=dict)
    references: dict[tuple[str, str], Strip] = field(default_factory=dict)  # sample, reference
    rejects: dict[tuple[str, str], list[tuple[str, Strip]]] = field(default_factory=dict)
    drawn: dict[str, Strip] = field(default_factory=dict)  # at random, for the top of the page
    why_no_rejects: str = ""
    full: bool = False  # whether some were left out to keep the report small
    _hidden: set[str] = field(default_factory=set)

    def of_finding(self, finding: Finding) -> Strip | None:
        """Return the pictures of a finding, if it has any and may be seen."""
        if finding.sample_id in self._hidden or finding.check.startswith(_HIDDEN):
            return None
        own = self.references.get((finding.sample_id, finding.id))
        return own or self.samples.get(finding.sample_id)


def gather_pictures(audit: Audit) -> Pictures:
    """Draw everything that the report shows, most telling first, up to its size."""
    pictures = Pictures()
    sql = f"SELECT DISTINCT sample_id FROM findings WHERE \"check\" LIKE '{_HIDDEN}%'"
    pictures._hidden = {row[0] for row in audit.index.rows(sql)}
    child = Child(make_handler, MEDIA_SANDBOX)
    try:
        for sample_id in _at_random(audit, pictures._hidden):
            strip = _draw_sample(audit, child, sample_id, "", frames=1)
            if strip is not None and strip.frames:
                pictures.drawn[sample_id] = strip
        for sample_id, reference_id in _wanted(audit):
            if sample_id in pictures._hidden:
                continue
            if _weight(pictures) > MOST_BYTES:
                pictures.full = True
                break
            strip = _draw_sample(audit, child, sample_id, reference_id)
            if strip is None:
                continue
            if reference_id:
                pictures.references[sample_id, reference_id] = strip
            else:
                pictures.samples[sample_id] = strip
        _draw_rejects(audit, child, pictures)
    finally:
        child.close()
    return pictures


def _at_random(audit: Audit, hidden: set[str]) -> list[str]:
    """Return samples in the order of their hashed ids: the same ones every time, of no choice."""
    sql = "SELECT sample_id FROM samples ORDER BY md5('at random' || sample_id), 1 LIMIT ?"
    found = [row[0] for row in audit.index.fetch(sql, [AT_RANDOM + len(hidden)])]
    return [sample_id for sample_id in found if sample_id not in hidden][:AT_RANDOM]


def _weight(pictures: Pictures) -> int:
    strips = [*pictures.samples.values(), *pictures.references.values()]
    strips += [strip for pairs in pictures.rejects.values() for _, strip in pairs]
    return total_bytes(strips)


def _wanted(audit: Audit) -> Iterator[tuple[str, str]]:
    """Yield (sample, reference or ''), errors first, each once."""
    seen: set[tuple[str, str]] = set()
    for key in (*_of_findings(audit), *_of_characters(audit), *_of_examples(audit)):
        if key not in seen and key[0]:
            seen.add(key)
            yield key


def _of_findings(audit: Audit) -> Iterator[tuple[str, str]]:
    order = {"error": 0, "warning": 1, "note": 2}
    checks = audit.findings.checks
    counted = sorted(audit.findings.counts(), key=lambda id: (order[str(checks[id].severity)], id))
    for check in counted:
        for finding in audit.findings.examples(check, PER_CHECK):
            yield finding.sample_id, finding.id if finding.level == "reference" else ""
            if finding.level == "character":
                yield sample_of(audit, finding.id), ""
                other = other_character(finding)
                if other:
                    yield sample_of(audit, other), ""


def other_character(finding: Finding) -> str:
    """Return the second character that a split suspect's evidence names."""
    words = finding.evidence.replace(";", " ").split()
    ids = [word.strip(",") for word in words if len(word.strip(",")) == len(finding.id)]
    return next((word for word in ids if word != finding.id and word.isalnum()), "")


def sample_of(audit: Audit, character_id: str) -> str:
    """Return one sample of a character, the same every time."""
    sql = "SELECT min(sample_id) FROM samples WHERE character_id = ?"
    return audit.index.value(sql, [character_id]) or ""


def _of_characters(audit: Audit) -> Iterator[tuple[str, str]]:
    for character_id, _ in audit.facts.identities.largest[:SUSPECTS]:
        yield sample_of(audit, character_id), ""


def _of_examples(audit: Audit) -> Iterator[tuple[str, str]]:
    for sample_id in good_samples(audit):
        yield sample_id, ""


def good_samples(audit: Audit) -> list[str]:
    """Return a few samples without errors and warnings: one of every pair kind, then any."""
    sql = (
        "WITH good AS (SELECT sample_id FROM samples ANTI JOIN"
        " (SELECT sample_id FROM findings WHERE severity <> 'note') f USING (sample_id)),"
        " shown AS (SELECT min(sample_id) AS sample_id, 0 AS place FROM refs"
        " SEMI JOIN good USING (sample_id) GROUP BY kind UNION ALL"
        " (SELECT sample_id, 1 FROM good ORDER BY sample_id LIMIT ?))"
        " SELECT sample_id FROM shown GROUP BY 1 ORDER BY min(place), 1 LIMIT ?"
    )
    return [row[0] for row in audit.index.fetch(sql, [EXAMPLES, EXAMPLES])]


def _draw_sample(
    audit: Audit, child: Child, sample_id: str, reference_id: str, frames: int = FRAMES
) -> Strip | None:
    place = audit.index.fetch(
        "SELECT file_number, row_group, position FROM samples WHERE sample_id = ? LIMIT 1",
        [sample_id],
    )
    if not place:
        return None
    number, group, position = place[0]
    file = audit.dataset.tables["samples"][number]
    columns = [name for name in _WANTED if name in file.columns]
    try:
        with audit.dataset.store.open(file.path) as source:
            parquet = BoundedParquet(source)
            data = parquet.read_row_group(group, columns=columns, use_threads=False)
        row = data.slice(position, 1).to_pylist()[0]
    except _ERRORS:
        return None
    place = _place(row, reference_id) if reference_id or frames == FRAMES else 0
    return _call(child, strip_row(row, place, frames))


def _place(row: Mapping[str, Any], reference_id: str) -> int | None:
    ids = [reference.get("reference_id") for reference in row.get("references") or ()]
    return ids.index(reference_id) if reference_id in ids else None


def _call(child: Child, row: StripRow) -> Strip | None:
    strip = child.call(row)
    return (
        Strip(problem=f"the decoder ended: {strip.failure}") if isinstance(strip, Died) else strip
    )


def _draw_rejects(audit: Audit, child: Child, pictures: Pictures) -> None:
    """Draw a few rejects per reason, from the units where these are kept."""
    store = audit.dataset.store
    if not audit.index.has("rejects.stage", "rejects.reason", "rejects.id"):
        pictures.why_no_rejects = "the dataset has no rejects/"
        return
    if not store.list("units"):
        pictures.why_no_rejects = "units/ was deleted, which holds what was dropped"
        return
    sql = (
        "SELECT stage, reason, level, id, video_id FROM (SELECT *, row_number() OVER"
        " (PARTITION BY stage, reason ORDER BY id) AS place FROM rejects"
        " WHERE level IN ('clip', 'track', 'sample')) WHERE place <= ? ORDER BY 1, 2, place"
    )
    for stage, reason, level, id, video_id in audit.index.rows(sql, [PER_REASON]):
        if _weight(pictures) > MOST_BYTES:
            pictures.full = True
            return
        row = _rejected_row(audit, level, id, video_id)
        strip = _call(child, row) if row is not None else None
        if strip is not None and (strip.frames or strip.references):
            pictures.rejects.setdefault((stage, reason), []).append((id, strip))


def _rejected_row(audit: Audit, level: str, id: str, video_id: str) -> StripRow | None:
    """Return the clip of a reject, with the dropped person's boxes when it was a track."""
    store = audit.dataset.store
    folders = sorted({
        path.rsplit("/", 1)[0] for path in store.list(f"units/{video_id[:2]}")
        if f"/{video_id}-" in path
    })  # fmt: skip
    track: Mapping[str, Any] = {}
    if level != "clip":
        track = next(_unit_rows(store, folders, "tracks", "track_id", {id}), {})
    clip_id = id if level == "clip" else str(track.get("clip_id", ""))
    media = next(_unit_rows(store, folders, "media", "clip_id", {clip_id}), None)
    clip: Mapping[str, Any] = next(_unit_rows(store, folders, "clips", "clip_id", {clip_id}), {})
    if media is None:
        return None
    boxes = tuple(tuple(box) for box in track.get("boxes") or ())
    frames, first = int(clip.get("num_frames") or 1), int(track.get("first_frame") or 0)
    return StripRow(media["mp4"], frames, first, boxes)


def _unit_rows(
    store: Store, folders: Sequence[str], table: str, key: str, wanted: set[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield rows of a table of some units; a foreign schema is passed over."""
    for folder in folders:
        path = f"{folder}/{table}.parquet"
        if not store.exists(path):
            continue
        try:
            with store.open(path) as file:
                ours = schema_of(UNIT_TABLES[table])
                if foreign_columns(pq.read_schema(file), ours):
                    continue
                yield from read_rows_by_key(file, key, wanted)
        except _ERRORS:
            continue
