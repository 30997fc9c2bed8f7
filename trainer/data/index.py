"""The light columns of all rows as arrays: where each row is, and what it could be used for."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.columns import Row
from schemas.manifest import DataFile
from trainer.data.batch import Bucket
from trainer.data.data_config import DataConfig, bucket_name
from trainer.data.dataset import check_layout
from trainer.data.files import Folder, in_parallel

_REASONS = ("too few frames a second", "too short", "too small", "too much to crop")
_MAX_SHOWN = 4  # sizes in a message
_TOLERANCE = 1e-4  # aspects closer than this count as equal


@dataclass(frozen=True)
class RowLocation:
    """Where one row is."""

    sample_id: str
    path: str
    group: int
    row: int  # in its row group


@dataclass(frozen=True)
class RowIndex:
    """All rows of a table: about 60 bytes each, as arrays."""

    paths: tuple[str, ...]
    file: np.ndarray  # int32, place in paths
    group: np.ndarray  # int32
    row: np.ndarray  # int32
    columns: pa.Table

    def __len__(self) -> int:
        return len(self.file)

    def location(self, index: int) -> RowLocation:
        """Return where a row is."""
        sample_id = self.columns["sample_id"][index].as_py()
        path = self.paths[self.file[index]]
        return RowLocation(sample_id, path, int(self.group[index]), int(self.row[index]))

    def numbers(self, column: str) -> np.ndarray:
        return self.columns[column].to_numpy()

    def rows_of(self, split: str) -> np.ndarray:
        """Return the rows of a split, int64, in the order of the files."""
        same = pc.call_function("equal", [self.columns["split"], pa.scalar(split)])
        return np.flatnonzero(same.to_numpy())


Check = Callable[[DataFile, pq.ParquetFile], None]


def read_index(
    folder: Folder,
    files: Sequence[DataFile],
    table: type[Row],
    columns: Sequence[str],
    check: Check = lambda _, __: None,
) -> RowIndex:
    """Check the layout of every file, and what `check` asks of it; read its light columns."""
    read = functools.partial(_read_file, folder, table, columns, check)
    parts = in_parallel(read, list(files))
    empty = np.zeros(0, np.int32)
    lengths = [len(group) for _, group, _ in parts]
    return RowIndex(
        paths=tuple(file.path for file in files),
        file=np.repeat(np.arange(len(files), dtype=np.int32), lengths),
        group=np.concatenate([empty, *(group for _, group, _ in parts)]),
        row=np.concatenate([empty, *(row for _, _, row in parts)]),
        columns=pa.concat_tables([light for light, _, _ in parts]).combine_chunks(),
    )


def _read_file(
    folder: Folder, table: type[Row], columns: Sequence[str], check: Check, listed: DataFile
) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    try:
        with folder.parquet(listed.path) as file:
            check_layout(file, listed, table, columns)
            check(listed, file)
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            light = file.read(columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{folder.url}/{listed.path} cannot be read: {error}; restore the file, or make the "
            "dataset again"
        ) from error
    empty = np.zeros(0, np.int32)
    groups = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    rows = np.concatenate([empty, *(np.arange(size, dtype=np.int32) for size in sizes)])
    return light.select(list(columns)).replace_schema_metadata(None), groups, rows


@dataclass(frozen=True)
class Assigned:
    """Which samples go to which bucket, and what became of the others."""

    buckets: dict[Bucket, np.ndarray]  # int64 indices
    left_out: dict[str, int]  # reason -> samples
    seen: str  # sizes that were seen, for a person


def assign_buckets(index: RowIndex, rows: np.ndarray, data: DataConfig) -> Assigned:
    """Give every clip to the bucket of the nearest aspect among those that it can fill.

    Among equal aspects: the most frames, then the largest picture.
    """
    width, height = (index.numbers(name)[rows].astype(np.float64) for name in ("width", "height"))
    frames, fps = index.numbers("num_frames")[rows], index.numbers("fps")[rows]
    stride = fps / data.fps if data.fps else np.ones(len(rows))
    too_slow = stride < 1 - 1e-6
    best = np.full(len(rows), np.inf)
    choice = np.full(len(rows), -1)
    ever_long, ever_large = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    preferred = sorted(data.sizes, key=lambda b: (-b.frames, -b.height * b.width, b))
    for number, bucket in enumerate(preferred):
        scale = np.maximum(bucket.width / width, bucket.height / height)
        kept = (bucket.width * bucket.height) / (width * height * scale**2)
        long = np.floor((bucket.frames - 1) * stride + 0.5) <= frames - 1
        large = scale <= data.max_upscale + 1e-6
        ever_long |= long
        ever_large |= long & large
        fits = ~too_slow & long & large & (1 - kept <= data.max_crop + 1e-6)
        distance = np.abs(np.log((width / height) / (bucket.width / bucket.height)))
        better = fits & (distance < best - _TOLERANCE)
        best[better], choice[better] = distance[better], number
    why = np.select([choice >= 0, too_slow, ~ever_long, ~ever_large], [0, 1, 2, 3], 4)
    counts = np.bincount(why, minlength=len(_REASONS) + 1).tolist()[1:]
    left_out = {reason: count for reason, count in zip(_REASONS, counts, strict=True) if count}
    buckets = {bucket: rows[choice == number] for number, bucket in enumerate(preferred)}
    return Assigned(buckets, left_out, describe_sizes(width, height, frames, fps))


def describe_sizes(
    width: np.ndarray, height: np.ndarray, frames: np.ndarray, fps: np.ndarray
) -> str:
    sides, counts = np.unique(
        height.astype(np.int64) << 32 | width.astype(np.int64), return_counts=True
    )
    often = np.argsort(-counts, kind="stable")[:_MAX_SHOWN]
    shown = [f"{counts[at]} of {sides[at] >> 32}x{sides[at] & 0xFFFFFFFF}" for at in often]
    if len(sides) > _MAX_SHOWN:
        shown.append(f"{len(sides) - _MAX_SHOWN} more sizes")
    if not shown:
        return "no clips"
    return (
        f"{', '.join(shown)}; {frames.min()} to {frames.max()} frames at {fps.min():g} to "
        f"{fps.max():g} a second"
    )


def describe_buckets(buckets: Mapping[Bucket, np.ndarray], data: DataConfig) -> str:
    """Return how many samples each bucket has, most first, for a person."""
    often = sorted(buckets.items(), key=lambda item: (-len(item[1]), item[0]))
    names = ", ".join(f"{len(rows)} of {bucket_name(bucket)}" for bucket, rows in often)
    empty = len(data.buckets) - len(buckets)
    return f"samples: {names}" + (f"; {empty} buckets have none" if empty else "")


def check_buckets(
    assigned: Assigned, split: str, splits: Mapping[str, int], data: DataConfig
) -> None:
    """Refuse buckets with too few samples, with what was seen instead and what to change.

    One without any is no fault while another has some: a preset has buckets for clips of all forms.
    """
    found = sum(map(len, assigned.buckets.values())) + sum(assigned.left_out.values())
    if not found:
        there = ", ".join(f"{number} of {name}" for name, number in splits.items()) or "none"
        raise ValueError(
            f"split {split!r} has no samples, the dataset has {there}; name another split, or "
            "curate more video"
        )
    sizes = {bucket: len(rows) for bucket, rows in assigned.buckets.items()}
    small = {bucket: size for bucket, size in sizes.items() if 0 < size < data.min_samples}
    if small or not any(sizes.values()):
        small = small or sizes
        names = ", ".join(f"{bucket_name(b)} ({number})" for b, number in sorted(small.items()))
        unused = ", ".join(f"{number} {why}" for why, number in assigned.left_out.items())
        raise ValueError(
            f"buckets with fewer than {data.min_samples} samples in split {split!r}: {names}. "
            f"Clips seen: {assigned.seen}. Fit no bucket: {unused or 'none'}. Remove these from "
            "data.buckets or choose sizes nearer to the clips, allow more (data.max_upscale, "
            "data.max_crop, data.fps), or curate other clips"
        )
