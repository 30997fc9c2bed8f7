"""Encode the samples of a dataset into its `latents/`, and make them visible all at once."""

import base64
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from schemas.columns import schema_of, to_table
from schemas.ids import content_id
from schemas.latents import LATENTS_INDEX, Latent, LatentIndex, LatentReference, NullText
from schemas.manifest import DataFile
from trainer.batch import Bucket, LatentBatch, PixelBatch, Skipped
from trainer.data.augment import Change
from trainer.data.config import Data, bucket_name
from trainer.data.dataset import Snapshot
from trainer.data.pictures import Unreadable
from trainer.data.samples import Pixels, SampleSource, decode_sample, make_reference, take_frames
from trainer.data.tensors import to_bytes, without_zero_tail
from trainer.encoders import Encoders, encode_batch

_GROUP_BYTES = 16 * 2**20  # of a row group: what is read to get one row
_FILE_BYTES = 256 * 2**20
_TENSORS = ("video", "text", "subject", "latent", "tokens")  # columns that do not compress
_COLUMNS = (
    "sample_id", "clip_id", "video_id", "track_id", "character_id", "split", "caption", "width",
    "height", "num_frames", "fps", "first_frame", "boxes", "references.list.element.reference_id",
    "references.list.element.clip_id", "references.list.element.video_id",
    "references.list.element.image.bytes", "references.list.element.mask.bytes", "video.bytes",
)  # fmt: skip


def encode_rows(
    source: SampleSource,
    data: Data,
    encoders: Encoders,
    device: torch.device | str = "cpu",
    *,
    windows: int = 1,
    skip: Callable[[Skipped], None] = lambda _: None,
) -> Iterator[Latent]:
    """Yield every sample that fits a bucket, with all its references, one row a window.

    Windows are spread evenly over the clip. What cannot be read goes to `skip`.
    """
    for split in sorted(source.splits):
        for bucket, indices in sorted(source.assign(split).buckets.items()):
            for row in source.rows(indices, _COLUMNS):
                try:
                    yield from _encode(row, bucket, data, encoders, device, windows)
                except Unreadable as error:
                    skip(Skipped(row["sample_id"], str(error)))


def _encode(
    row: dict[str, Any],
    bucket: Bucket,
    data: Data,
    encoders: Encoders,
    device: torch.device | str,
    windows: int,
) -> Iterator[Latent]:
    if not row["references"]:
        raise Unreadable("the sample has no reference")
    pictures = [make_reference(each, bucket, Change(), data) for each in row["references"]]
    first = take_frames(row["num_frames"], row["fps"], bucket.frames, data)
    room = row["num_frames"] - first[-1]
    for start in sorted(set(np.linspace(0, room - 1, windows).astype(int).tolist())):
        wanted = [start + frame for frame in first]
        pixels = decode_sample(row, wanted, np.stack(pictures), bucket)
        latents = encode_batch(_alone(pixels), encoders, device)
        yield _row(row, bucket, start, data.fps or row["fps"], latents, encoders)


def _alone(pixels: Pixels) -> PixelBatch:
    """Return a batch of this sample."""
    return PixelBatch(
        step=0,
        places=(0,),
        sample_ids=(pixels.sample_id,),
        captions=(pixels.caption,),
        frames=torch.from_numpy(pixels.frames)[None],
        references=torch.from_numpy(pixels.references)[None],
        subject=torch.from_numpy(pixels.subject)[None],
    )


def _row(
    row: dict[str, Any],
    bucket: Bucket,
    start: int,
    fps: float,
    latents: LatentBatch,
    encoders: Encoders,
) -> Latent:
    stored = row["references"]
    tokens = latents.image[0].unflatten(0, (len(stored), -1))  # (R, T, D)
    references = [
        LatentReference(
            reference_id=reference["reference_id"],
            clip_id=reference["clip_id"],
            video_id=reference["video_id"],
            latent=to_bytes(latents.reference[0, :, number]),
            latent_shape=list(latents.reference[0, :, number].shape),
            tokens=to_bytes(tokens[number]),
            tokens_shape=list(tokens[number].shape),
        )
        for number, reference in enumerate(stored)
    ]
    kept = ("sample_id", "clip_id", "video_id", "track_id", "character_id", "split", "caption")
    subject = latents.subject
    return Latent(
        **{name: row[name] for name in kept},
        height=bucket.height,
        width=bucket.width,
        frames=bucket.frames,
        start_frame=start,
        fps=fps,
        fingerprint=content_id(encoders.fingerprint),
        video=to_bytes(latents.video[0]),
        video_shape=list(latents.video[0].shape),
        text=to_bytes(without_zero_tail(latents.text[0])),
        text_shape=list(latents.text[0].shape),
        subject=b"" if subject is None else to_bytes(subject[0]),
        subject_shape=[] if subject is None else list(subject[0].shape),
        references=references,
    )


def write_latents(
    folder: str | Path,
    rows: Iterable[Latent],
    *,
    snapshot: Snapshot,
    data: Data,
    encoders: Encoders,
) -> LatentIndex:
    """Write `latents/` of a dataset on this machine; its index comes last and makes it visible."""
    root = Path(folder)
    fingerprint = encoders.fingerprint
    name = content_id(fingerprint, snapshot.sha256, list(data.buckets))
    writer = _Writer(root, name)
    for row in rows:
        writer.add(row)
    writer.finish()
    null = encoders.encode_prompts([""])[0]
    stored = base64.b64encode(to_bytes(without_zero_tail(null))).decode()
    index = LatentIndex(
        fingerprint=fingerprint,
        manifest_path=snapshot.path,
        manifest_sha256=snapshot.sha256,
        buckets=[bucket_name(bucket) for bucket in data.sizes],
        splits={split: len(ids) for split, ids in sorted(writer.samples.items())},
        null_text=NullText(stored, list(null.shape)),
        files=writer.files,
    )
    _replace(root / LATENTS_INDEX, index.to_json())
    listed = {file.path for file in writer.files}
    for path in (root / "latents").glob("*.parquet"):
        if path.relative_to(root).as_posix() not in listed:
            path.unlink()
    return index


class _Writer:
    """Fills files with row groups, each up to its size."""

    def __init__(self, root: Path, name: str) -> None:
        self._root, self._name = root, name
        self._rows: list[Latent] = []
        self._bytes = 0
        self._open: _OpenFile | None = None
        self.files: list[DataFile] = []
        self.samples: dict[str, set[str]] = {}

    def add(self, row: Latent) -> None:
        self._rows.append(row)
        self.samples.setdefault(row.split, set()).add(row.sample_id)
        self._bytes += _size(row)
        if self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._open = self._open or _OpenFile.create()
        self._open.write(self._rows)
        self._rows, self._bytes = [], 0
        if self._open.sink.tell() >= _FILE_BYTES:
            self._close()

    def _close(self) -> None:
        assert self._open is not None, "a file is open when it is closed"
        content = self._open.close()
        path = f"latents/{self._name}-{len(self.files):05d}.parquet"
        _replace(self._root / path, content)
        digest = hashlib.sha256(content).hexdigest()
        self.files.append(DataFile(path, self._open.rows, len(content), digest))
        self._open = None

    def finish(self) -> None:
        if self._rows:
            self._flush()
        if self._open is not None:
            self._close()


@dataclass
class _OpenFile:
    """A Parquet file that grows in memory."""

    sink: io.BytesIO
    writer: pq.ParquetWriter
    rows: int = 0

    @classmethod
    def create(cls) -> "_OpenFile":
        schema, sink = schema_of(Latent), io.BytesIO()
        empty = io.BytesIO()
        pq.write_table(schema.empty_table(), empty)
        parquet = pq.ParquetFile(empty).schema
        leaves = [parquet.column(number).path for number in range(len(parquet))]
        light = [leaf for leaf in leaves if leaf.split(".")[-1] not in _TENSORS]
        compression = {leaf: "ZSTD" if leaf in light else "NONE" for leaf in leaves}
        options: dict[str, Any] = {"compression": compression, "use_dictionary": light}
        options |= {"write_statistics": light, "write_page_checksum": True}
        return cls(sink, pq.ParquetWriter(sink, schema, **options))

    def write(self, rows: list[Latent]) -> None:
        self.writer.write_table(to_table(rows, Latent))
        self.rows += len(rows)

    def close(self) -> bytes:
        self.writer.close()
        return self.sink.getvalue()


def _size(row: Latent) -> int:
    references = sum(len(each.latent) + len(each.tokens) for each in row.references)
    return len(row.video) + len(row.text) + len(row.subject) + references


def _replace(path: Path, content: bytes) -> None:
    """Write a file that is seen whole or not at all, even after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with staged.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)
