"""Read back what the units hold, without pixels: the input of pairing."""

import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

from pipeline.dataset.parquet import read_columns
from pipeline.dataset.store import Store
from pipeline.dataset.units import UNIT_TABLES, Receipt, unit_folder
from pipeline.execution.stage import Count
from schemas.columns import from_table
from schemas.tables import Candidate, Clip, Embedding, Reject, Track, Video

_READERS = 16  # units read at once; they are small and latency is all that they cost
_PIXELS = ("image", "mask")  # of a candidate; read again when its sample is built
_Row = TypeVar("_Row", Clip, Track, Candidate)


@dataclass
class Observed:
    """Everything observed, in the order of the unit ids. Grows with the rows, not the media."""

    videos: list[Video] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    embeddings: list[Embedding] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    counts: dict[tuple[str, str], Count] = field(default_factory=dict)
    unit_of_clip: dict[str, str] = field(default_factory=dict)  # clip_id -> unit_id


def read_observed(receipts: Iterable[Receipt], store: Store) -> Observed:
    """Read the light tables of the units and join the parts of long videos."""
    ordered = sorted(receipts, key=lambda receipt: receipt.unit_id)
    observed = Observed()
    parts: dict[str, list[Video]] = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for receipt, unit in zip(
            ordered, pool.map(lambda one: _read_unit(one, store), ordered), strict=True
        ):
            for key, count in receipt.ledger_counts().items():
                observed.counts[key] = observed.counts.get(key, Count()) + count
            observed.unit_of_clip |= {clip.clip_id: receipt.unit_id for clip in unit.clips}
            for video in unit.videos:
                parts.setdefault(video.video_id, []).append(video)
            for name in ("clips", "tracks", "candidates", "embeddings", "rejects"):
                getattr(observed, name).extend(getattr(unit, name))
    _join_parts(observed, parts)
    return observed


def _read_unit(receipt: Receipt, store: Store) -> Observed:
    unit = Observed()
    for name in ("videos", "clips", "tracks", "candidates", "embeddings", "rejects"):
        if name not in receipt.files:
            continue
        table = UNIT_TABLES[name]
        columns = [one.name for one in fields(table) if one.name not in _PIXELS]
        with store.open(f"{unit_folder(receipt.unit_id)}/{name}.parquet") as file:
            data = read_columns(file, columns)
        if table is Candidate:
            blank = dict.fromkeys(_PIXELS, b"")
            unit.candidates = [Candidate(**row, **blank) for row in data.to_pylist()]
        else:
            setattr(unit, name, from_table(data, table))
    return unit


def _join_parts(observed: Observed, parts: dict[str, list[Video]]) -> None:
    """Make one video of its parts; a shot that a part's border cut in two becomes one shot."""
    renamed: dict[str, str] = {}
    for _, videos in sorted(parts.items()):
        shots = [shot for video in videos for shot in video.shots]
        for previous, shot in itertools.pairwise(shots):
            if shot.opened_by == "part":
                renamed[shot.shot_id] = renamed.get(previous.shot_id, previous.shot_id)
        observed.videos.append(_one_video(videos))
    if renamed:
        observed.clips = _rename_shots(observed.clips, renamed)
        observed.tracks = _rename_shots(observed.tracks, renamed)
        observed.candidates = _rename_shots(observed.candidates, renamed)


def _one_video(parts: Sequence[Video]) -> Video:
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        num_frames=sum(part.num_frames for part in parts),
        duration_s=sum(part.duration_s for part in parts),
        decode_errors=sum(part.decode_errors for part in parts),
        truncated=any(part.truncated for part in parts),
        shots=[shot for part in parts for shot in part.shots],
    )


def _rename_shots(rows: list[_Row], renamed: dict[str, str]) -> list[_Row]:
    return [
        replace(row, shot_id=renamed[row.shot_id]) if row.shot_id in renamed else row
        for row in rows
    ]
