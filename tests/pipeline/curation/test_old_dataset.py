"""A dataset that was made before the settings had sections stays usable."""

import shutil
import subprocess
import sys
import tarfile

import pytest
from places import GOLDEN, script
from runs import environment, rows

pytestmark = pytest.mark.slow  # each pairs a dataset

ARCHIVE = GOLDEN / "dataset_before_sections.tar.xz"
AS_BEFORE = [
    *(f"observe.engines.{task}=fast_engines:Fast{name}" for task, name in (
        ("people", "People"), ("faces", "Faces"), ("recogniser", "Recogniser"), ("masks", "Masks"),
    )),
    "observe.clips.size_classes=[96]", "observe.clips.stills_fps=1", "observe.clips.still_side=320",
    "observe.candidates.min_px=16", "observe.candidates.per_track=2",
    "pair.quality.min_motion=0", "pair.quality.min_sharpness=0", "pair.quality.min_contrast=0",
    "pair.quality.max_text_area=1", "pair.people.min_px=16", "pair.people.min_face_rate=0",
    "pair.references.min_px=16", "pair.references.body_parts=true",
]  # fmt: skip


@pytest.fixture
def old(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def curate(folder, *more):
    settings = [word for setting in (*AS_BEFORE, *more) for word in ("--set", setting)]
    command = [sys.executable, script("curate"), "--input", str(folder / "videos")]
    command += ["--output", str(folder / "dataset"), "--replace", "--set", "run.cluster.workers=1"]
    return subprocess.run(
        [*command, *settings], env=environment(), capture_output=True, text=True, check=False
    )


def units(folder):
    return {path: path.read_bytes() for path in (folder / "dataset" / "units").rglob("*.parquet")
            if path.name != "inputs.parquet"}  # fmt: skip


def test_it_is_paired_anew_without_decoding_a_video(old):
    before = units(old)
    done = curate(old, "pair.references.max_references=1")
    assert done.returncode == 0, done.stderr
    assert "2 samples" in done.stdout
    assert "version 2" in done.stdout
    assert units(old) == before
    assert all(len(row["references"]) == 1 for row in rows(old / "dataset", "samples")[-2:])


def test_with_the_settings_that_made_it_nothing_new_is_decided(old):
    first = curate(old)  # the folder has moved, so the uri in it is written anew
    assert first.returncode == 0, first.stderr
    again = curate(old)
    assert "is up to date" in again.stdout


def test_other_observing_settings_are_named_as_they_are_called_today(old):
    done = curate(old, "observe.clips.fps=12")
    assert done.returncode == 2
    assert "observe.clips.fps: now 12, then 16" in done.stderr
    assert "observe.stages" not in done.stderr  # it did not exist then, and is at its default


def test_new_videos_are_not_mixed_with_those_of_an_earlier_observing_code(old):
    settings = old / "dataset" / "units" / "settings.json"
    settings.write_text(
        settings.read_text().replace('"observe_version": 3', '"observe_version": 2')
    )
    shutil.copy(old / "videos" / "0.mp4", old / "videos" / "1.mp4")
    with (old / "videos" / "1.mp4").open("ab") as file:
        file.write(b"\0\0\0\x08free")  # other bytes, the same pictures
    done = curate(old)
    assert done.returncode == 2
    assert "observed by an earlier version of the code (2" in done.stderr
