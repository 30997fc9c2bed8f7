"""Faults to plant into a copy of a dataset, each with the check that must find it.

A fault edits rows, pictures or files; manifest and counts are then made to fit again, so that
nothing but the fault itself gives it away. All draws come from the random generator given.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audit.dataset import table_schema
from pipeline.dataset.commit import read_manifest
from pipeline.dataset.parquet import encode_table
from pipeline.dataset.store import open_store
from pipeline.media.clip_frames import read_clip
from schemas.manifest import POINTER, DataFile, Manifest

Rows = list[dict[str, Any]]


@dataclass
class Copy:
    """A dataset that may be edited: its tables as rows, written back by `save`."""

    folder: Path
    random: np.random.Generator
    tables: dict[str, Rows] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)  # arguments for the audit
    taken: set[str] = field(default_factory=set)  # samples that hold a fault already

    @property
    def manifest(self) -> Manifest:
        found = read_manifest(open_store(self.folder))
        assert found is not None
        return found[0]

    def rows(self, table: str) -> Rows:
        """Return the rows of a table; changes are written by `save`."""
        if table not in self.tables:
            paths = [f.path for f in self.manifest.files if f.path.startswith(f"{table}/")]
            self.tables[table] = [
                row for path in paths for row in pq.read_table(self.folder / path).to_pylist()
            ]
        return self.tables[table]

    def draw(self, rows: Rows, wanted: Callable[[dict], bool] = lambda row: True) -> dict:
        """Return one of the rows that are wanted."""
        some = [row for row in rows if wanted(row)]
        assert some, "no row is fit for this fault"
        return some[int(self.random.integers(len(some)))]

    def pair(self, wanted: Callable[[dict, dict], bool]) -> tuple[dict, dict]:
        """Return a sample and one of its references, that together are wanted."""
        pairs = [(row, one) for row in self.rows("samples") for one in row["references"]]
        some = [pair for pair in pairs if wanted(*pair)]
        assert some, "no pair is fit for this fault"
        return some[int(self.random.integers(len(some)))]

    def sample(self, wanted: Callable[[dict], bool] = lambda row: True) -> dict:
        """Return one of the samples that are wanted and hold no fault yet."""
        free = [row for row in self.rows("samples") if row["sample_id"] not in self.taken]
        return self.draw(free, wanted)

    def clip_of(self, sample: dict) -> dict:
        return next(row for row in self.rows("clips") if row["clip_id"] == sample["clip_id"])

    def track_of(self, sample: dict) -> dict:
        return next(row for row in self.rows("tracks") if row["track_id"] == sample["track_id"])

    def vector_of(self, track_id: str, reference_id: str = "") -> dict:
        wanted = (track_id, reference_id)
        rows = self.rows("embeddings")
        return next(row for row in rows if (row["track_id"], row["reference_id"]) == wanted)

    def save(self) -> None:
        """Write the edited tables, and a manifest that fits them."""
        manifest = self.manifest
        files = list(manifest.files)
        for table, rows in self.tables.items():
            old = [file for file in files if file.path.startswith(f"{table}/")]
            files = [file for file in files if file not in old]
            for file in old[1:]:
                (self.folder / file.path).unlink()
            data = encode_table(pa.Table.from_pylist(rows, schema=table_schema(table)))
            (self.folder / old[0].path).write_bytes(data)
            files.append(DataFile(old[0].path, len(rows), len(data), sha256_of(data)))
        samples = self.rows("samples")
        splits = dict.fromkeys(manifest.splits, 0)
        for row in samples:
            splits[row["split"]] = splits.get(row["split"], 0) + 1
        self.write_manifest(replace(manifest, files=files, splits=splits))

    def write_manifest(self, manifest: Manifest, content: bytes | None = None) -> None:
        content = manifest.to_json() if content is None else content
        path = f"manifests/{manifest.version:04d}.json"
        (self.folder / path).write_bytes(content)
        pointer = {"path": path, "sha256": sha256_of(content)}
        (self.folder / POINTER).write_text(json.dumps(pointer))

    def samples_path(self) -> Path:
        path = next(f.path for f in self.manifest.files if f.path.startswith("samples/"))
        return self.folder / path

    def set_clip(self, sample: dict, pictures: list[np.ndarray], columns: bool = True) -> None:
        """Replace the clip's pictures, and with `columns` its hash and size too."""
        self.set_bytes(sample, encode(pictures, round(sample["fps"])), columns)

    def set_bytes(self, sample: dict, mp4: bytes, columns: bool = True) -> None:
        sample["video"]["bytes"] = mp4
        if columns:
            clip = self.clip_of(sample)
            clip["sha256"], clip["size_bytes"] = sha256_of(mp4), len(mp4)


@dataclass(frozen=True)
class Fault:
    """One kind of fault: the check that must find it, and how it is planted."""

    name: str
    check: str
    plant: Callable[[Copy], None]
    media: bool  # whether it is found in pictures only
    saves: bool  # whether the edited rows are written back


FAULTS: dict[str, Fault] = {}


def fault(check: str, media: bool = False, saves: bool = True) -> Callable:
    """Register a function as a fault that `check` must find."""

    def register(function: Callable[[Copy], None]) -> Callable[[Copy], None]:
        name = function.__name__
        FAULTS[name] = Fault(name, check, function, media, saves)
        return function

    return register


def plant(name: str, clean: Path, target: Path, seed: int = 0) -> Copy:
    """Copy the clean dataset and plant one fault into the copy."""
    shutil.copytree(clean, target, ignore=shutil.ignore_patterns("units", "_lock"))
    copy = Copy(target, np.random.default_rng([seed, *name.encode()]))
    one = FAULTS[name]
    one.plant(copy)
    if one.saves:
        copy.save()
    return copy


def plant_together(names: Sequence[str], clean: Path, target: Path, seed: int = 0) -> Copy:
    """Plant several faults of pictures into one copy, each into samples of its own."""
    shutil.copytree(clean, target, ignore=shutil.ignore_patterns("units", "_lock"))
    copy = Copy(target, np.random.default_rng(seed))
    before = {row["sample_id"]: repr(row) for row in copy.rows("samples")}
    for name in names:
        FAULTS[name].plant(copy)
        now = {row["sample_id"]: repr(row) for row in copy.rows("samples")}
        copy.taken |= {sample_id for sample_id in now if now[sample_id] != before[sample_id]}
    copy.save()
    return copy


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def encode(pictures: list[np.ndarray], fps: int) -> bytes:
    """Encode RGB pictures as the pipeline does."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count, stream.codec_context.max_b_frames = 1, 0
        stream.options = {"preset": "ultrafast", "crf": "18"}
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def pictures_of(sample: dict) -> list[np.ndarray]:
    return read_clip(sample["video"]["bytes"])[1]


def has_ground(sample: dict) -> bool:
    """Tell whether enough of the picture is not the person."""
    x0, y0, x1, y1 = sample["boxes"][len(sample["boxes"]) // 2]
    return (x1 - x0) * (y1 - y0) < 0.4 * sample["width"] * sample["height"]
