"""Videos come from and datasets go to an object store: the real protocol, on loopback."""

import os

import fsspec
import pytest
from present import current_version
from runs import content, curate

from pipeline.dataset.commit import damaged_files
from pipeline.dataset.store import open_store


@pytest.fixture(scope="module")
def bucket(videos, tmp_path_factory):
    """An S3 server on loopback with the test videos in a bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = dict(os.environ)
    os.environ.update(settings)
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    fs.mkdir("videos-in")
    fs.mkdir("dataset-out")
    for path in sorted(videos.iterdir()):
        fs.put_file(str(path), f"videos-in/{path.name}")
    yield
    server.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.ray
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
