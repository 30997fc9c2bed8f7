"""Every export is read back by the tool that it is made for."""

import hashlib
import json
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from patience import HANG_S
from places import script
from tiny_dataset import tiny_sample, write_samples

from pipeline.dataset.store import open_store
from pipeline.dataset.tags import Tag, write_tags
from pipeline.export import load_fiftyone
from pipeline.export.croissant import write_croissant
from pipeline.export.export_source import export
from pipeline.export.fiftyone import write_fiftyone
from pipeline.export.huggingface import write_huggingface
from pipeline.export.parquet_shards import write_shards
from pipeline.export.webdataset import write_webdataset

JOB = script("export")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Five samples in two splits; the last is vetoed, one licence tries to break the card."""
    rows = [tiny_sample(number, (64, 48), frames=8) for number in range(5)]
    rows[3] = replace(rows[3], split="validation")
    rows[1] = replace(rows[1], licence="a | <script>\n# x", fps=float("nan"))
    folder = tmp_path_factory.mktemp("dataset")
    write_samples(folder, rows, per_file=2)
    write_tags([Tag(rows[4].sample_id, "veto")], open_store(folder))
    return open_store(folder), {row.sample_id: row for row in rows[:4]}


def test_huggingface_is_read_by_datasets(made, tmp_path):
    datasets = pytest.importorskip("datasets")
    store, rows = made
    facts = export(write_huggingface, store, tmp_path / "out")
    assert (facts.total, facts.left_out) == (4, 1)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 3, "validation": 1}
    assert type(loaded["train"].features["video"]).__name__ == "Video"
    for split in loaded.values():
        plain = split.cast_column("video", datasets.Video(decode=False))
        for row in plain:
            mine = rows[row["sample_id"]]
            assert row["video"]["bytes"] == mine.video["bytes"]
            assert row["caption"] == mine.caption
            assert row["references"][0]["image"].size[0] > 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| train | 3 |" in card
    assert "license: other" in card
    assert "<script>" not in card
    assert "\n# x" not in card


def test_webdataset_is_read_by_webdataset_and_has_the_same_bytes_each_time(made, tmp_path):
    wds = pytest.importorskip("webdataset")
    store, rows = made
    export(write_webdataset, store, tmp_path / "one")
    export(write_webdataset, store, tmp_path / "two")
    tars = sorted((tmp_path / "one").iterdir())
    assert [tar.name for tar in tars] == ["train-000000.tar", "validation-000000.tar"]
    for tar in tars:
        assert tar.read_bytes() == (tmp_path / "two" / tar.name).read_bytes()
    seen = {}
    for tar in tars:
        for row in wds.WebDataset(str(tar), shardshuffle=False):
            seen[row["__key__"]] = row
    assert seen.keys() == rows.keys()
    for key, row in seen.items():
        assert row["mp4"] == rows[key].video["bytes"]
        assert row["reference1.jpg"] == rows[key].references[1].image["bytes"]
        assert row["mask0.png"] == rows[key].references[0].mask["bytes"]
        told = json.loads(row["json"])
        assert told["character_id"] == rows[key].character_id
        assert told["references"][0]["reference_id"] == rows[key].references[0].reference_id


def test_shards_are_cut_at_a_size(made, tmp_path):
    store, rows = made
    export(lambda source, folder: write_webdataset(source, folder, 1), store, tmp_path / "tars")
    assert len(list((tmp_path / "tars").iterdir())) == len(rows)
    for tar in (tmp_path / "tars").iterdir():
        with tarfile.open(tar) as opened:
            names = opened.getnames()
        assert len({name.split(".")[0] for name in names}) == 1

    def write_small_shards(source, folder):
        write_shards(source, folder, 1)

    export(write_small_shards, store, tmp_path / "p")
    assert len(list((tmp_path / "p" / "data").iterdir())) >= 3


def test_croissant_is_valid_and_read_by_mlcroissant(made, tmp_path):
    mlc = pytest.importorskip("mlcroissant")
    store, rows = made
    export(write_croissant, store, tmp_path / "out")
    dataset = mlc.Dataset(jsonld=str(tmp_path / "out" / "croissant.json"))
    assert not dataset.metadata.issues.errors
    assert not dataset.metadata.issues.warnings  # citeAs, datePublished, licence, version
    assert dataset.metadata.ctx.is_v1_1()
    described = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert "faces" in described["rai:personalSensitiveInformation"]
    for file in described["distribution"]:
        if file["@type"] == "cr:FileObject":
            content = (tmp_path / "out" / file["contentUrl"]).read_bytes()
            assert file["sha256"] == hashlib.sha256(content).hexdigest()
    read = {row["samples/sample_id"].decode(): row for row in dataset.records("samples")}
    assert read.keys() == rows.keys()
    for key, row in read.items():
        assert row["samples/video"] == rows[key].video["bytes"]
        assert row["samples/caption"].decode() == rows[key].caption
        assert row["samples/num_frames"] == 8


def test_fiftyone_gets_groups_with_numbers_boxes_and_masks(made, tmp_path):
    """`fiftyone` itself needs a database; what its script is handed is checked line by line."""
    store, rows = made
    export(write_fiftyone, store, tmp_path / "out")
    lines = (tmp_path / "out" / "samples.jsonl").read_text().splitlines()
    read = {line["sample_id"]: line for line in map(json.loads, lines)}
    assert read.keys() == rows.keys()
    for key, line in read.items():
        row = rows[key]
        assert line["tags"] == [row.split]
        assert (tmp_path / "out" / line["clip"]).read_bytes() == row.video["bytes"]
        assert line["fields"]["caption"] == row.caption
        assert line["fields"]["sharpness"] == 100.0
        assert ("fps" in line["fields"]) == (row.fps == row.fps)  # an unknown number is left out
        assert sorted(map(int, line["boxes"])) == list(range(1, 9))
        left, top, width, height = line["boxes"]["3"]
        assert left + width == pytest.approx(row.boxes[2][2] / 64)
        assert top + height == pytest.approx(row.boxes[2][3] / 48)
        for reference, stored in zip(line["references"], row.references, strict=True):
            image, mask = (tmp_path / "out" / reference[name] for name in ("image", "mask"))
            assert image.read_bytes() == stored.image["bytes"]
            assert mask.read_bytes() == stored.mask["bytes"]
            assert reference["fields"]["similarity"] == pytest.approx(0.9)
            assert reference["fields"]["kind"] == "cross_video"
    assert (tmp_path / "out" / "load.py").read_bytes() == Path(load_fiftyone.__file__).read_bytes()


def test_embeddings_never_leave_and_a_failed_export_leaves_nothing(made, tmp_path):
    store, _ = made

    def fails(source, folder):
        write_shards(source, folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        export(fails, store, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    export(write_huggingface, store, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").rglob("*")}
    assert not any("embedding" in name for name in names)
    with pytest.raises(FileExistsError, match="new or empty"):
        export(write_huggingface, store, tmp_path / "out")


def test_an_id_that_leaves_the_folder_is_refused(tmp_path):
    write_samples(tmp_path / "in", [replace(tiny_sample(0), sample_id="../../x")])
    for write in (write_huggingface, write_webdataset, write_croissant, write_fiftyone):
        with pytest.raises(ValueError, match=r"sample '\.\./\.\./x'"):
            export(write, open_store(tmp_path / "in"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_job_says_what_it_wrote_or_what_is_wrong(made, tmp_path):
    store, _ = made
    asked = [sys.executable, JOB, store.url, "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [*asked, "--format", "fiftyone", "--with-vetoed"], capture_output=True, text=True,
        timeout=HANG_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "wrote 5 samples to" in done.stdout
    done = subprocess.run(
        [*asked, "--format", "fiftyone"],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 2
    assert "has content" in done.stderr
