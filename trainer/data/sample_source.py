"""Batches of pixels, straight from the samples of a dataset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemas.tables import Sample
from trainer.data.augment import ReferenceChange, cut_out, draw_change, place_reference
from trainer.data.batch import Bucket, PixelBatch, PixelCharacter
from trainer.data.cast import COLUMNS as OF_OTHERS
from trainer.data.cast import Member, drawn_order, members_of, prompt_of
from trainer.data.data_config import DataConfig
from trainer.data.dataset import check_files, read_snapshot
from trainer.data.draws import seed_of
from trainer.data.files import Folder
from trainer.data.hashing import permutation
from trainer.data.index import Assigned, RowIndex, RowLocation, assign_buckets, read_index
from trainer.data.origin import origin_of, usual_fps
from trainer.data.pictures import (
    Unreadable,
    boxes_in_bucket,
    decode_frames,
    decode_reference,
    subject_mask,
)
from trainer.data.reader import RowReader
from trainer.data.source import BatchRequest, first_readable

_LIGHT = ("sample_id", "split", "width", "height", "num_frames", "fps")
_HEAVY = (
    "sample_id", "caption", "width", "height", "num_frames", "fps", "first_frame", "boxes",
    "references.list.element.image.bytes", "references.list.element.mask.bytes", "video.bytes",
)  # fmt: skip


class SampleSource:
    """The samples of a dataset, checked when it is opened."""

    def __init__(self, url: str | Path, data: DataConfig, others: bool = False) -> None:
        """Open the newest version. Raises ValueError with what is wrong with it.

        others: whether batches hold another picture of each character.
        """
        self._data, self._others = data, others
        self._folder = Folder(url)
        self.snapshot = read_snapshot(self._folder)
        self.splits = self.snapshot.manifest.splits
        self.origin = origin_of(self._folder, self.snapshot, self.splits)
        files = [f for f in self.snapshot.manifest.files if f.path.startswith("samples/")]
        if not files:
            raise ValueError(
                f"{self._folder.url} holds no samples: nothing that was curated passed. Its "
                "manifest lists the reasons (funnel)"
            )
        check_files(self._folder, files, data.verify)
        self.index: RowIndex = read_index(self._folder, files, Sample, _LIGHT)

    def assign(self, split: str) -> Assigned:
        """Return which samples of a split go to which bucket."""
        return assign_buckets(self.index, self.index.rows_of(split), self._data)

    def fps_of(self, indices: np.ndarray) -> float:
        """Return the rate of the frames of these samples, as they are trained on."""
        return usual_fps(self.index, indices, self._data)

    def locations(self, index: int) -> tuple[RowLocation, ...]:
        """Return where a sample is: one row."""
        return (self.index.location(index),)

    def rows(self, indices: np.ndarray, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield samples as plain values, `columns` as Parquet names them."""
        reader = RowReader(self._folder, columns, self._data.cache_mib * 2**20)
        for index in indices:
            yield reader.read(self.index.location(int(index)))

    def builder(self, seed: int, training: bool) -> "PixelBatchBuilder":
        """Return what decodes its batches, in this process or another."""
        columns = (*_HEAVY, *OF_OTHERS) if self._data.characters > 1 else _HEAVY
        reader = RowReader(self._folder, columns, self._data.cache_mib * 2**20)
        return PixelBatchBuilder(reader, self._data, seed, training, self._others)


@dataclass(frozen=True)
class Pixels:
    """One decoded sample."""

    sample_id: str
    caption: str
    frames: np.ndarray  # (F, H, W, 3) uint8
    references: np.ndarray  # (R, H, W, 3) uint8
    subject: np.ndarray  # (F, H, W) uint8
    other: np.ndarray | None = None  # (1, H, W, 3) uint8
    names: tuple[str, ...] = ()  # of the first character and of the further ones, '' of none
    further: tuple[np.ndarray, ...] = ()  # references of further characters, as of the first
    boxes: np.ndarray | None = None  # (P, F, 4) float32 of each character, xyxy in px; 0 of none


class PixelBatchBuilder:
    """Decodes samples into batches."""

    def __init__(
        self,
        reader: RowReader,
        data: DataConfig,
        seed: int,
        training: bool,
        others: bool = False,
    ) -> None:
        self._reader, self._data, self._seed, self._training = reader, data, seed, training
        self._others = others

    def make(self, request: BatchRequest) -> PixelBatch:
        """Decode a micro-batch. Raises ValueError when no stand-in of a place can be read."""
        loaded = [
            first_readable(
                samples, lambda locations, place=place: self._load(locations, request, place)
            )
            for place, samples in zip(request.places, request.locations, strict=True)
        ]
        values = [sample.value for sample in loaded]
        return PixelBatch(
            step=request.step,
            places=request.places,
            sample_ids=tuple(value.sample_id for value in values),
            captions=tuple(value.caption for value in values),
            frames=_stack([value.frames for value in values]),
            references=_stack([value.references for value in values]),
            subject=_stack([value.subject for value in values]),
            other=_stack([value.other for value in values if value.other is not None])
            if self._others
            else None,
            skipped=tuple(skipped for sample in loaded for skipped in sample.skipped),
            names=tuple(value.names[0] for value in values) if self._data.characters > 1 else (),
            characters=tuple(
                PixelCharacter(
                    _stack([value.further[number] for value in values]),
                    tuple(value.names[1 + number] for value in values),
                )
                for number in range(self._data.characters - 1)
            ),
            boxes=_stack([value.boxes for value in values if value.boxes is not None])
            if self._data.characters > 1
            else None,
        )

    def _load(self, locations: Sequence[RowLocation], request: BatchRequest, place: int) -> Pixels:
        row, most = self._reader.read(locations[0]), self._data.characters
        members = members_of(row, most)
        order = list(range(len(members)))
        if self._training:
            order = drawn_order(len(members), self._seed, request.step, place)
        wanted = self._window(row, request, place)
        pictures = [
            self._pictures(members[who].references, request, place, number)
            for number, who in enumerate(order)
        ]
        number = self._data.references
        decoded = decode_sample(row, wanted, pictures[0][:number], request.bucket, members)
        absent = [np.zeros_like(decoded.references)] * (most - len(members))
        boxes = boxes_of(row, [members[who] for who in order], wanted, request.bucket)
        boxes *= len(members) > 1  # one who is alone is not marked
        return replace(
            decoded,
            other=pictures[0][-1:] if self._others else None,
            names=(*(members[who].name for who in order), *[""] * len(absent)),
            further=(*(each[:number] for each in pictures[1:]), *absent),
            boxes=np.pad(boxes, ((0, len(absent)), (0, 0), (0, 0))),
        )

    def _window(self, row: dict[str, Any], request: BatchRequest, place: int) -> list[int]:
        """Return the frames of the clip that are taken."""
        draw = None
        if self._training and self._data.random_start:
            draw = seed_of(self._seed, request.step, place, "window")
        return take_frames(row["num_frames"], row["fps"], request.bucket.frames, self._data, draw)

    def _pictures(
        self, stored: list[dict[str, Any]], request: BatchRequest, place: int, who: int
    ) -> np.ndarray:
        """Return (R, H, W, 3): references of a character, chosen and changed for this step.

        `who` is 0 for the first character of the step. Where another picture is wanted it is the
        last, R + 1 in all: one that is no reference of this step, or, where the character has no
        more, one of those under a change of its own.
        """
        if not stored:
            raise Unreadable("the sample has no reference")
        where = (self._seed, request.step, place, *([f"character {who}"] if who else []))
        chosen = range(len(stored))
        if self._training:
            chosen = permutation(seed_of(*where, "references"), len(stored))
        pictures = []
        for number in range(self._data.references + self._others):
            change = ReferenceChange()
            if self._training:
                change = draw_change(self._data.augment, seed_of(*where, "augment", number))
            reference = stored[int(chosen[number % len(stored)])]
            pictures.append(make_reference(reference, request.bucket, change, self._data))
        return np.stack(pictures)


def take_frames(
    num_frames: int, clip_fps: float, count: int, data: DataConfig, draw: int | None = None
) -> list[int]:
    """Return the frames of a clip that make `count` at the wanted rate, from a drawn start."""
    stride = clip_fps / data.fps if data.fps else 1.0
    steps = np.floor(np.arange(count) * stride + 0.5).astype(np.int64)
    room = num_frames - int(steps[-1])
    if room < 1:
        raise Unreadable(f"the clip has {num_frames} frames, {int(steps[-1]) + 1} are needed")
    return (steps + (0 if draw is None else draw % room)).tolist()


def decode_sample(
    row: dict[str, Any],
    wanted: list[int],
    references: np.ndarray,
    bucket: Bucket,
    members: Sequence[Member],
) -> Pixels:
    """Decode the clip of a row, and draw the boxes of its characters. Raises Unreadable."""
    mp4, size = row["video"]["bytes"], (row["width"], row["height"])
    if not mp4:
        raise Unreadable("the clip is empty")
    frames = decode_frames(mp4, wanted, row["fps"], size, bucket)
    boxed = [
        subject_mask(member.row["boxes"], member.row["first_frame"], wanted, size, bucket)
        for member in members
    ]
    subject = np.maximum.reduce(boxed)
    return Pixels(row["sample_id"], prompt_of(row, members), frames, references, subject)


def boxes_of(
    row: Mapping[str, Any], members: Sequence[Member], wanted: Sequence[int], bucket: Bucket
) -> np.ndarray:
    """Return where each character is, (P, F, 4) float32: xyxy in px of the bucket."""
    size = (row["width"], row["height"])
    boxes = [
        boxes_in_bucket(member.row["boxes"], member.row["first_frame"], wanted, size, bucket)
        for member in members
    ]
    return np.stack(boxes)


def make_reference(
    reference: dict[str, Any], bucket: Bucket, change: ReferenceChange, data: DataConfig
) -> np.ndarray:
    """Decode a reference and set it into the bucket's picture, (H, W, 3). Raises Unreadable."""
    image, mask = decode_reference(reference["image"]["bytes"], reference["mask"]["bytes"])
    if data.reference_background == "grey" and change.background is None:
        image = cut_out(image, mask)
    return place_reference(image, mask, (bucket.height, bucket.width), change)


def _stack(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
