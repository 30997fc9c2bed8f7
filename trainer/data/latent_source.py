"""Batches of latents that were made before the training."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from schemas.latents import LATENTS_INDEX, Latent, LatentIndex
from schemas.manifest import DataFile
from schemas.versions import Snapshot
from trainer.data.batch import LatentBatch, LatentCharacter
from trainer.data.boxes import shares_of_boxes
from trainer.data.cast import drawn_order
from trainer.data.data_config import DataConfig
from trainer.data.dataset import check_files, read_snapshot
from trainer.data.draws import seed_of
from trainer.data.files import Folder
from trainer.data.hashing import permutation
from trainer.data.index import Assigned, RowLocation, describe_sizes, read_index
from trainer.data.latent_file import read_depends_on
from trainer.data.origin import origin_of, usual_fps
from trainer.data.pictures import Unreadable
from trainer.data.reader import RowReader
from trainer.data.source import BatchRequest, first_readable
from trainer.data.tensors import from_bytes

_LIGHT = ("sample_id", "split", "height", "width", "frames", "fps")
_HEAVY = (
    "sample_id", "video", "video_shape", "text", "text_shape", "subject", "subject_shape",
    "references.list.element.latent", "references.list.element.latent_shape",
    "references.list.element.tokens", "references.list.element.tokens_shape",
)  # fmt: skip
_OF_SEVERAL = (
    "name", "name_text", "name_text_shape", "mentions", "boxes", "height", "width",
    "others.list.element.mentions", "others.list.element.boxes", "others.list.element.text",
    "others.list.element.text_shape",
    "others.list.element.references.list.element.latent",
    "others.list.element.references.list.element.latent_shape",
    "others.list.element.references.list.element.tokens",
    "others.list.element.references.list.element.tokens_shape",
)  # fmt: skip


class LatentSource:
    """The latents of a dataset, checked when it is opened."""

    def __init__(
        self,
        url: str | Path,
        data: DataConfig,
        fingerprint: Mapping[str, str] | None = None,
        others: bool = False,
    ) -> None:
        """Open them. Raises ValueError when there are none, or they are not of these encoders.

        others: whether batches hold another picture of each character.
        """
        self._data, self._others = data, others
        self._folder = Folder(url)
        self.layout = _read_layout(self._folder)
        snapshot = _check_origin(self._folder, self.layout)
        _check_fingerprint(self.layout.fingerprint, dict(fingerprint or {}))
        _check_settings(self.layout.settings, data)
        self.splits = self.layout.splits
        self.origin = origin_of(self._folder, snapshot, snapshot.manifest.splits)
        if not self.layout.files:
            raise ValueError(f"{self._folder.url}/{LATENTS_INDEX} lists no files; encode again")
        _check_buckets(self.layout, data)
        check_files(self._folder, self.layout.files, data.verify)
        check = functools.partial(_check_shard, self.layout)
        self.index = read_index(self._folder, self.layout.files, Latent, _LIGHT, check)
        self._windows, self._first = _windows(self.index.columns["sample_id"])

    @property
    def null_text(self) -> torch.Tensor:
        """The encoded empty prompt, float32 (L, text_dim)."""
        null = self.layout.null_text
        return from_bytes(null.content, null.shape, self.layout.number_type)

    def assign(self, split: str) -> Assigned:
        """Return the samples of a split by the bucket that they were encoded for."""
        firsts = self._windows[self._first[:-1]]
        in_split = np.zeros(len(self.index), bool)
        in_split[self.index.rows_of(split)] = True
        samples = np.flatnonzero(in_split[firsts])
        height, width, frames = (
            self.index.numbers(name)[firsts[samples]] for name in ("height", "width", "frames")
        )
        buckets, left = {}, np.ones(len(samples), bool)
        for bucket in self._data.sizes:
            same = (height == bucket.height) & (width == bucket.width) & (frames == bucket.frames)
            buckets[bucket] = samples[same]
            left &= ~same
        seen = describe_sizes(width, height, frames, self.index.numbers("fps")[firsts[samples]])
        left_out = {"encoded for another bucket": int(left.sum())} if left.any() else {}
        return Assigned(buckets, left_out, seen)

    def fps_of(self, indices: np.ndarray) -> float:
        """Return the rate of the frames of these samples, as they were encoded."""
        return usual_fps(self.index, self._windows[self._first[indices]], self._data)

    def locations(self, index: int) -> tuple[RowLocation, ...]:
        """Return where the windows of a sample are."""
        rows = self._windows[self._first[index] : self._first[index + 1]]
        return tuple(self.index.location(int(row)) for row in rows)

    def builder(self, seed: int, training: bool) -> "LatentBatchBuilder":
        """Return what reads its batches, in this process or another."""
        columns = (*_HEAVY, *_OF_SEVERAL) if self._data.characters > 1 else _HEAVY
        reader = RowReader(self._folder, columns, self._data.cache_mib * 2**20)
        builder = LatentBatchBuilder(reader, self._data, seed, training, self._others)
        builder.number_type = self.layout.number_type
        return builder


def _read_layout(folder: Folder) -> LatentIndex:
    try:
        return LatentIndex.from_json(folder.read(LATENTS_INDEX))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(
            f"no latents at {folder.url}: it has no {LATENTS_INDEX}; encode the dataset, or set "
            "data.source=samples"
        ) from error
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder.url}/{LATENTS_INDEX} is no index of ours: {error!r}") from error


def _check_origin(folder: Folder, layout: LatentIndex) -> Snapshot:
    """Refuse latents of another version: they may hold what was since removed."""
    now = read_snapshot(folder)
    if now.sha256 != layout.manifest_sha256:
        raise ValueError(
            f"the latents in {folder.url} were made from {layout.manifest_path} "
            f"({layout.manifest_sha256[:12]}), the dataset is at {now.path} ({now.sha256[:12]}); "
            "encode it again"
        )
    return now


def _check_buckets(layout: LatentIndex, data: DataConfig) -> None:
    """Refuse a bucket that no sample was tried for: its samples went to another, or nowhere."""
    new = [name for name in data.buckets if name not in layout.buckets]
    if new:
        raise ValueError(
            f"the latents were not made for {', '.join(new)} of data.buckets, but for "
            f"{', '.join(layout.buckets)}; set data.buckets to these, or encode the dataset again"
        )


def _check_fingerprint(theirs: dict[str, str], ours: dict[str, str]) -> None:
    """Compare encoders by name; of one whose weights are not read only the kind is known."""
    differing = [
        f"{name}: latents {theirs.get(name)!r}, this run {ours[name]!r}"
        for name in sorted(ours)
        if theirs.get(name) != ours[name] and not str(theirs.get(name)).startswith(f"{ours[name]}-")
    ]
    if differing:
        raise ValueError(
            f"the latents were made by other encoders than this run uses: {'; '.join(differing)}. "
            "Change the run's encoders, or encode the dataset again"
        )


def _check_settings(theirs: dict[str, Any], data: DataConfig) -> None:
    ours = {"data.fps": data.fps, "data.reference_background": data.reference_background}
    ours["data.characters"] = data.characters
    theirs = {"data.characters": 1, **theirs}  # which an encoding of one does not say
    differing = [
        f"{name}: latents {theirs.get(name)!r}, this run {value!r}"
        for name, value in ours.items()
        if theirs.get(name) != value
    ]
    if differing:
        raise ValueError(
            f"the latents were made with other settings than this run's: {'; '.join(differing)}. "
            "Change the run's settings, or encode the dataset again"
        )


def _check_shard(layout: LatentIndex, listed: DataFile, file: pq.ParquetFile) -> None:
    """Refuse a file of another encoding that lies where one of this was."""
    depends_on = read_depends_on(file)
    expected = {"fingerprint": layout.fingerprint, "settings": layout.settings}
    for part, values in expected.items():
        stored = depends_on.get(part, {})
        for name, value in values.items():
            if stored.get(name) != value:
                raise ValueError(
                    f"{listed.path} is of another encoding than its index: {part} {name} is "
                    f"{stored.get(name)!r}, the index says {value!r}; encode the dataset again"
                )


def _windows(sample_ids: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Group rows by sample: (rows, sorted by sample; first place of each sample, and the end)."""
    codes = sample_ids.combine_chunks().dictionary_encode().indices.to_numpy()
    rows = np.argsort(codes, kind="stable")
    return rows, np.searchsorted(codes[rows], np.arange(codes.max(initial=-1) + 2))


class LatentBatchBuilder:
    """Reads latents into batches."""

    def __init__(
        self,
        reader: RowReader,
        data: DataConfig,
        seed: int,
        training: bool,
        others: bool = False,
    ) -> None:
        self._reader, self._others = reader, others
        self._references, self._characters = data.references, data.characters
        self._seed, self._training = seed, training
        self.number_type = "bfloat16"

    def make(self, request: BatchRequest) -> LatentBatch:
        """Read a micro-batch. Raises ValueError when no stand-in of a place can be read."""
        loaded = [
            first_readable(
                samples, lambda locations, place=place: self._load(locations, request, place)
            )
            for place, samples in zip(request.places, request.locations, strict=True)
        ]
        values = [sample.value for sample in loaded]
        subjects = [value["subject"] for value in values]
        try:
            return LatentBatch(
                step=request.step,
                places=request.places,
                sample_ids=tuple(value["sample_id"] for value in values),
                video=torch.stack([value["video"] for value in values]),
                reference=torch.stack([value["reference"] for value in values]),
                text=torch.stack([value["text"] for value in values]),
                image=torch.stack([value["image"] for value in values]),
                subject=None if any(s is None for s in subjects) else torch.stack(subjects),
                other=torch.stack([value["other"] for value in values]) if self._others else None,
                skipped=tuple(skipped for sample in loaded for skipped in sample.skipped),
                **self._of_several(values),
            )
        except RuntimeError as error:
            raise ValueError(f"the latents of a batch differ in shape: {error}") from error

    def _load(
        self, locations: Sequence[RowLocation], request: BatchRequest, place: int
    ) -> dict[str, Any]:
        where = (self._seed, request.step, place)
        window = seed_of(*where, "window") % len(locations) if self._training else 0
        row = self._reader.read(locations[window])
        try:
            text = self._tensor(row, "text")
            cast = self._cast(row, where, nameless=torch.zeros_like(text))
            return {
                "sample_id": row["sample_id"],
                "video": self._tensor(row, "video"),
                "text": text,
                "subject": self._tensor(row, "subject") if row["subject"] else None,
                **{name: cast[0][name] for name in ("reference", "other", "image")},
                "cast": cast,
            }
        except (ValueError, TypeError, RuntimeError) as error:
            raise Unreadable(f"the latents are damaged: {error}") from error

    def _cast(
        self, row: dict[str, Any], where: tuple[int, int, int], nameless: torch.Tensor
    ) -> list[dict[str, torch.Tensor]]:
        """Return what is seen of each character, in the order of this step."""
        members = [(row["references"], row, "name_text")]
        if self._characters > 1:
            others = row["others"][: self._characters - 1]
            members += [(other["references"], other, "text") for other in others]
        order = list(range(len(members)))
        if self._training:
            order = drawn_order(len(members), *where)
        cast = []
        for number, who in enumerate(order):
            stored, named, column = members[who]
            seeds = (*where, *([f"character {number}"] if number else []))
            chosen = self._chosen(stored, seeds)
            latents = [self._tensor(each, "latent") for each in chosen]
            references = chosen[: self._references]
            tokens = [self._tensor(each, "tokens") for each in references]
            cast.append(
                {
                    "reference": torch.stack(latents[: len(references)], dim=1),  # (C, R, hr, wr)
                    "other": latents[-1][:, None],  # (C, 1, hr, wr)
                    "image": torch.cat(tokens),  # (R * T, image_dim)
                    "name": self._tensor(named, column) if len(members) > 1 else nameless,
                    **_marks(row, named, len(nameless)),
                }
            )
        return cast

    def _of_several(self, values: list[dict[str, Any]]) -> dict[str, Any]:
        """Return names and further characters of a batch; nothing where one is trained alone."""
        if self._characters == 1:
            return {}
        columns = []  # of each character, what is seen of it in every sample
        for number in range(self._characters):
            seen = [
                value["cast"][number] if len(value["cast"]) > number else _absent(value)
                for value in values
            ]
            names = ("reference", "image", "name", "mentions", "boxes")
            columns.append({name: torch.stack([each[name] for each in seen]) for name in names})
        marks = {
            name: torch.stack([column.pop(name) for column in columns], 1)
            for name in ("mentions", "boxes")
        }
        further = [
            LatentCharacter(**column, present=tuple(len(v["cast"]) > number for v in values))
            for number, column in enumerate(columns[1:], 1)
        ]
        return {"name": columns[0]["name"], "characters": tuple(further), **marks}

    def _chosen(
        self, stored: list[dict[str, Any]], where: tuple[int | str, ...]
    ) -> list[dict[str, Any]]:
        """Return the references that this step uses, and after them the other picture, if wanted.

        That is one that this step does not use, or the first where the sample has no more.
        """
        if not stored:
            raise Unreadable("the sample has no reference")
        order = np.arange(len(stored))
        if self._training:
            order = permutation(seed_of(*where, "references"), len(stored))
        number = self._references + self._others
        return [stored[int(order[n % len(stored)])] for n in range(number)]

    def _tensor(self, stored: dict[str, Any], name: str) -> torch.Tensor:
        return from_bytes(stored[name], stored[f"{name}_shape"], self.number_type)


def _marks(
    row: Mapping[str, Any], character: Mapping[str, Any], tokens: int
) -> dict[str, torch.Tensor]:
    """Return which tokens speak of a character (L,), and shares of its boxes (f, h, w).

    Latents of one character have neither, nor do those from before there were marks.
    """
    mentions = torch.zeros(tokens)
    mentions[list(character.get("mentions") or ())] = 1
    frames, rows, columns = row["video_shape"][1:]
    stored = character.get("boxes")
    if not stored:
        return {"mentions": mentions, "boxes": torch.zeros(frames, rows, columns)}
    sides = (row["height"], row["width"])
    boxes = torch.tensor(stored)[None, None]
    return {
        "mentions": mentions,
        "boxes": shares_of_boxes(boxes, sides, row["height"] // rows)[0, 0],
    }


def _absent(value: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return a character who is not there, in the shapes of one who is."""
    like = {name: torch.zeros_like(value[name]) for name in ("reference", "image")}
    nobody = {name: torch.zeros_like(value["cast"][0][name]) for name in ("mentions", "boxes")}
    return {**like, **nobody, "name": torch.zeros_like(value["text"])}
