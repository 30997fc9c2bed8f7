"""Faults to plant into a copy of a dataset, each with the check that must find it.

A fault edits rows, pictures or files; manifest and counts are then made to fit again, so that
nothing but the fault itself gives it away. All draws come from the random generator given.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audit.dataset import table_schema
from pipeline.dataset.commit import read_manifest
from pipeline.dataset.parquet import encode_table
from pipeline.dataset.store import open_store
from pipeline.media import decode_image, encode_jpeg, encode_png_mask, read_clip
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
            files.append(DataFile(old[0].path, len(rows), len(data), _sha(data)))
        samples = self.rows("samples")
        splits = dict.fromkeys(manifest.splits, 0)
        for row in samples:
            splits[row["split"]] = splits.get(row["split"], 0) + 1
        self.write_manifest(replace(manifest, files=files, splits=splits))

    def write_manifest(self, manifest: Manifest, content: bytes | None = None) -> None:
        content = manifest.to_json() if content is None else content
        path = f"manifests/{manifest.version:04d}.json"
        (self.folder / path).write_bytes(content)
        pointer = {"path": path, "sha256": _sha(content)}
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
            clip["sha256"], clip["size_bytes"] = _sha(mp4), len(mp4)


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


def _sha(content: bytes) -> str:
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


# ---- files and manifest


@fault("file.hash", saves=False)
def byte_changed_in_a_shard(copy: Copy) -> None:
    content = bytearray(copy.samples_path().read_bytes())
    place = content.index(b"mdat") + 500 + int(copy.random.integers(100))
    content[place] ^= 0x10
    copy.samples_path().write_bytes(content)


@fault("file.hash", saves=False)
def shard_shorter_by_a_byte(copy: Copy) -> None:
    content = copy.samples_path().read_bytes()
    copy.samples_path().write_bytes(content[:-1])


@fault("file.unreadable", saves=False)
def shard_cut_in_half(copy: Copy) -> None:
    content = copy.samples_path().read_bytes()
    copy.samples_path().write_bytes(content[: len(content) // 2])


@fault("file.unreadable", saves=False)
def page_damaged(copy: Copy) -> None:
    """A byte of a column changes, and whoever did it mended the manifest."""
    copy.save()
    path = copy.samples_path()
    column = _column_chunk(path, "boxes.list.element.list.element")
    content = bytearray(path.read_bytes())
    content[column + 120] ^= 0xFF
    path.write_bytes(content)
    relative = str(path.relative_to(copy.folder))
    files = [
        DataFile(f.path, f.rows, len(content), _sha(bytes(content))) if f.path == relative else f
        for f in copy.manifest.files
    ]
    copy.tables.clear()
    copy.write_manifest(replace(copy.manifest, files=files))


def _column_chunk(path: Path, name: str) -> int:
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]
    chunk = next(c for c in chunks if c.path_in_schema.startswith(name.split(".")[0]))
    return chunk.data_page_offset


@fault("file.missing", saves=False)
def shard_missing(copy: Copy) -> None:
    copy.samples_path().unlink()


@fault("file.unlisted", saves=False)
def shard_not_listed(copy: Copy) -> None:
    path = copy.samples_path()
    shutil.copy(path, path.with_name("v0001-00099.parquet"))


@fault("file.rows", saves=False)
def rows_miscounted(copy: Copy) -> None:
    files = [
        replace(f, rows=f.rows + 1) if f.path.startswith("tracks/") else f
        for f in copy.manifest.files
    ]
    copy.write_manifest(replace(copy.manifest, files=files))


@fault("file.manifest-damaged", saves=False)
def manifest_edited(copy: Copy) -> None:
    path = copy.folder / json.loads((copy.folder / POINTER).read_text())["path"]
    path.write_bytes(path.read_bytes().replace(b'"commercial": true', b'"commercial": false'))


@fault("file.manifest-damaged", saves=False)
def funnel_does_not_add_up(copy: Copy) -> None:
    raw = asdict(copy.manifest)
    raw["funnel"][0]["kept"] += 1
    copy.write_manifest(copy.manifest, json.dumps(raw).encode())


@fault("file.schema-version", saves=False)
def schema_version_unknown(copy: Copy) -> None:
    raw = asdict(copy.manifest) | {"schema_version": 99}
    copy.write_manifest(copy.manifest, json.dumps(raw).encode())


def _rewrite_samples(copy: Copy, change: Callable[[pa.Table], pa.Table]) -> None:
    path = copy.samples_path()
    table = change(pq.read_table(path))
    pq.write_table(table, path, row_group_size=10)
    content, relative = path.read_bytes(), str(path.relative_to(copy.folder))
    files = [
        DataFile(f.path, table.num_rows, len(content), _sha(content)) if f.path == relative else f
        for f in copy.manifest.files
    ]
    copy.write_manifest(replace(copy.manifest, files=files))


@fault("file.schema-foreign", saves=False)
def column_of_another_type(copy: Copy) -> None:
    def change(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index("caption")
        return table.set_column(place, "caption", pa.array(range(table.num_rows), pa.int64()))

    _rewrite_samples(copy, change)


@fault("file.schema-foreign", saves=False)
def pickled_column(copy: Copy) -> None:
    def change(table: pa.Table) -> pa.Table:
        name = {"ARROW:extension:name": "ray.data.arrow_pickled_object"}
        column = pa.field("extra", pa.binary(), metadata=name)
        return table.append_column(column, pa.array([b"\x80\x04."] * table.num_rows, pa.binary()))

    _rewrite_samples(copy, change)


@fault("file.columns-missing", saves=False)
def caption_column_missing(copy: Copy) -> None:
    _rewrite_samples(copy, lambda table: table.drop_columns(["caption"]))


@fault("file.row-group", saves=False)
def row_group_too_large(copy: Copy) -> None:
    def change(table: pa.Table) -> pa.Table:
        blank = b"\0" * (120 * 2**20 // table.num_rows)
        return table.append_column("padding", pa.array([blank] * table.num_rows, pa.binary()))

    path = copy.samples_path()
    table = change(pq.read_table(path))
    pq.write_table(table, path, compression="ZSTD", use_dictionary=False)
    content, relative = path.read_bytes(), str(path.relative_to(copy.folder))
    files = [
        DataFile(f.path, table.num_rows, len(content), _sha(content)) if f.path == relative else f
        for f in copy.manifest.files
    ]
    copy.write_manifest(replace(copy.manifest, files=files))


@fault("file.latents", saves=False)
def latents_of_another_version(copy: Copy) -> None:
    folder = copy.folder / "latents"
    folder.mkdir()
    index = {
        "fingerprint": {}, "manifest_path": "manifests/0000.json", "manifest_sha256": "0" * 64,
        "buckets": [], "splits": {}, "null_text": {"bfloat16": "", "shape": [0, 8]}, "files": [],
        "latents_version": 1,
    }  # fmt: skip
    (folder / "index.json").write_text(json.dumps(index))


# ---- rows and ids


@fault("row.duplicate-key")
def sample_listed_twice(copy: Copy) -> None:
    copy.rows("samples").append(dict(copy.sample()))


@fault("row.orphan")
def clip_row_lost(copy: Copy) -> None:
    clip = copy.clip_of(copy.sample())
    copy.tables["clips"] = [row for row in copy.rows("clips") if row is not clip]


@fault("row.orphan")
def reference_of_no_track(copy: Copy) -> None:
    copy.sample()["references"][0]["track_id"] = "0" * 24


@fault("row.orphan")
def vector_of_no_track(copy: Copy) -> None:
    row = dict(copy.draw(copy.rows("embeddings")))
    copy.rows("embeddings").append(row | {"track_id": "f" * 24})


@fault("row.disagrees")
def sample_joined_to_another_clip(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["video_id"] != sample["video_id"])
    sample["video_id"] = other["video_id"]


@fault("row.disagrees")
def character_of_the_track_differs(copy: Copy) -> None:
    sample = copy.sample()
    sample["character_id"] = "c" * 24


@fault("row.duplicate-sample")
def track_is_two_samples(copy: Copy) -> None:
    copy.rows("samples").append(dict(copy.sample()) | {"sample_id": "e" * 24})


@fault("row.value-range")
def similarity_above_one(copy: Copy) -> None:
    copy.sample()["references"][0]["similarity"] = 1.7


@fault("row.value-range")
def score_not_a_number(copy: Copy) -> None:
    copy.sample()["sharpness"] = float("nan")


@fault("row.unknown-value")
def split_unknown(copy: Copy) -> None:
    copy.sample()["split"] = "dev"


@fault("row.unknown-value")
def kind_unknown(copy: Copy) -> None:
    copy.sample()["references"][0]["kind"] = "gpt_edited"


@fault("row.duration")
def frame_rate_wrong(copy: Copy) -> None:
    sample = copy.sample()
    sample["fps"] *= 1.5
    copy.clip_of(sample)["fps"] = sample["fps"]


@fault("row.boxes")
def boxes_beyond_the_end(copy: Copy) -> None:
    sample = copy.sample()
    sample["boxes"] = sample["boxes"] + [sample["boxes"][-1]] * (sample["num_frames"] + 1)
    copy.track_of(sample)["boxes"] = sample["boxes"]


@fault("row.boxes")
def box_not_a_number(copy: Copy) -> None:
    sample = copy.sample()
    boxes = [list(box) for box in sample["boxes"]]
    boxes[int(copy.random.integers(len(boxes)))][2] = float("nan")
    sample["boxes"] = boxes


@fault("row.boxes")
def boxes_of_a_larger_picture(copy: Copy) -> None:
    sample = copy.sample()
    sample["boxes"] = [[2.5 * side for side in box] for box in sample["boxes"]]


@fault("row.split-counts", saves=False)
def splits_miscounted(copy: Copy) -> None:
    splits = dict(copy.manifest.splits)
    splits["train"] += 1
    copy.write_manifest(replace(copy.manifest, splits=splits))


@fault("row.ledger")
def reject_without_a_line(copy: Copy) -> None:
    copy.rows("rejects").pop()


# ---- pairs


@fault("pair.inside-clip")
def reference_inside_its_clip(copy: Copy) -> None:
    sample = copy.sample(lambda row: row["references"][0]["kind"] != "in_clip_augmented")
    middle = (sample["start_s"] + sample["end_s"]) / 2
    own = {name: sample[name] for name in ("clip_id", "video_id", "track_id")}
    sample["references"][0] |= own | {"time_s": middle, "time_gap_s": 0.0}


def _same_video(sample: dict, reference: dict) -> bool:
    return reference["video_id"] == sample["video_id"]


@fault("pair.kind")
def kind_contradicts_the_ids(copy: Copy) -> None:
    copy.pair(_same_video)[1]["kind"] = "cross_video"


@fault("pair.unaugmented")
def own_picture_unchanged(copy: Copy) -> None:
    sample = copy.sample()
    middle = (sample["start_s"] + sample["end_s"]) / 2
    own = {name: sample[name] for name in ("clip_id", "video_id", "track_id")}
    own |= {"kind": "in_clip_augmented", "augmentation": "", "time_s": middle, "time_gap_s": 0.0}
    sample["references"][0] |= own


@fault("pair.time")
def gap_wrong(copy: Copy) -> None:
    copy.pair(_same_video)[1]["time_gap_s"] = 61.0


@fault("pair.time")
def time_outside_the_source_clip(copy: Copy) -> None:
    copy.sample()["references"][0]["time_s"] += 500.0


@fault("pair.other-character")
def reference_of_somebody_else(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["character_id"] != sample["character_id"])
    taken = dict(other["references"][0])
    taken["kind"] = "cross_video" if taken["video_id"] != sample["video_id"] else taken["kind"]
    sample["references"] = [taken, *sample["references"][1:]]


@fault("pair.low-similarity")
def similarity_below_the_floor(copy: Copy) -> None:
    copy.sample()["references"][0]["similarity"] = 0.31


@fault("pair.similarity-differs")
def similarity_of_another_pair(copy: Copy) -> None:
    reference = copy.sample()["references"][0]
    near = reference["similarity"] - 0.05
    reference["similarity"] = near if near > 0.905 else reference["similarity"] + 0.04


@fault("pair.wrong-identity")
def vector_of_somebody_else(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["character_id"] != sample["character_id"])
    reference = sample["references"][0]
    mine = copy.vector_of(reference["track_id"], reference["reference_id"])
    mine["vector"] = copy.vector_of(other["track_id"])["vector"]


@fault("pair.no-reference")
def no_reference(copy: Copy) -> None:
    copy.sample()["references"] = []


@fault("pair.reference-twice")
def reference_listed_twice(copy: Copy) -> None:
    sample = copy.sample()
    sample["references"] = [sample["references"][0], *sample["references"]]


@fault("pair.low-quality")
def reference_of_low_quality(copy: Copy) -> None:
    copy.sample()["references"][0]["quality"] = 0.05


@fault("pair.mirrored")
def reference_mirrored(copy: Copy) -> None:
    copy.sample()["references"][0]["augmentation"] = '{"flip": true, "scale": 1.0}'


@fault("pair.edit-drift")
def edit_drifted(copy: Copy) -> None:
    reference = copy.sample()["references"][0]
    reference |= {"augmentation": '{"prompt_id": "older", "seed": 4}', "similarity": 0.55}


@fault("pair.too-near")
def neighbour_of_the_same_shot(copy: Copy) -> None:
    sample = copy.sample()
    own = {"video_id": sample["video_id"], "kind": "same_shot_other_clip", "augmentation": ""}
    sample["references"][0] |= own | {"time_s": sample["end_s"] + 0.4, "time_gap_s": 0.4}


@fault("pair.copy-vector")
def vector_is_the_clip_s_own(copy: Copy) -> None:
    reference_of = copy.sample()
    reference = reference_of["references"][0] | {"augmentation": ""}
    reference_of["references"][0] = reference
    mine = copy.vector_of(reference["track_id"], reference["reference_id"])
    mine["vector"] = copy.vector_of(reference_of["track_id"])["vector"]
    reference["similarity"] = 1.0


@fault("pair.copy-picture", media=True)
def reference_cut_from_its_clip(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    place = len(sample["boxes"]) // 2
    frame = pictures[sample["first_frame"] + place]
    x0, y0, x1, y1 = (round(side) for side in sample["boxes"][place])
    x0, y0 = max(0, x0), max(0, y0)
    x1, y1 = min(frame.shape[1], x1), min(frame.shape[0], y1)
    crop = frame[y0:y1, x0:x1]
    mask = np.zeros(crop.shape[:2], np.uint8)
    mask[2:-2, 2:-2] = 255
    _set_image(sample, encode_jpeg(crop, 95), encode_png_mask(mask))


def _set_image(sample: dict, image: bytes, mask: bytes | None = None) -> None:
    reference = sample["references"][0]
    reference["image"]["bytes"], reference["sha256"] = image, _sha(image)
    if mask is not None:
        reference["mask"]["bytes"] = mask


@fault("pair.background", media=True)
def reference_before_the_clip_s_ground(copy: Copy) -> None:
    """Another pose, cut out and put back before exactly what stands behind the clip's person."""
    sample = copy.sample(lambda row: row["num_frames"] > 12 and _has_ground(row))
    pictures, boxes = pictures_of(sample), sample["boxes"]
    place = len(boxes) // 2
    frame = pictures[sample["first_frame"] + place].copy()
    x0, y0, x1, y1 = boxes[place]
    width, height = x1 - x0, y1 - y0
    crop = frame[
        max(0, int(y0 - 0.3 * height)) : int(y1 + 0.3 * height),
        max(0, int(x0 - 0.3 * width)) : int(x1 + 0.3 * width),
    ].copy()
    left, top = int(x0) - max(0, int(x0 - 0.3 * width)), int(y0) - max(0, int(y0 - 0.3 * height))
    body = crop[top : top + int(height), left : left + int(width)]
    body[:] = np.clip(body[:, ::-1].astype(float) * 0.8 + 20, 0, 255).astype(np.uint8)
    mask = np.zeros(crop.shape[:2], np.uint8)
    mask[top : top + int(height), left : left + int(width)] = 255
    sample["references"][0]["augmentation"] = ""
    _set_image(sample, encode_jpeg(crop, 95), encode_png_mask(mask))


def _has_ground(sample: dict) -> bool:
    x0, y0, x1, y1 = sample["boxes"][len(sample["boxes"]) // 2]
    return (x1 - x0) * (y1 - y0) < 0.4 * sample["width"] * sample["height"]


# ---- vectors


@fault("vector.not-finite")
def vector_not_a_number(copy: Copy) -> None:
    row = copy.draw(copy.rows("embeddings"))
    row["vector"] = [float("nan"), *row["vector"][1:]]


@fault("vector.not-finite")
def vector_of_zeros(copy: Copy) -> None:
    row = copy.draw(copy.rows("embeddings"))
    row["vector"] = [0.0] * len(row["vector"])


@fault("vector.not-unit")
def vector_three_times_as_long(copy: Copy) -> None:
    row = copy.draw(copy.rows("embeddings"))
    row["vector"] = [3 * value for value in row["vector"]]


@fault("vector.dimension")
def vector_of_another_length(copy: Copy) -> None:
    row = copy.draw(copy.rows("embeddings"))
    row["vector"] = row["vector"][:-1]


@fault("vector.mixed")
def recognisers_mixed(copy: Copy) -> None:
    copy.draw(copy.rows("embeddings"))["recogniser"] = "arcface-w600k/1"


@fault("vector.mixed")
def weights_mixed(copy: Copy) -> None:
    copy.draw(copy.rows("embeddings"))["weights_digest"] = "a" * 64


@fault("vector.mixed")
def pair_scored_by_another_recogniser(copy: Copy) -> None:
    copy.sample()["references"][0]["recogniser"] = "sface/1"


@fault("vector.missing")
def vector_missing(copy: Copy) -> None:
    reference = copy.sample()["references"][0]
    rows = copy.rows("embeddings")
    copy.tables["embeddings"] = [
        row for row in rows if row["reference_id"] != reference["reference_id"]
    ]


# ---- characters


@fault("identity.impure-track")
def track_impure(copy: Copy) -> None:
    copy.sample()["purity"] = 0.4


@fault("identity.coverage")
def character_hardly_seen(copy: Copy) -> None:
    copy.sample()["coverage"] = 0.2


@fault("identity.jump")
def box_jumps_to_somebody_else(copy: Copy) -> None:
    sample = copy.sample(lambda row: _has_ground(row) and len(row["boxes"]) > 8)
    boxes = [list(box) for box in sample["boxes"]]
    width = boxes[0][2] - boxes[0][0]
    height = boxes[0][3] - boxes[0][1]
    step = 1.3 * max(width, height)
    step = step if boxes[-1][2] + step < sample["width"] else -step
    half = len(boxes) // 2
    sample["boxes"] = boxes[:half] + [[b[0] + step, b[1], b[2] + step, b[3]] for b in boxes[half:]]


@fault("identity.twice-in-frame")
def character_twice_in_a_frame(copy: Copy) -> None:
    track = dict(copy.track_of(copy.sample()))
    shifted = [[b[0] + 50, b[1], b[2] + 50, b[3]] for b in track["boxes"]]
    copy.rows("tracks").append(track | {"track_id": "a" * 24, "boxes": shifted})


@fault("identity.double-track")
def person_followed_twice(copy: Copy) -> None:
    track = dict(copy.track_of(copy.sample()))
    copy.rows("tracks").append(track | {"track_id": "b" * 24, "character_id": ""})


@fault("identity.split-suspect")
def one_person_two_characters(copy: Copy) -> None:
    """The tracks of one character are handed to two ids."""
    counted: dict[str, list[dict]] = {}
    for row in copy.rows("samples"):
        counted.setdefault(row["character_id"], []).append(row)
    several = [rows for rows in counted.values() if len(rows) > 1]
    rows = several[int(copy.random.integers(len(several)))]
    for row in rows[: len(rows) // 2]:
        row["character_id"] = copy.track_of(row)["character_id"] = "d" * 24


@fault("identity.merge-suspect")
def two_people_one_character(copy: Copy) -> None:
    sample = copy.sample()
    vector = np.array(copy.vector_of(sample["track_id"])["vector"])

    def other(row: dict) -> bool:
        there = np.array(copy.vector_of(row["track_id"])["vector"])
        return row["character_id"] != sample["character_id"] and float(there @ vector) < 0.7

    stranger = copy.sample(other)
    for row in copy.rows("samples"):
        if row["character_id"] == stranger["character_id"]:
            row["character_id"] = copy.track_of(row)["character_id"] = sample["character_id"]


@fault("identity.dominant")
def one_character_has_most(copy: Copy) -> None:
    samples = copy.rows("samples")
    ids = sorted({row["character_id"] for row in samples})
    for place, row in enumerate(samples):
        row["character_id"] = ids[0] if place > 2 else f"{place}" * 24
        copy.track_of(row)["character_id"] = row["character_id"]


@fault("identity.one-reference")
def same_reference_everywhere(copy: Copy) -> None:
    counted: dict[str, list[dict]] = {}
    for row in copy.rows("samples"):
        counted.setdefault(row["character_id"], []).append(row)
    rows = next(rows for rows in counted.values() if len(rows) > 1)
    for row in rows:
        row["references"] = [dict(rows[0]["references"][0])]


# ---- captions


def _caption(check: str, name: str, text: str) -> None:
    def set_caption(copy: Copy) -> None:
        copy.sample()["caption"] = text

    FAULTS[name] = Fault(name, check, set_caption, media=False, saves=True)


_caption("caption.refusal", "caption_refuses", "I'm sorry, but I cannot describe this image.")
_caption("caption.empty", "caption_empty", "")
_caption("caption.names", "caption_names_somebody", "A man named John Smith walks along a beach.")
_caption("caption.markup", "caption_with_markup", "<b>A person</b> walks <script>x</script> there.")
_caption("caption.loop", "caption_loops", "a man walks " * 12)
_caption("caption.count", "caption_counts_people_who_are_not_there", "Nine people walk on a beach.")
_caption(
    "caption.length",
    "caption_too_long",
    "A person walks past another shop. " * 2
    + "".join(f"Then shop number {n} comes into view on the {n}th street. " for n in range(40)),
)


@fault("caption.echo")
def caption_repeats_the_prompt(copy: Copy) -> None:
    from pipeline.engines.caption_prompts import INSTRUCTION

    copy.sample()["caption"] = " ".join(INSTRUCTION.split()[:30])


# ---- leakage


def _two_splits(copy: Copy, key: str) -> None:
    counted: dict[str, list[dict]] = {}
    for row in copy.rows("samples"):
        counted.setdefault(row[key], []).append(row)
    several = [rows for rows in counted.values() if len(rows) > 1]
    rows = several[int(copy.random.integers(len(several)))]
    rows[0]["split"] = "test" if rows[1]["split"] != "test" else "train"


@fault("leak.character")
def character_in_two_splits(copy: Copy) -> None:
    _two_splits(copy, "character_id")


@fault("leak.video")
def video_in_two_splits(copy: Copy) -> None:
    _two_splits(copy, "video_id")


@fault("leak.reference")
def reference_from_another_split(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["split"] != sample["split"])
    sample["references"][0]["video_id"] = other["video_id"]


def _far(copy: Copy) -> tuple[dict, dict]:
    sample = copy.sample()
    return sample, copy.sample(
        lambda row: row["split"] != sample["split"] and row["video_id"] != sample["video_id"]
    )


@fault("leak.near-duplicate")
def near_duplicate_across_splits(copy: Copy) -> None:
    one, other = (copy.clip_of(sample) for sample in _far(copy))
    bits = int(one["perceptual_hash"], 16) ^ 1 << int(copy.random.integers(192))
    other["perceptual_hash"] = f"{bits:048x}"


@fault("leak.identical")
def same_clip_across_splits(copy: Copy) -> None:
    one, other = (copy.clip_of(sample) for sample in _far(copy))
    other["sha256"] = one["sha256"]


@fault("leak.same-person")
def person_of_two_splits(copy: Copy) -> None:
    one, other = _far(copy)
    for row in copy.rows("embeddings"):
        if row["track_id"] == other["track_id"] and not row["reference_id"]:
            row["vector"] = copy.vector_of(one["track_id"])["vector"]
    for row in copy.rows("samples"):
        if row is not other and row["character_id"] == other["character_id"]:
            row["character_id"] = copy.track_of(row)["character_id"] = "9" * 24


@fault("leak.held-out")
def clip_of_a_held_out_set(copy: Copy) -> None:
    text = copy.clip_of(copy.sample())["perceptual_hash"]
    path = copy.folder / "held_out.txt"
    path.write_text(f"# hashes\n{text[16:32]}\n")
    copy.extra["held_out"] = [str(path)]


# ---- rights and safety


@fault("rights.licence")
def licence_unknown(copy: Copy) -> None:
    copy.sample()["licence"] = "unknown"


@fault("rights.source")
def source_missing(copy: Copy) -> None:
    copy.sample()["source"] = ""


@fault("rights.licence-refused")
def licence_refused(copy: Copy) -> None:
    allowed = sorted({row["licence"] for row in copy.rows("samples")})
    copy.sample()["licence"] = "proprietary"
    copy.save()
    config = copy.manifest.config | {"licences": {"allowed": allowed}}
    copy.write_manifest(replace(copy.manifest, config=config))


@fault("rights.restricted")
def licence_non_commercial(copy: Copy) -> None:
    copy.sample()["licence"] = "CC-BY-NC-4.0"


@fault("rights.opt-out")
def video_opted_out(copy: Copy) -> None:
    path = copy.folder / "opt_out.txt"
    path.write_text(f"{copy.sample()['video_id']}\n")
    copy.extra["opt_out"] = [str(path)]


@fault("safety.known-picture", media=True)
def known_picture(copy: Copy) -> None:
    path = copy.folder / "known.txt"
    path.write_text(f"{_sha(copy.sample()['references'][0]['image']['bytes'])}\n")
    copy.extra["known_bad"] = [str(path)]


# ---- clips


@fault("media.frame-count", media=True)
def clip_truncated(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    copy.set_clip(sample, pictures[: len(pictures) * 2 // 3])


@fault("media.undecodable", media=True)
def clip_is_no_video(copy: Copy) -> None:
    copy.set_bytes(copy.sample(), copy.random.bytes(4000))


@fault("media.damaged", media=True)
def clip_with_changed_bytes(copy: Copy) -> None:
    sample = copy.sample()
    content = bytearray(sample["video"]["bytes"])
    start = content.index(b"mdat") + 4
    for place in copy.random.integers(start + 200, len(content) - 2000, 40):
        content[place] ^= 0xFF
    copy.set_bytes(sample, bytes(content))


@fault("media.clip-hash", media=True)
def clip_exchanged(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["clip_id"] != sample["clip_id"])
    copy.set_bytes(sample, other["video"]["bytes"], columns=False)


@fault("media.measures-differ", media=True)
def scores_of_another_clip(copy: Copy) -> None:
    sample = copy.sample()
    clip = copy.clip_of(sample)
    sample["sharpness"] = clip["sharpness"] = 7 * sample["sharpness"] + 300


@fault("media.picture-size", media=True)
def clip_of_another_size(copy: Copy) -> None:
    sample = copy.sample()
    size = (sample["width"] // 4 * 2, sample["height"] // 4 * 2)
    copy.set_clip(sample, [cv2.resize(p, size) for p in pictures_of(sample)])


@fault("media.frame-rate", media=True)
def clip_of_another_rate(copy: Copy) -> None:
    sample = copy.sample()
    copy.set_bytes(sample, encode(pictures_of(sample), round(sample["fps"]) + 8))


@fault("clip.hidden-cut", media=True)
def clip_with_a_cut(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["video_id"] != sample["video_id"])
    pictures, others = pictures_of(sample), pictures_of(other)
    size = (sample["width"], sample["height"])
    half = len(pictures) // 2
    tail = [cv2.resize(others[k % len(others)], size) for k in range(len(pictures) - half)]
    copy.set_clip(sample, pictures[:half] + tail)


@fault("clip.fade", media=True)
def clip_fades_out(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    length = min(16, len(pictures) - 4)
    faded = [
        (picture * (1 - min(1.0, k / (length - 6)))).astype(np.uint8)
        for k, picture in enumerate(pictures[-length:])
    ]
    copy.set_clip(sample, pictures[:-length] + faded)


@fault("clip.black-and-white", media=True)
def clip_without_colour(copy: Copy) -> None:
    sample = copy.sample()
    grey = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in pictures_of(sample)]
    copy.set_clip(sample, [cv2.cvtColor(p, cv2.COLOR_GRAY2RGB) for p in grey])


@fault("clip.watermark", media=True)
def clip_with_a_watermark(copy: Copy) -> None:
    """A logo stands in the corner of a picture that moves; before a plain wall nothing would."""
    sample = copy.sample(_is_textured)
    pictures = pictures_of(sample)
    height, width = pictures[0].shape[:2]
    wide = np.tile(pictures[0], (1, 3, 1))
    made = []
    for k in range(len(pictures)):
        picture = np.roll(wide, -9 * k, axis=1)[:, :width].copy()
        at = (width * 3 // 4, height // 8)
        scale = height / 260
        thick = max(2, height // 120)
        cv2.putText(picture, "LOGO", at, cv2.FONT_HERSHEY_DUPLEX, scale, (255, 255, 255), thick)
        made.append(picture)
    copy.set_clip(sample, made)


def _is_textured(sample: dict) -> bool:
    grey = cv2.cvtColor(pictures_of(sample)[0], cv2.COLOR_RGB2GRAY).astype(float)
    rim = np.concatenate([grey[: len(grey) // 8], grey[-len(grey) // 8 :]])
    return bool((rim.std(axis=1) > 15).mean() > 0.9)


@fault("clip.blurry", media=True)
def clip_blurred(copy: Copy) -> None:
    sample = copy.sample()
    copy.set_clip(sample, [cv2.GaussianBlur(p, (0, 0), 14) for p in pictures_of(sample)])


@fault("clip.dark", media=True)
def clip_dark(copy: Copy) -> None:
    sample = copy.sample()
    copy.set_clip(sample, [(p * 0.06).astype(np.uint8) for p in pictures_of(sample)])


@fault("clip.bright", media=True)
def clip_blown_out(copy: Copy) -> None:
    sample = copy.sample()
    pictures = [np.clip(p.astype(int) * 2 + 215, 0, 255) for p in pictures_of(sample)]
    copy.set_clip(sample, [p.astype(np.uint8) for p in pictures])


@fault("clip.flat", media=True)
def clip_in_fog(copy: Copy) -> None:
    sample = copy.sample()
    copy.set_clip(sample, [(p * 0.05 + 120).astype(np.uint8) for p in pictures_of(sample)])


@fault("clip.border", media=True)
def clip_with_bars(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    bar = pictures[0].shape[1] // 5
    for picture in pictures:
        picture[:, :bar] = picture[:, -bar:] = 0
    copy.set_clip(sample, pictures)


@fault("clip.still", media=True)
def clip_is_a_photograph(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    copy.set_clip(sample, [pictures[0]] * len(pictures))


@fault("clip.text", media=True)
def clip_with_subtitles(copy: Copy) -> None:
    sample = copy.sample()
    pictures = pictures_of(sample)
    height = pictures[0].shape[0]
    for picture in pictures:
        for line in range(3):
            cv2.putText(picture, "WHAT THEY SAID TO HIM", (8, height - 12 - line * height // 8),
                        cv2.FONT_HERSHEY_SIMPLEX, height / 330, (255, 255, 255), 2)  # fmt: skip
    copy.set_clip(sample, pictures)


@fault("clip.blurry")
def blur_in_the_column(copy: Copy) -> None:
    sample = copy.sample()
    sample["sharpness"] = copy.clip_of(sample)["sharpness"] = 3.0


@fault("clip.crowded")
def clip_crowded(copy: Copy) -> None:
    sample = copy.sample()
    sample["num_people"] = copy.clip_of(sample)["num_people"] = 9


@fault("clip.small-person")
def person_tiny(copy: Copy) -> None:
    copy.sample()["area"] = 0.004


# ---- masks and references


def _mask(copy: Copy, change: Callable[[np.ndarray], np.ndarray]) -> None:
    reference = copy.sample()["references"][0]
    mask = decode_image(reference["mask"]["bytes"])[..., 0]
    reference["mask"]["bytes"] = encode_png_mask(np.ascontiguousarray(change(mask)))


@fault("media.mask-shifted", media=True)
def mask_shifted(copy: Copy) -> None:
    _mask(copy, lambda mask: np.roll(mask, mask.shape[1] // 7, axis=1))


@fault("media.mask-size", media=True)
def mask_of_another_size(copy: Copy) -> None:
    _mask(copy, lambda mask: mask[::2, ::2])


@fault("media.mask-empty", media=True)
def mask_empty(copy: Copy) -> None:
    _mask(copy, np.zeros_like)


@fault("media.mask-soft", media=True)
def mask_with_a_halo(copy: Copy) -> None:
    _mask(copy, lambda mask: cv2.GaussianBlur(mask, (0, 0), mask.shape[1] / 12))


@fault("media.mask-undecodable", media=True)
def mask_is_no_picture(copy: Copy) -> None:
    copy.sample()["references"][0]["mask"]["bytes"] = b"\x89PNG\r\n" + copy.random.bytes(200)


@fault("media.reference-undecodable", media=True)
def reference_is_no_picture(copy: Copy) -> None:
    _set_image(copy.sample(), copy.random.bytes(2000))


@fault("media.reference-hash", media=True)
def reference_exchanged(copy: Copy) -> None:
    sample = copy.sample()
    other = copy.sample(lambda row: row["character_id"] != sample["character_id"])
    one, two = sample["references"][0], other["references"][0]
    one["image"], one["mask"] = dict(two["image"]), dict(two["mask"])
