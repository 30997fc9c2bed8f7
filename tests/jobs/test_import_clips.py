"""Clips that are cut already become samples: one shot each, with the captions they came with."""

import subprocess
import sys

import fast_engines
import pytest
from patience import HANG_S
from places import ROOT
from runs import FPS, content, draw_video, environment, rows
from synthetic import moving_shapes, write_video

from jobs import curate
from jobs import import_clips as import_clips_job
from schemas.remote import POLICY

SETTINGS = [*fast_engines.SETTINGS, "--set", "run.cluster.workers=1"]


def import_clips(*words, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "jobs/import_clips.py", *map(str, words), *SETTINGS],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A clip of 5 s with a caption beside it, and one with a cut in the middle."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "0.mp4", moving_shapes(5 * FPS, (320, 240), 0), FPS)
    draw_video(folder / "1.mp4", 1)
    (folder / "0.txt").write_text("Somebody stands\nbefore moving shapes. " + "And so on. " * 90)
    return folder


@pytest.mark.slow
def test_a_clip_stays_one_shot_and_keeps_its_caption(clips, tmp_path):
    output = tmp_path / "dataset"
    done = import_clips("--input", clips, "--output", output)
    assert "2 clips: 1 captions from .txt files, 1 without a caption" in done.stdout
    assert [len(video["shots"]) for video in rows(output, "videos")] == [1, 1]
    samples = {row["clip_id"]: row for row in rows(output, "samples")}
    videos = {row["video_id"]: row["uri"] for row in rows(output, "videos")}
    of = {videos[row["video_id"]].rpartition("/")[2]: row for row in samples.values()}
    written = " ".join((clips / "0.txt").read_text().split())
    assert of["0.mp4"]["num_frames"] == 80  # 5 s at 16 frames a second: all of it
    assert (of["0.mp4"]["caption"], of["0.mp4"]["caption_engine"]) == (written, "given")
    assert of["1.mp4"]["caption_engine"] == "attributes/5"
    told = {row["uri"].rpartition("/")[2]: row["caption_from"] for row in rows(output, "inputs")}
    assert told == {"0.mp4": str(clips / "0.txt"), "1.mp4": ""}

    before = content(output)
    assert "nothing to do" in import_clips("--input", clips, "--output", output).stdout
    assert content(output) == before


@pytest.mark.slow
def test_a_profile_cuts_imported_clips_to_its_lengths(clips, tmp_path):
    done = import_clips("--input", clips, "--output", tmp_path, "--for", "wan2.1", "--dry-run")
    assert "2 videos, 2 of them to observe" in done.stdout
    words = ["--input", clips, "--output", tmp_path, "--print_config"]
    assert "max_s: 60" in import_clips(*words).stdout
    assert "max_s: 5.0625" in import_clips(*words, "--for", "wan2.1").stdout


def test_a_wrong_set_is_refused_before_anything_is_written(clips, tmp_path):
    (tmp_path / "set.csv").write_text("file_name,text\nlost.mp4,A.\n")
    words = ["--input", clips, "--captions", tmp_path / "set.csv", "--output", tmp_path / "out"]
    done = import_clips(*words, code=2)
    assert done.stderr == (
        f"import: {tmp_path}/set.csv, line 2: there is no file 'lost.mp4' beside the table\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("job", [curate, import_clips_job])
def test_a_store_that_does_not_answer_now_has_an_exit_code_of_its_own(
    job, clips, monkeypatch, capsys
):
    settings = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", POLICY: "attempts=1"}
    for name, value in {**settings, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    words = ["--input", str(clips), "--output", "s3://nobody/listens", *SETTINGS]
    monkeypatch.setattr(sys, "argv", [job.__name__, *words])
    assert job.main() == 3
    assert "after 1 attempt" in capsys.readouterr().err
