"""Of two jobs on one object store one works; a dead one is not in the way."""

import json
import multiprocessing
import uuid

import fsspec
import pytest
from object_store import s3_server

from pipeline.dataset import lease, remote_store
from pipeline.dataset.remote_store import RemoteStore
from pipeline.dataset.store import open_store


@pytest.fixture(scope="module")
def bucket():
    with s3_server("leases") as url:
        yield url


@pytest.fixture(params=["s3", "memory"])
def url(request, bucket):
    return f"{request.param}://leases/{uuid.uuid4().hex}"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lease, "PATIENCE_S", 0.4)
    monkeypatch.setattr(lease, "_BEAT_S", 0.05)
    monkeypatch.setattr(remote_store, "_SETTLED_S", 0.1)


def leases(url):
    return open_store(url).list(lease.LEASES)


def test_a_second_job_is_refused_and_the_lease_goes_with_the_job(url):
    with open_store(url).lock():
        with pytest.raises(BlockingIOError, match="another job writes to"), open_store(url).lock():
            pass
        assert len(leases(url)) == 1
    assert leases(url) == []
    with open_store(url).lock():
        pass


def test_a_job_of_another_machine_that_lives_is_waited_for_and_refused(url, quick, monkeypatch):
    monkeypatch.setattr(lease, "_machine", lambda: "other")
    with open_store(url).lock():
        monkeypatch.setattr(lease, "_machine", lambda: "this one")
        with pytest.raises(BlockingIOError), open_store(url).lock():
            pass


def test_a_job_of_another_machine_that_died_is_waited_for_and_replaced(url, quick, capsys):
    store = open_store(url)
    dead = {"owner": "dead", "beat": 3, "machine": "other", "process": "1-1"}
    store.create(f"{lease.LEASES}/0007.json", json.dumps(dead).encode())
    with store.lock():
        assert leases(url) == [f"{lease.LEASES}/0008.json"]
    assert "waiting up to" in capsys.readouterr().out


def _hold(url, ready):
    with open_store(url).lock():
        ready.set()
        multiprocessing.Event().wait(60)


def test_a_killed_job_of_this_machine_is_replaced_at_once(bucket):
    url = f"s3://leases/{uuid.uuid4().hex}"
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(url, ready))
    holder.start()
    assert ready.wait(60)
    holder.kill()
    holder.join()
    with open_store(url).lock():
        assert leases(url) == [f"{lease.LEASES}/0002.json"]


def test_one_of_many_creates_a_file_also_where_the_server_overwrites(url, quick, monkeypatch):
    store = open_store(url)
    monkeypatch.setattr(store, "_puts_if_absent", False)
    store.create("manifests/0001.json", b"first")
    with pytest.raises(FileExistsError):
        store.create("manifests/0001.json", b"second")
    store.write("manifests/0002.json.ticket-000", b"")  # somebody came first
    with pytest.raises(FileNotFoundError):
        store.create("manifests/0002.json", b"mine")
    assert store.list("manifests") == ["manifests/0001.json", "manifests/0002.json.ticket-000"]


def test_a_server_that_does_not_care_for_the_condition_is_found_out(bucket, quick, monkeypatch):
    url = f"s3://leases/{uuid.uuid4().hex}"
    kind = fsspec.get_filesystem_class("s3")
    plain = kind._pipe_file

    async def careless(self, path, data, mode="overwrite", **more):
        return await plain(self, path, data, **more)

    monkeypatch.setattr(kind, "_pipe_file", careless)
    kind.clear_instance_cache()
    store = RemoteStore(url)
    with store.lock():
        assert not store._puts_if_absent
        store.create("a", b"first")
        with pytest.raises(FileExistsError):
            store.create("a", b"second")
