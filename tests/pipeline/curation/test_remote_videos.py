"""Videos behind a web server, curated as a user does: read once, patiently, by name."""

import os
import shutil

import pytest
from present import current_version
from runs import content, curate, draw_video, rows
from synthetic import moving_shapes, write_video
from web_server import WebServer

from pipeline.dataset.store import LocalStore

pytestmark = pytest.mark.slow
QUICK = ("--set", "run.remote.pause_s=0.01", "--set", "run.remote.attempts=2")
QUICK += ("--set", "run.remote.private_web=true")
SECRET = "5ecre7"


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two short videos, and one of three parts."""
    folder = tmp_path_factory.mktemp("films")
    draw_video(folder / "0.mp4", 0)
    draw_video(folder / "1.mp4", 1)
    frames = [f for shot in range(12) for f in moving_shapes(120, (320, 240), 30 + shot)]
    write_video(folder / "film.mp4", frames, 24)
    return folder


@pytest.fixture
def server(films, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with WebServer(films) as running:
        yield running


def addresses(server, *names, signature=SECRET):
    return [f"{server.url}/{name}.mp4?X-Amz-Signature={signature}" for name in names]


def outcomes(output):
    return {row["uri"].rsplit("/", 1)[-1]: row["outcome"] for row in rows(output, "inputs")}


def left_behind(folder):
    return [name for name in os.listdir(folder) if name.startswith("contextanyone")]


def test_a_video_of_several_parts_is_fetched_once(server, films, tmp_path):
    parts = ("--set", "observe.part_s=20", "--set", "observe.clips.max_s=2")
    output = tmp_path / "dataset"
    curate(output, *addresses(server, "film"), extra=parts)
    assert len(list((output / "units").glob("*/*/receipt.json"))) == 3
    assert server.sent["film.mp4"] == (films / "film.mp4").stat().st_size
    assert left_behind(tmp_path) == []
    local = tmp_path / "local"
    curate(local, films / "film.mp4", extra=parts)
    for table in ("clips", "tracks", "samples", "rejects"):  # as text: NaN equals nothing
        assert repr(rows(output, table)) == repr(rows(local, table))


def test_a_busy_server_costs_nothing_but_patience_and_one_that_is_down_takes_nothing_away(
    server, tmp_path
):
    server.failures["0.mp4"] = [503]
    output = tmp_path / "dataset"
    curate(output, *addresses(server, "0", "1"), extra=QUICK)
    assert outcomes(output) == {"0.mp4": "kept", "1.mp4": "kept"}
    again = curate(output, *addresses(server, "0", "1", signature="an-hour-later"), extra=QUICK)
    assert "nothing to do" in again.stdout
    assert server.asked == {"0.mp4": 2, "1.mp4": 1}
    before = content(output)
    server.down = True
    done = curate(output, *addresses(server, "0", "1"), extra=QUICK, code=3)
    assert "2 videos could not be read" in done.stdout
    assert content(output) == before


def test_a_video_that_cannot_be_read_is_named_and_taken_by_the_next_run(server, tmp_path):
    server.failures["1.mp4"] = [503, "reset", 503]
    output = tmp_path / "dataset"
    done = curate(output, *addresses(server, "0", "1"), extra=QUICK, code=3)
    assert "1 video could not be read: run again" in done.stdout
    assert f"{server.url}/1.mp4: " in done.stdout
    assert outcomes(output) == {"0.mp4": "kept", "1.mp4": "not_read"}
    manifest, _ = current_version(LocalStore(str(output)))
    assert (manifest.funnel[0].kept, manifest.funnel[0].failed) == (1, 1)
    server.failures["1.mp4"] = [503] * 2
    done = curate(output, *addresses(server, "0", "1"), extra=QUICK, code=3)  # still away
    assert current_version(LocalStore(str(output)))[0].version == 1
    curate(output, *addresses(server, "0", "1"), extra=QUICK)
    assert outcomes(output) == {"0.mp4": "kept", "1.mp4": "kept"}
    whole = tmp_path / "whole"
    curate(whole, *addresses(server, "0", "1"), extra=QUICK)
    assert repr(rows(whole, "samples")) == repr(rows(output, "samples"))


def test_no_secret_is_told_or_written(server, tmp_path):
    output = tmp_path / "dataset"
    wrong = f"{server.url.replace('//', f'//user:{SECRET}@')}/none.mp4?token={SECRET}"
    done = curate(output, *addresses(server, "0"), wrong, extra=QUICK)
    assert SECRET not in done.stdout + done.stderr
    for path in output.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
    for table in ("inputs", "videos", "rejects"):
        assert SECRET not in repr(rows(output, table))
    assert outcomes(output) == {"0.mp4": "kept", "none.mp4": "refused"}
    assert "refused" in done.stdout
    shutil.rmtree(output)
