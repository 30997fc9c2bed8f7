"""Videos come from and datasets go to an object store: the real protocol, on loopback."""

import tempfile
from pathlib import Path

import fsspec
import pytest
from object_store import KEY, SECRET, s3_server
from present import current_version
from runs import TWO_WORKERS, content, curate
from web_server import WebServer

from pipeline.dataset.commit import damaged_files
from pipeline.dataset.store import open_store

SIGNATURE = "5ecre7canary"


@pytest.fixture(scope="module")
def bucket(videos, tmp_path_factory):
    """An S3 server on loopback with the test videos in a bucket."""
    with s3_server("videos-in", "dataset-out"):
        fs = fsspec.filesystem("s3")
        for path in sorted(videos.iterdir()):
            fs.put_file(str(path), f"videos-in/{path.name}")
        yield


@pytest.mark.slow
def test_a_dataset_on_an_object_store_is_the_local_one(bucket, golden):
    done = curate("s3://dataset-out/first", "s3://videos-in")
    assert "samples (" in done.stdout
    store = open_store("s3://dataset-out/first")
    manifest, _ = current_version(store)
    assert damaged_files(manifest, store) == []
    local = content(golden)
    for file in manifest.files:
        if file.path.startswith(("samples/", "clips/", "tracks/", "embeddings/")):
            assert store.read(file.path) == local[file.path], file.path
    again = curate("s3://dataset-out/first", "s3://videos-in")
    assert "nothing to do" in again.stdout


@pytest.mark.ray
def test_no_key_and_no_signature_is_written_anywhere(bucket, videos, monkeypatch):
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp") as folder, WebServer(videos) as web:
        for name in ("TMPDIR", "RAY_TMPDIR"):  # a short path: Ray's sockets lie below it
            (Path(folder) / name).mkdir()
            monkeypatch.setenv(name, f"{folder}/{name}")
        signed = [f"{web.url}/{n}.mp4?X-Amz-Signature={SIGNATURE}" for n in range(2)]
        output = "s3://dataset-out/signed"
        done = curate(output, *signed, extra=TWO_WORKERS)
        fsspec.filesystem("s3").get(f"{output}/", f"{folder}/dataset", recursive=True)
        written = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert any("logs/raylet" in str(path) for path in written)
        for secret in (SIGNATURE, KEY, SECRET):
            assert secret not in done.stdout + done.stderr
            assert [path for path in written if secret.encode() in path.read_bytes()] == []
