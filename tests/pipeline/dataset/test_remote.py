"""A busy server says nothing about a file; a video is fetched once; nothing stays behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from web_server import WebServer

from pipeline.dataset.fetched import FetchedFiles, batches, sha256_of, video_fetcher
from pipeline.dataset.inputs import InputVideo, find_inputs, list_inputs
from pipeline.dataset.remote import PASSING, TooLarge, fetch
from schemas.ids import bytes_id
from schemas.remote import NotRead, RemoteConfig
from schemas.uris import public_uri, without_secrets

pytestmark = pytest.mark.slow  # waits and tries again

QUICK = RemoteConfig(attempts=3, pause_s=0.01, private_web=True)
CONTENT = bytes(range(256)) * 500


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.mp4").write_bytes(CONTENT)
    with WebServer(tmp_path / "web") as running:
        yield running


def get(server, tmp_path, name="a.mp4", size_bytes=-1, limit_bytes=1 << 30, config=QUICK):
    target = tmp_path / "fetched"
    fetch(f"{server.url}/{name}", str(target), size_bytes, limit_bytes, config)
    return target.read_bytes()


@pytest.mark.parametrize("trouble", [[503], [500, 429], ["reset", 408], ["reset", "reset"]])
def test_what_passes_is_tried_again(server, tmp_path, trouble):
    server.failures["a.mp4"] = list(trouble)
    assert get(server, tmp_path) == CONTENT
    assert server.asked["a.mp4"] == 1 + len(trouble)


def test_what_does_not_pass_in_time_is_no_fact_about_the_file(server, tmp_path):
    server.down = True
    with pytest.raises(NotRead, match="HTTP 503, after 3 attempts"):
        get(server, tmp_path)


@pytest.mark.parametrize(
    ("status", "error"), [(404, FileNotFoundError), (403, PermissionError), (401, PermissionError)]
)
def test_what_the_server_says_of_the_file_is_a_fact_at_once(server, tmp_path, status, error):
    server.failures["a.mp4"] = [status]
    with pytest.raises(error) as told:
        get(server, tmp_path)
    assert told.value.errno not in PASSING
    assert server.asked["a.mp4"] == 1


def test_fewer_bytes_than_listed_are_a_broken_transfer(server, tmp_path):
    with pytest.raises(NotRead, match="Connection reset by peer, after 3 attempts"):
        get(server, tmp_path, size_bytes=len(CONTENT) + 1)


def test_a_file_without_end_is_cut_at_the_limit(server, tmp_path):
    with pytest.raises(TooLarge):
        get(server, tmp_path, limit_bytes=1000)


def test_pauses_grow_and_differ(monkeypatch):
    from schemas import remote

    pauses = []
    monkeypatch.setattr(remote.time, "sleep", pauses.append)

    def busy():
        raise TimeoutError

    with pytest.raises(NotRead):
        remote.retry(busy, RemoteConfig(attempts=5, pause_s=1.0))
    assert len(pauses) == 4
    for number, pause in enumerate(pauses):
        assert 0.5 * 2**number <= pause <= 1.5 * 2**number


def test_a_video_is_fetched_once_for_all_of_its_parts(server):
    [video] = list_inputs([f"{server.url}/a.mp4"])
    with video_fetcher(QUICK, 1 << 30) as fetcher:
        with fetcher.arriving(video) as path:
            video_id = bytes_id(sha256_of(path))
            fetcher.keep(path, video_id, video)
        for part in range(3):
            with fetcher.identified(video_id, video) as path:
                assert Path(path).read_bytes() == CONTENT
            fetcher.files.part_done(video_id, video.uri, part, 3)
        assert not os.path.exists(path)  # with its last part
    assert server.sent["a.mp4"] == len(CONTENT)
    assert os.listdir(tempfile.gettempdir()) == []


def test_a_video_that_finds_no_room_is_fetched_again_and_leaves_nothing(server):
    [video] = list_inputs([f"{server.url}/a.mp4"])
    with video_fetcher(RemoteConfig(cache_gib=1e-6), 1 << 30) as fetcher:
        with fetcher.arriving(video) as path:
            video_id = bytes_id(sha256_of(path))
            fetcher.keep(path, video_id, video)
        with fetcher.identified(video_id, video) as path:
            assert Path(path).read_bytes() == CONTENT
        assert not os.path.exists(path)
    assert server.asked["a.mp4"] == 2


def test_other_bytes_than_those_identified_are_not_looked_at(server):
    [video] = list_inputs([f"{server.url}/a.mp4"])
    with (
        video_fetcher(QUICK, 1 << 30) as fetcher,
        pytest.raises(NotRead, match="other bytes"),
        fetcher.identified("0" * 24, video),
    ):
        pass


def test_what_a_killed_run_has_left_goes_with_the_next(server):
    script = (
        "import os, signal, tempfile; from pipeline.dataset.fetched import FetchedFiles\n"
        "files = FetchedFiles('killed', 1 << 30)\n"
        "with files.arriving('a.mp4') as path:\n"
        "    open(path, 'w').write('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folder = tempfile.gettempdir()
    root = str(Path(__file__).resolve().parents[3])
    subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "TMPDIR": folder, "PYTHONPATH": root},
        check=False,
    )
    assert os.listdir(folder) == ["contextanyone-fetched-killed"]
    living = FetchedFiles("living", 1 << 30)
    living.clear()
    with video_fetcher(QUICK, 1 << 30):
        pass
    assert os.listdir(folder) == ["contextanyone-fetched-living"]
    living.close()


def test_batches_leave_room_for_everything_that_is_fetched_in_them():
    far = [InputVideo(f"memory:///{number}.mp4", size_bytes=60) for number in range(3)]
    near = InputVideo("/videos/near.mp4", size_bytes=1000)
    assert [len(batch) for batch in batches([near, *far], 120)] == [3, 1]
    assert [len(batch) for batch in batches(far, 0)] == [3]


SIGNED = [
    ("https://user:SECRET@host/a.mp4", "https://host/a.mp4"),
    ("s3://AKIA:SECRET@bucket/a.mp4", "s3://bucket/a.mp4"),
    (
        "https://host/a%20b.mp4?X-Amz-Credential=SECRET&X-Amz-Date=1&X-Amz-Signature=SECRET",
        "https://host/a%20b.mp4",
    ),
    ("https://host/a.mp4?x-goog-signature=SECRET&generation=7", "https://host/a.mp4?generation=7"),
    ("https://host/a.mp4?sv=2022&se=2026&sp=r&sig=SECRET", "https://host/a.mp4"),
    ("https://host/v?id=5&access_token=SECRET#t=SECRET", "https://host/v?id=5"),
    ("https://host/a.mp4?Policy=SECRET&Key-Pair-Id=SECRET&Expires=1", "https://host/a.mp4"),
    ("memory:///x/a.mp4?sig=SECRET", "memory:///x/a.mp4"),
    ("abfs://container@account.dfs/a.mp4", "abfs://container@account.dfs/a.mp4"),
    ("s3://bucket/what?#.mp4", "s3://bucket/what?#.mp4"),
    ("https://host/v?v=dQw4w9WgXcQ&t=3", "https://host/v?v=dQw4w9WgXcQ&t=3"),
]


@pytest.mark.parametrize(("location", "uri"), SIGNED)
def test_a_name_holds_no_secret_and_stays_the_same(location, uri):
    assert public_uri(location) == uri
    assert public_uri(uri) == uri
    assert without_secrets(f"cannot open '{location}': no") == f"cannot open '{uri}': no"


def test_a_signed_address_is_read_and_never_told(server):
    found = []
    for signature in ("SECRET1", "SECRET2"):
        [video] = find_inputs([f"{server.url}/a.mp4?X-Amz-Signature={signature}"], QUICK).videos
        assert "SECRET" not in repr(video)
        assert video.place.endswith(signature)
        found.append((video.uri, video.size_bytes, video.changed))
    assert found[0] == found[1] == (f"{server.url}/a.mp4", len(CONTENT), found[0][2])


def test_a_busy_server_does_not_keep_a_video_from_being_listed(server):
    server.down = True
    [video] = find_inputs([f"{server.url}/a.mp4"], QUICK).videos
    assert (video.uri, video.size_bytes) == (f"{server.url}/a.mp4", -1)
