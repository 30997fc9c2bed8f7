"""A write is seen whole or not at all, on a folder and on an object store alike."""

import errno
import multiprocessing
import os
import uuid

import pytest

from pipeline.dataset.store import LocalStore, open_store
from schemas.remote import POLICY, take_repeated


@pytest.fixture(params=["folder", "object store"])
def store(request, tmp_path):
    if request.param == "folder":
        return open_store(tmp_path / "dataset")
    return open_store(f"memory://{uuid.uuid4().hex}/dataset")


def test_what_was_written_is_read_listed_and_deleted(store):
    store.write("a/b/one.bin", b"1")
    store.write("a/two.bin", b"22")
    assert store.list("a") == ["a/b/one.bin", "a/two.bin"]
    with store.open("a/two.bin") as file:
        assert file.read() == b"22"
        assert (file.seek(1), file.read(5), file.tell()) == (1, b"2", 2)
    store.delete("a/two.bin")
    store.delete("a/two.bin")
    assert not store.exists("a/two.bin")
    assert store.list("a") == ["a/b/one.bin"]
    assert store.list("never") == []


def test_a_folder_that_goes_with_the_cluster_is_refused(tmp_path, monkeypatch):
    """A submitted job runs in Ray's copy of --working-dir: a relative path leads there."""
    copy = tmp_path / "runtime_resources/working_dir_files/_ray_pkg_029f88d5ecc55e1e"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    for named in ("dataset", ".", copy / "a" / "dataset"):
        with pytest.raises(ValueError, match=r"Ray's copy of --working-dir.*absolute path") as said:
            open_store(named)
        assert str(copy) in str(said.value)
    open_store(tmp_path / "dataset").write("one", b"1")
    open_store("memory://x/working_dir_files/_ray_pkg_1/dataset")


def test_a_store_is_named_without_its_secrets_and_opened_with_them():
    store = open_store("memory://x/data?token=5ecre7")
    assert store.url == "memory://x/data"
    assert store.location == "memory://x/data?token=5ecre7"
    with pytest.raises(FileNotFoundError) as raised:
        store.read("none")
    assert "5ecre7" not in str(raised.value)


def test_create_refuses_an_existing_file(store):
    store.create("manifests/0001.json", b"first")
    with pytest.raises(FileExistsError):
        store.create("manifests/0001.json", b"second")
    assert store.read("manifests/0001.json") == b"first"
    store.create("manifests/0001.json", b"first")  # again, as after a lost answer


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out", "", "a\0b"])
def test_no_path_leaves_the_dataset(store, path):
    with pytest.raises(ValueError, match="inside the dataset"):
        store.write(path, b"")


def test_a_full_disk_leaves_the_old_file_and_names_the_path(tmp_path, monkeypatch):
    store = LocalStore(str(tmp_path))
    store.write("table.parquet", b"old")

    def no_space(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match=r"No space left.*table\.parquet"):
        store.write("table.parquet", b"new and longer")
    assert store.read("table.parquet") == b"old"
    assert os.listdir(tmp_path) == ["table.parquet"]


def _hold(root, ready, done):
    with LocalStore(root).lock():
        ready.set()
        done.wait(30)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EAGAIN])
def test_a_disk_that_fails_for_a_moment_is_tried_again(tmp_path, monkeypatch, number):
    monkeypatch.setenv(POLICY, "attempts=3,pause_s=0")
    failing = Failing(monkeypatch, number, times=2)
    store = LocalStore(str(tmp_path))
    take_repeated()
    store.write("a/one.json", b"new")
    assert failing.left == 0
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["one.json"]
    assert store.read("a/one.json") == b"new"
    assert take_repeated() == {os.strerror(number): 2}


def test_a_disk_that_fails_for_long_keeps_the_old_file_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(POLICY, "attempts=3,pause_s=0")
    store = LocalStore(str(tmp_path))
    store.write("one.json", b"old")
    failing = Failing(monkeypatch, errno.EIO, times=99)
    with pytest.raises(OSError, match=r"Input/output error: .*one\.json"):
        store.write("one.json", b"new")
    assert failing.left == 96
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


class Failing:
    """Lets fsync fail a few times, as a disk does or a mount whose server is away."""

    def __init__(self, monkeypatch, number: int, times: int) -> None:
        self.left, self._number, self._fsync = times, number, os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        if self.left:
            self.left -= 1
            raise OSError(self._number, os.strerror(self._number))
        self._fsync(descriptor)


def test_a_second_driver_is_refused_and_a_dead_one_is_not_in_the_way(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), ready, done))
    holder.start()
    assert ready.wait(30)
    store = LocalStore(str(tmp_path))
    with pytest.raises(BlockingIOError, match="another job"), store.lock():
        pass
    holder.kill()
    holder.join()
    with store.lock():
        store.write("mine", b"")


def test_the_lock_sweeps_what_killed_writers_left(tmp_path):
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / ".clips.parquet.tmp-0123").write_bytes(b"half")
    store = LocalStore(str(tmp_path))
    with store.lock():
        pass
    assert list((tmp_path / "units").iterdir()) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_one_of_many_creates_a_file_also_without_hard_links(tmp_path, monkeypatch, number):
    def no_links(_from, _to):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    store = LocalStore(str(tmp_path))
    test_create_refuses_an_existing_file(store)
    claim = tmp_path / "manifests" / ".0002.json.tmp-claim"
    claim.touch()  # of somebody who is at it, or was killed
    with pytest.raises(FileExistsError):
        store.create("manifests/0002.json", b"mine")
    with store.lock():
        store.create("manifests/0002.json", b"mine")
    assert sorted(os.listdir(tmp_path / "manifests")) == ["0001.json", "0002.json"]
