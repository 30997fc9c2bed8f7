"""The piece of work that is committed at once: one video, or one part of a long one.

A unit is a pure function of the video's bytes and the observing settings, so its folder

    units/<first two digits>/<video_id>-<part>/{videos,clips,tracks,…}.parquet, receipt.json

has the same content wherever and whenever it is made. It exists once its receipt does; a killed
writer leaves no receipt, and the unit is made again.
"""

import hashlib
import json
import math
import platform
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.parquet import encode_rows, read_columns
from pipeline.dataset.store import LocalStore, Store
from pipeline.execution.stage import ClipRow, Count, Ledger, VideoRow
from schemas.columns import Row, from_table
from schemas.ids import content_id
from schemas.tables import Candidate, Clip, ClipMedia, Embedding, Input, Reject, Track, Video
from schemas.uris import public_uri

UNIT_TABLES: dict[str, type[Row]] = {
    "videos": Video,
    "clips": Clip,
    "tracks": Track,
    "candidates": Candidate,
    "embeddings": Embedding,
    "media": ClipMedia,
    "rejects": Reject,
}
_INPUTS = "units/inputs.parquet"
_READERS = 16  # receipts read at once; they are small and latency is all that they cost


@dataclass(frozen=True)
class VideoPart:
    """A stretch of a video, half-open, in seconds."""

    index: int = 0
    count: int = 1
    start_s: float = 0.0
    end_s: float = math.inf


@dataclass(frozen=True)
class Identified:
    """An input whose bytes were hashed and whose container was read."""

    uri: str
    video_id: str
    video: Video | None
    ledger: Ledger = field(default_factory=Ledger)
    location: str = field(default="", repr=False)  # as in InputVideo


@dataclass(frozen=True)
class Unread:
    """An input, or a unit of it, that could not be read this time; the next run tries again."""

    uri: str
    detail: str
    unit_id: str = ""


@dataclass(frozen=True)
class Unit:
    """One video, or part of one, to observe. `video` is None when probing refused the file."""

    uri: str
    video_id: str
    video: Video | None
    part: VideoPart = VideoPart()
    ledger: Ledger = field(default_factory=Ledger)
    location: str = field(default="", repr=False)  # as in InputVideo

    @property
    def source(self) -> InputVideo:
        """The input that it is read from."""
        size_bytes = self.video.size_bytes if self.video else -1
        return InputVideo(self.uri, size_bytes=size_bytes, location=self.location)

    @property
    def unit_id(self) -> str:
        return f"{self.video_id}-{self.part.index:04d}"

    @property
    def duration_s(self) -> float:
        """Seconds of video in this unit, as declared by the container."""
        if self.video is None:
            return 0.0
        return max(0.0, min(self.part.end_s, self.video.duration_s) - self.part.start_s)


@dataclass(frozen=True)
class Receipt:
    """Proof that a unit is complete: what it holds and what became of its rows."""

    unit_id: str
    video_id: str
    part_index: int
    part_count: int
    files: dict[str, dict]  # table name -> rows, size_bytes, sha256
    counts: list[list]  # stage, level, kept, rejected, failed

    @property
    def failed(self) -> bool:
        return any(count[4] for count in self.counts)

    def ledger_counts(self) -> dict[tuple[str, str], Count]:
        return {(stage, level): Count(*numbers) for stage, level, *numbers in self.counts}


def split_video(video: Video | None, part_s: float) -> list[VideoPart]:
    """Cut a long video into parts of equal nominal length, so that many workers share it."""
    duration_s = video.duration_s if video else 0.0
    count = max(1, math.ceil(duration_s / part_s - 1e-6))
    borders = [*(index * part_s for index in range(count)), math.inf]
    return [VideoPart(i, count, borders[i], borders[i + 1]) for i in range(count)]


def plan_units(identified: Iterable[Identified], part_s: float) -> list[Unit]:
    """Return the units of the identified inputs; the same bytes are observed once."""
    first: dict[str, Identified] = {}
    for video in sorted(identified, key=lambda video: video.uri):
        first.setdefault(video.video_id, video)
    units = [
        Unit(
            video.uri,
            video.video_id,
            video.video,
            part,
            video.ledger if part.index == 0 else Ledger(),
            video.location,
        )
        for video in first.values()
        for part in split_video(video.video, part_s)
    ]
    return sorted(units, key=lambda unit: unit.unit_id)


def unit_folder(unit_id: str) -> str:
    return f"units/{unit_id[:2]}/{unit_id}"


def commit_unit(unit: Unit, observed: VideoRow, store: Store) -> Receipt:
    """Write the unit's tables, then the receipt that makes them count."""
    folder = unit_folder(unit.unit_id)
    files = {}
    for name, rows in _rows_by_table(observed).items():
        if rows:
            content = encode_rows(rows, UNIT_TABLES[name])
            store.write(f"{folder}/{name}.parquet", content)
            files[name] = {
                "rows": len(rows),
                "size_bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
    receipt = Receipt(
        unit.unit_id,
        unit.video_id,
        unit.part.index,
        unit.part.count,
        files,
        _count_rows(observed.ledger),
    )
    store.write(f"{folder}/receipt.json", json.dumps(asdict(receipt), sort_keys=True).encode())
    return receipt


def _rows_by_table(observed: VideoRow) -> dict[str, list]:
    clips: tuple[ClipRow, ...] = observed.clips
    return {
        "videos": [observed.video] if observed.video else [],
        "clips": [row.clip for row in clips],
        "tracks": [track for row in clips for track in row.tracks],
        "candidates": [candidate for row in clips for candidate in row.candidates],
        "embeddings": [embedding for row in clips for embedding in row.embeddings],
        "media": [ClipMedia(row.clip.clip_id, row.mp4) for row in clips],
        "rejects": list(observed.ledger.rejects),
    }


def _count_rows(ledger: Ledger) -> list[list]:
    return [
        [stage, level, count.kept, count.rejected, count.failed]
        for (stage, level), count in sorted(ledger.counts.items())
    ]


def read_receipts(store: Store) -> dict[str, Receipt]:
    """Return every complete unit of the dataset by unit id."""
    paths = [path for path in store.list("units") if path.endswith("/receipt.json")]
    with ThreadPoolExecutor(_READERS) as pool:
        receipts = [Receipt(**json.loads(content)) for content in pool.map(store.read, paths)]
    return {receipt.unit_id: receipt for receipt in receipts}


def drop_unit(unit_id: str, store: Store) -> None:
    """Forget a unit, receipt first, so that it is made again."""
    folder = unit_folder(unit_id)
    store.delete(f"{folder}/receipt.json")
    for path in store.list(folder):
        store.delete(path)


def read_known_inputs(store: Store) -> dict[str, Input]:
    """Return the inputs that earlier runs have identified, by uri.

    Earlier code wrote signatures and unprintable names down; they are called as they are now.
    """
    if not store.exists(_INPUTS):
        return {}
    with store.open(_INPUTS) as file:
        rows = from_table(read_columns(file), Input)
    return {uri: replace(row, uri=uri) for row in rows for uri in [public_uri(row.uri)]}


def write_known_inputs(known: dict[str, Input], store: Store) -> None:
    """Remember which bytes each input holds, so that a rerun need not read them again."""
    store.write(_INPUTS, encode_rows([known[uri] for uri in sorted(known)], Input))


def check_begun(store: Store) -> None:
    """Raise ValueError where a worker does not see the folder in which its driver has begun."""
    if isinstance(store, LocalStore) and not store.exists(_INPUTS):
        raise ValueError(
            f"{platform.node()} does not see the dataset in {store.url}: take a folder that is "
            "mounted on every node, or an object store"
        )


def unreadable_id(uri: str) -> str:
    """Return the id of an input without bytes: it cannot be opened."""
    return content_id("unreadable", uri)


def is_observed(video: InputVideo, known: Input | None, receipts: dict[str, Receipt]) -> bool:
    """Return whether an input is unchanged and all its units are complete."""
    if known is None or (known.size_bytes, known.changed) != (video.size_bytes, video.changed):
        return False
    return has_all_units(known, receipts)


def has_all_units(known: Input, receipts: Mapping[str, Receipt]) -> bool:
    """Return whether every part of an input was observed."""
    return all(f"{known.video_id}-{part:04d}" in receipts for part in range(known.num_parts))
