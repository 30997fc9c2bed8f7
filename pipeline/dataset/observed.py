"""Read back what the units hold, without pixels: the input of pairing."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pyarrow as pa

from pipeline.dataset.column_rows import RowLog, RowSpill
from pipeline.dataset.parquet import read_columns
from pipeline.dataset.row_sets import OneOfFew, encoded
from pipeline.dataset.store import Store
from pipeline.dataset.units import UNIT_TABLES, Receipt, unit_folder
from pipeline.execution.stage import Count
from schemas.columns import from_table
from schemas.tables import Candidate, Clip, Embedding, Reject, Track, Video

_READERS = 16  # units read at once; they are small and latency is all that they cost
_AHEAD = 64  # units that are read, and wait to be put to the others
_PIXELS = ("image", "mask")  # of a candidate; read again when its sample is built
_SPILLED = ("clips", "tracks", "candidates", "embeddings", "rejects")  # what is not held in memory


@dataclass
class Observed:
    """Everything observed, in the order of the unit ids; rows lie on disk."""

    videos: Sequence[Video] = field(default_factory=list)
    clips: Sequence[Clip] = field(default_factory=list)
    tracks: Sequence[Track] = field(default_factory=list)
    candidates: Sequence[Candidate] = field(default_factory=list)
    embeddings: Sequence[Embedding] = field(default_factory=list)
    rejects: Sequence[Reject] = field(default_factory=list)
    counts: dict[tuple[str, str], Count] = field(default_factory=dict)
    unit_of_clip: Mapping[str, str] = field(default_factory=dict)  # clip_id -> unit_id


def read_observed(receipts: Iterable[Receipt], store: Store) -> Observed:
    """Read the light tables of the units and join the parts of long videos."""
    ordered = sorted(receipts, key=lambda receipt: receipt.unit_id)
    observed = Observed()
    videos = RowLog(Video)
    spills = {name: RowSpill(UNIT_TABLES[name]) for name in _SPILLED}
    clips_of_unit: dict[str, np.ndarray] = {}
    for _, parts in itertools.groupby(_read_units(ordered, store), _video_of):
        units = list(parts)
        whole, renamed = _join_parts(units)
        videos.extend(whole)
        for receipt, tables in units:
            for key, count in receipt.ledger_counts().items():
                observed.counts[key] = observed.counts.get(key, Count()) + count
            for name in _SPILLED & tables.keys():
                data = _with_shots(tables[name], renamed)
                spills[name].add(data, **dict.fromkeys(_PIXELS, b""))
            if "clips" in tables:
                ids = encoded(tables["clips"]["clip_id"].to_pylist())
                clips_of_unit[receipt.unit_id] = ids
    observed.videos = videos.rows()
    for name, spill in spills.items():
        setattr(observed, name, spill.rows())
    clip_ids = np.concatenate([encoded([]), *clips_of_unit.values()])
    codes = np.repeat(np.arange(len(clips_of_unit)), list(map(len, clips_of_unit.values())))
    observed.unit_of_clip = OneOfFew(clip_ids, codes, list(clips_of_unit))
    return observed


def _video_of(unit: tuple[Receipt, dict[str, pa.Table]]) -> str:
    return unit[0].video_id


def _read_units(
    receipts: Sequence[Receipt], store: Store
) -> Iterator[tuple[Receipt, dict[str, pa.Table]]]:
    """Yield every unit with its light tables, a few read ahead."""
    with ThreadPoolExecutor(_READERS) as pool:
        for first in range(0, len(receipts), _AHEAD):
            batch = receipts[first : first + _AHEAD]
            yield from zip(batch, pool.map(lambda one: _read_unit(one, store), batch), strict=True)


def _read_unit(receipt: Receipt, store: Store) -> dict[str, pa.Table]:
    tables = {}
    for name in ("videos", *_SPILLED):
        if name in receipt.files:
            columns = [one.name for one in fields(UNIT_TABLES[name]) if one.name not in _PIXELS]
            with store.open(f"{unit_folder(receipt.unit_id)}/{name}.parquet") as file:
                tables[name] = read_columns(file, columns)
    return tables


def _join_parts(
    units: Iterable[tuple[Receipt, dict[str, pa.Table]]],
) -> tuple[list[Video], dict[str, str]]:
    """Make one video of its parts, or none of those that were refused.

    A shot that a part's border cut in two becomes one shot; returns its new name by the old one.
    """
    tables = [tables["videos"] for _, tables in units if "videos" in tables]
    videos = [video for table in tables for video in from_table(table, Video)]
    if not videos:
        return [], {}
    renamed: dict[str, str] = {}
    shots = [shot for video in videos for shot in video.shots]
    for previous, shot in itertools.pairwise(shots):
        if shot.opened_by == "part":
            renamed[shot.shot_id] = renamed.get(previous.shot_id, previous.shot_id)
    return [_one_video(videos)], renamed


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


def _with_shots(data: pa.Table, renamed: Mapping[str, str]) -> pa.Table:
    """Return the rows with the names that their shots have now."""
    if not renamed or "shot_id" not in data.column_names:
        return data
    names = [renamed.get(name, name) for name in data["shot_id"].to_pylist()]
    at = data.schema.get_field_index("shot_id")
    return data.set_column(at, data.schema.field(at), pa.array(names, pa.string()))
