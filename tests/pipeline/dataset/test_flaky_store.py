"""Errors that pass cost patience and nothing else: the bytes are those of a store without any."""

import contextlib
import importlib
import io
import random
import sys
from pathlib import Path

import fsspec
import pytest
from audits import findings
from encoding import encode
from fast_engines import SETTINGS
from flaky_proxy import FAULTS, FlakyProxy
from object_store import s3_server, use_endpoint
from present import current_version
from runs import content, draw_video
from tiny_dataset import write_dataset
from train_batches import batches, by_place

from pipeline.dataset import lease
from pipeline.dataset.commit import damaged_files
from pipeline.dataset.store import open_store
from pipeline.dataset.tables import current_files
from schemas.remote import POLICY, NotRead, take_repeated
from trainer.data.data_config import DataConfig

SMALL = DataConfig(buckets=("32x48x5",), num_workers=0)


@pytest.fixture(scope="module")
def server():
    with s3_server("flaky") as url:
        yield url.removeprefix("http://")


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setenv(POLICY, "attempts=12,pause_s=0.01")
    take_repeated()


@pytest.fixture
def proxy(server, patient):
    """Every tenth request fails, as far as this process and those that it starts can see."""
    with FlakyProxy(server, share=0.1, seed=5) as running, use_endpoint(running.url):
        yield running


@contextlib.contextmanager
def quiet(proxy):
    """Let every request through, for what libraries do by themselves."""
    share, proxy.share = proxy.share, 0
    yield
    proxy.share = share


def upload(folder, url):
    fsspec.filesystem("s3").put(f"{folder}/", url.removeprefix("s3://"), recursive=True)


@pytest.mark.slow
def test_every_call_to_a_store_does_what_it_does_without_errors(proxy, monkeypatch):
    monkeypatch.setattr(lease, "_BEAT_S", 3600.0)  # a sign of life is tried once, and not counted
    proxy.share = 0.3
    store, rng = open_store("s3://flaky/calls"), random.Random(1)
    files = {f"a/{n:02d}.bin": rng.randbytes(20_000) for n in range(30)}
    with store.lock():
        for path, content in files.items():
            (store.create if path < "a/1" else store.write)(path, content)
        with pytest.raises(FileExistsError):
            store.create("a/00.bin", b"other")
        assert store.sizes("a") == {path: len(content) for path, content in files.items()}
        assert all(store.read(path) == content for path, content in files.items())
        for path, content in list(files.items())[:10]:
            with store.open(path) as file:
                file.seek(100)
                assert file.read(500) == content[100:600]
        store.delete("a/00.bin")
        assert [store.exists(path) for path in ("a/00.bin", "a/01.bin")] == [False, True]
    assert set(proxy.injected) == set(FAULTS)
    repeated = take_repeated()
    for status in ("500", "503"):
        assert repeated[f"HTTP {status}"] == proxy.injected[status] > 0


def test_a_store_that_is_down_is_named_in_one_line(server, patient, monkeypatch):
    monkeypatch.setenv(POLICY, "attempts=2,pause_s=0.01")
    with FlakyProxy(server, share=1.0) as down, use_endpoint(down.url):
        down.draw = lambda: "503"
        with pytest.raises(NotRead) as raised:
            open_store("s3://flaky/calls").read("manifest.json")
    assert "s3://flaky/calls/manifest.json: " in str(raised.value)
    assert "after 2 attempts; run again" in str(raised.value)


@pytest.mark.parametrize("text", ["attempts", "attempts=x", "patience=3", "attempts=0"])
def test_a_policy_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv(POLICY, text)
    with pytest.raises(ValueError, match=r"CONTEXTANYONE_REMOTE must read|run\.remote\.attempts"):
        open_store("memory://x/y").read("z")


def run(job, *words):
    """Run a job in this process; return its exit code and what it printed."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", [job, *map(str, words)])
        code = importlib.import_module(f"jobs.{job}").main()
    return code, said.getvalue()


@pytest.mark.slow
def test_a_dataset_is_made_on_a_flaky_store_byte_for_byte(proxy, tmp_path):
    (tmp_path / "in").mkdir()
    draw_video(tmp_path / "in" / "0.mp4", 0)
    with quiet(proxy):
        upload(tmp_path / "in", "s3://flaky/in")
    words = [*SETTINGS, "--set", "run.cluster.workers=1"]
    code, said = run("curate", "--input", "s3://flaky/in", "--output", "s3://flaky/out", *words)
    assert code == 0
    assert "calls to other machines were repeated (" in said
    assert run("curate", "--input", tmp_path / "in", "--output", tmp_path / "out", *words)[0] == 0
    for table in ("samples", "clips", "tracks", "embeddings"):
        [far], [near] = (current_files(at, table) for at in ("s3://flaky/out", tmp_path / "out"))
        assert far.rpartition("/")[2] == near.rpartition("/")[2]  # named by the content
        with quiet(proxy):
            assert fsspec.filesystem("s3").cat(far) == Path(near).read_bytes()
    assert proxy.injected.total() > 5

    words += ["--input", "s3://flaky/in", "--output", "s3://flaky/out"]
    words += ["--set", "pair.references.max_references=1"]
    store = open_store("s3://flaky/out")
    before, _ = current_version(store)
    with store.lock():
        assert run("curate", *words)[0] == 2  # another job works on it
    code, said = run("curate", *words)
    assert code == 0
    assert "older versions hold" in said
    after, _ = current_version(store)
    assert after.version == 2
    assert damaged_files(before, store) == damaged_files(after, store) == []


@pytest.mark.slow
def test_encode_train_audit_and_export_read_what_is_there(proxy, tmp_path):
    near, far = (
        write_dataset(tmp_path / "data", 6, (96, 64), 9, num_validation=2),
        "s3://flaky/data",
    )
    with quiet(proxy):
        upload(near, far)
    indices = [encode(place, SMALL)[0] for place in (near, far)]
    assert [file.sha256 for file in indices[0].files] == [file.sha256 for file in indices[1].files]
    assert by_place(batches(near, SMALL)) == by_place(batches(far, SMALL))
    assert findings(near, media=True) == findings(far, media=True)
    exported = []
    for name, place in (("near", near), ("far", far)):
        code, _ = run("export", place, "--format", "webdataset", "--output", tmp_path / name)
        assert code == 0
        exported.append(content(tmp_path / name))
    assert exported[0] == exported[1]
    assert len(exported[0]) > 1
    assert proxy.injected.total() > 5
