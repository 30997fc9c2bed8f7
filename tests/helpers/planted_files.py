"""Faults of files, manifests and rows."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from planted import Copy, fault, sha256_of

from schemas.manifest import POINTER, DataFile


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
        DataFile(f.path, f.rows, len(content), sha256_of(bytes(content)))
        if f.path == relative
        else f
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
        DataFile(f.path, table.num_rows, len(content), sha256_of(content))
        if f.path == relative
        else f
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
        DataFile(f.path, table.num_rows, len(content), sha256_of(content))
        if f.path == relative
        else f
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


@fault("row.orphan")
def character_row_lost(copy: Copy) -> None:
    lost = copy.sample()["character_id"]
    left = [row for row in copy.rows("characters") if row["character_id"] != lost]
    copy.tables["characters"] = left


@fault("row.disagrees")
def character_miscounted(copy: Copy) -> None:
    copy.draw(copy.rows("characters"))["num_tracks"] += 3


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
