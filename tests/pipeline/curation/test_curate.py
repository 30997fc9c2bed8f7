"""The whole job, run as a user runs it: same bytes always, nothing lost, nothing done twice."""

import os
import random
import re
import shutil

import pytest
from patience import children_work_less_than
from present import current_version
from runs import content, curate, rows

from pipeline.dataset.commit import damaged_files
from pipeline.dataset.store import LocalStore
from pipeline.dataset.tags import VETO, write_tags
from schemas.tables import Tag

pytestmark = pytest.mark.slow
# Loaded by every Python process: at each look the clock has gone some years on, or back.
JUMPING_CLOCK = """
import pathlib, random, time
true_time = time.time
def jumping():
    pathlib.Path(__file__).with_name("jumped").touch()
    return true_time() + random.uniform(-1e8, 1e8)
time.time = jumping
"""


def test_every_row_is_accounted_for(golden):
    manifest, _ = current_version(LocalStore(str(golden)))
    assert damaged_files(manifest, LocalStore(str(golden))) == []
    rejects = rows(golden, "rejects")
    by_stage = {(row.stage, row.level): row for row in manifest.funnel}
    probe = by_stage["probe", "video"]
    assert (probe.entered, probe.kept, probe.failed) == (8, 6, 0)
    assert probe.reasons == {"duplicate_video": 1, "not_a_video": 1}
    for row in manifest.funnel:
        lost = [r for r in rejects if (r["stage"], r["level"]) == (row.stage, row.level)]
        assert row.entered == row.kept + sum(r["number"] for r in lost)
    assert by_stage["shots", "video"].entered == probe.kept
    assert by_stage["quality", "clip"].entered == len(rows(golden, "clips"))
    refused = {row["id"] for row in rejects if row["stage"] == "quality"}
    tracks = [row for row in rows(golden, "tracks") if row["clip_id"] not in refused]
    assert by_stage["people", "track"].entered == len(tracks)
    assert by_stage["references", "sample"].kept == len(rows(golden, "samples")) >= 6
    assert sum(manifest.splits.values()) == len(rows(golden, "samples"))


def test_order_and_surroundings_change_no_byte(videos, golden, tmp_path, monkeypatch):
    for name, value in {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7"}.items():
        monkeypatch.setenv(name, value)
    clock, output = tmp_path / "clock", tmp_path / "out"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(JUMPING_CLOCK)
    monkeypatch.setenv("PYTHONPATH", str(clock), prepend=os.pathsep)
    shuffled = sorted(videos.iterdir(), key=lambda path: random.Random(path.name).random())
    curate(output, *shuffled)
    assert (clock / "jumped").exists()
    assert content(output) == content(golden)


def test_a_rerun_does_nothing_and_says_so(videos, golden):
    before = {p: p.stat().st_mtime_ns for p in golden.rglob("*") if p.name != "_lock"}
    with children_work_less_than(10):
        done = curate(golden, videos)
    assert "nothing to do" in done.stdout
    assert re.search(r"samples \(\d+ train, \d+ validation, \d+ test\) in", done.stdout)
    assert before == {p: p.stat().st_mtime_ns for p in golden.rglob("*") if p.name != "_lock"}


def test_other_thresholds_make_a_new_version_without_decoding(videos, golden, tmp_path):
    shutil.copytree(golden, tmp_path, dirs_exist_ok=True)
    units = {p: p.stat().st_mtime_ns for p in (tmp_path / "units").rglob("*.parquet")}
    first = current_version(LocalStore(str(tmp_path)))
    others = ["pair.references.max_references=1", "pair.samples=multi_character"]
    others += ["pair.references.kinds.cross_video.floor=cross_video-0.1"]
    done = curate(tmp_path, videos, extra=[word for each in others for word in ("--set", each)])
    manifest, _ = current_version(LocalStore(str(tmp_path)))
    assert (manifest.version, manifest.parent) == (2, first[1])
    assert all(len(row["references"]) == 1 for row in rows(tmp_path, "samples"))
    assert "observe" not in done.stderr
    assert units == {p: p.stat().st_mtime_ns for p in (tmp_path / "units").rglob("*.parquet")}


def test_a_licence_given_later_makes_a_new_version_without_decoding(videos, golden, tmp_path):
    shutil.copytree(golden, tmp_path, dirs_exist_ok=True)
    terms = ["--licence", "CC-BY-4.0", "--source", "my own camera"]
    done = curate(tmp_path, videos, extra=terms)
    assert "observe" not in done.stderr
    assert {(row["licence"], row["source"]) for row in rows(tmp_path, "samples")} == {
        ("CC-BY-4.0", "my own camera")
    }
    assert "nothing to do" in curate(tmp_path, videos, extra=terms).stdout


def test_a_veto_leaves_the_sample_out_until_it_is_taken_back(videos, golden, tmp_path):
    output = tmp_path / "dataset"
    shutil.copytree(golden, output)
    store = LocalStore(str(output))
    [refused, *others] = sorted(row["sample_id"] for row in rows(output, "samples"))
    write_tags([Tag(refused, VETO, "somebody else"), Tag(others[0], "nice")], store)
    curate(output, videos)
    assert sorted(row["sample_id"] for row in rows(output, "samples")) == others
    [line] = [row for row in rows(output, "rejects") if row["reason"] == "vetoed"]
    assert (line["stage"], line["id"]) == ("review", refused)
    manifest, _ = current_version(store)
    assert manifest.funnel[-1].kept == len(others)
    assert "nothing to do" in curate(output, videos).stdout
    write_tags([], store)
    curate(output, videos)
    assert len(rows(output, "samples")) == len(others) + 1


def test_a_new_video_is_observed_and_the_others_are_not(videos, golden, tmp_path):
    output = tmp_path / "dataset"
    curate(output, videos / "1.mp4", videos / "2.mp4")
    done = curate(output, videos)
    assert "5 videos" in done.stderr.split("observe:")[-1]  # four, and the broken file
    manifest, _ = current_version(LocalStore(str(output)))
    assert manifest.version == 2
    original, _ = current_version(LocalStore(str(golden)))
    assert manifest.funnel == original.funnel


def test_what_cannot_be_done_is_refused_before_anything_is_changed(videos, golden):
    before = content(golden)
    done = curate(golden, videos, extra=["--set", "observe.clips.max_s=5"], code=2)
    assert "clips.max_s: now 5.0, then 10.0" in done.stderr
    done = curate(golden, videos / "1.mp4", code=2)
    assert "holds 5 videos that are not among the inputs" in done.stderr
    done = curate(golden, videos, extra=["--set", "observe.clips.maxs=5"], code=2)
    assert "clips.maxs" in done.stderr
    done = curate(
        golden.parent / "new", videos, extra=["--set", "observe.engines.people=no:Engine"], code=2
    )
    assert "observe.engines.people=no:Engine cannot be loaded: No module named 'no'" in done.stderr
    done = curate(golden, videos / "none.mp4", code=2)
    assert "no such file or folder" in done.stderr
    assert content(golden) == before


def test_datasets_and_pandas_read_what_was_published(golden):
    import datasets
    import pandas as pd

    samples = datasets.load_dataset(
        "parquet",
        data_files=f"{golden}/samples/*.parquet",
        split="train",
        cache_dir=str(golden.parent / "cache"),
    )
    assert isinstance(samples.features["video"], datasets.Video)
    sample = samples.cast_column("video", datasets.Video(decode=False))[0]
    assert sample["video"]["bytes"][4:8] == b"ftyp"
    reference = sample["references"][0]
    assert reference["image"].size == reference["mask"].size
    assert reference["clip_id"] != sample["clip_id"] or reference["augmentation"]
    clips = pd.read_parquet(golden / "clips")
    assert {"sharpness", "motion", "text_area"} <= set(clips.columns)
    assert len(clips) == len(rows(golden, "clips"))
