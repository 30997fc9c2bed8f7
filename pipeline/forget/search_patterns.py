"""What a scan searches for: ids, names, and short pieces from the middle of media and vectors.

Masks are left out: a silhouette packs into few bytes, which other people's share.
"""

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, open_table
from pipeline.forget.targets import Targets
from schemas.manifest import Manifest

PIECE = 48  # bytes of a medium; enough not to occur elsewhere by chance
_VARIED = 20  # distinct bytes in a piece; a flat one would be found in other pictures too
_HEADER = 1 << 16  # bytes in which a medium's payload begins
_VECTOR = 32  # bytes of a vector: 8 of its numbers do not identify anybody
_PAYLOADS = (b"\xff\xda", b"IDAT", b"mdat")  # JPEG, PNG, MP4: headers are everyone's
_SAYS_WHERE = {
    "video_id": "video_id",
    "references": "references.list.element.video_id",
    "others": "others.list.element.references.list.element.video_id",
}
_UNIT_IDS = ("clip_id", "track_id", "reference_id", "shot_id")


@dataclass
class SearchPatterns:
    """Byte strings that must be gone. Ids match whole words only, pieces match anywhere."""

    ids: set[bytes] = field(default_factory=set)
    pieces: set[bytes] = field(default_factory=set)

    def add_ids(self, ids: Iterable[str]) -> None:
        self.ids.update(id.encode(errors="surrogatepass") for id in ids if id)

    def add_medium(self, content: bytes | None) -> None:
        """Add pieces at a half, two thirds and five sixths, if they are varied enough."""
        content = content or b""
        first = max(content.find(mark, 0, _HEADER) for mark in _PAYLOADS) + 1
        for share in (1 / 2, 2 / 3, 5 / 6):
            start = first + int((len(content) - first) * share)
            piece = content[start : start + PIECE]
            if len(piece) == PIECE and len(set(piece)) >= _VARIED:
                self.pieces.add(piece)

    def add_vector(self, vector: Iterable[float] | None) -> None:
        content = np.asarray(list(vector or ()), np.float32).tobytes()
        start = max(0, (len(content) - _VECTOR) // 8 * 4)
        piece = content[start : start + _VECTOR]
        if len(set(piece)) > 4:
            self.pieces.add(piece)

    def to_json(self) -> dict[str, list[str]]:
        return {
            name: sorted(base64.b64encode(pattern).decode() for pattern in getattr(self, name))
            for name in ("ids", "pieces")
        }

    @classmethod
    def from_json(cls, raw: dict[str, list[str]]) -> "SearchPatterns":
        return cls(*({base64.b64decode(text) for text in raw[n]} for n in ("ids", "pieces")))


def collect_patterns(targets: Targets, manifest: Manifest, store: Store) -> SearchPatterns:
    """Collect the patterns of everything that goes, before it goes."""
    patterns = SearchPatterns()
    patterns.add_ids(targets.ids | targets.uris)
    for path in unit_files(targets.videos, store):
        if path.endswith(".parquet"):
            _from_table(path, targets.videos, patterns, store)
    edits = [path for path in store.list("edits") if path.endswith(".parquet")]
    tables = [path for name in ("samples", "embeddings") for path in files_of(name, manifest)]
    for path in (*tables, *edits):
        _from_table(path, targets.videos, patterns, store)
    return patterns


def unit_files(videos: set[str], store: Store) -> list[str]:
    """Return the files of the videos' units, receipts first."""
    found = [
        path
        for folder in sorted({f"units/{video_id[:2]}" for video_id in videos})
        for path in store.list(folder)
        if path.split("/")[2].rpartition("-")[0] in videos
    ]
    return sorted(found, key=lambda path: (not path.endswith("/receipt.json"), path))


def _from_table(path: str, videos: set[str], patterns: SearchPatterns, store: Store) -> None:
    of_unit = path.startswith("units/")
    for row in _rows_of(path, videos, store):
        if of_unit:
            patterns.add_ids(row[name] for name in _UNIT_IDS if row.get(name))
            _add_pixels(row, patterns)
        if of_unit or row["video_id"] in videos:
            patterns.add_medium((row.get("video") or {}).get("bytes"))
            patterns.add_vector(row.get("vector"))
            for edited in row.get("candidate") or ():
                patterns.add_ids([edited["reference_id"]])
                _add_pixels(edited, patterns)
        for reference in _references_of(row):
            if reference["video_id"] in videos:
                patterns.add_medium(reference["image"]["bytes"])


def _add_pixels(row: dict, patterns: SearchPatterns) -> None:
    patterns.add_medium(row.get("mp4"))
    patterns.add_medium(row.get("image"))


def _references_of(row: dict) -> list[dict]:
    """Return the references of a sample and of its further characters."""
    cast = row.get("others") or ()
    return [reference for member in (row, *cast) for reference in member.get("references") or ()]


def _rows_of(path: str, videos: set[str], store: Store) -> Iterator[dict]:
    """Yield the rows of every row group that mentions one of the videos."""
    file = open_table(path, store)
    names = set(file.schema_arrow.names)
    columns = [column for name, column in _SAYS_WHERE.items() if name in names]
    for group in range(file.num_row_groups):
        if columns and not path.startswith("units/"):
            light = file.read_row_group(group, columns=columns).to_pylist()
            if not any(_mentions(row, videos) for row in light):
                continue
        yield from file.read_row_group(group).to_pylist()


def _mentions(row: dict, videos: set[str]) -> bool:
    """Whether a row or one of its references is from one of the videos."""
    if row.get("video_id") in videos:
        return True
    return any(reference["video_id"] in videos for reference in _references_of(row))
