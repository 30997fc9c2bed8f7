"""Older versions stay until somebody removes them, who is shown what goes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import script
from present import current_version
from tiny_dataset import write_dataset

from pipeline.dataset.commit import damaged_files, publish, stage_file, table_path, versions
from pipeline.dataset.store import LocalStore
from pipeline.dataset.vacuum import find_leftovers, remove
from schemas.manifest import Manifest, manifest_path

DAY_S = 86_400


@pytest.fixture
def store(tmp_path) -> LocalStore:
    """A dataset of three versions: each adds a file, and keeps that of the samples."""
    store = LocalStore(str(write_dataset(tmp_path / "data", 2, (32, 32), 5, num_validation=1)))
    for version in (2, 3):
        old, digest = current_version(store)
        kept = [file for file in old.files if file.path.startswith("samples/")]
        new = stage_file(table_path("clips", version, 0), b"%d" % version, 1, store)
        following = {**vars(old), "version": version, "parent": digest, "files": [new, *kept]}
        publish(Manifest(**following), store)
    for version in versions(store):  # a week apart, the newest of today
        path = Path(store.url) / manifest_path(version)
        made = time.time() - (3 - version) * 7 * DAY_S - 60
        os.utime(path, (made, made))
    store.write("videos/v9999-notes.txt", b"mine")
    return store


def whole(store):
    read = {v: Manifest.from_json(store.read(manifest_path(v))) for v in versions(store)}
    return [version for version, manifest in read.items() if not damaged_files(manifest, store)]


def vacuum(store, *words):
    return subprocess.run(
        [sys.executable, script("vacuum"), store.url, *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def test_it_shows_what_would_go_and_removes_nothing_unasked(store):
    before = store.list()
    done = vacuum(store)
    assert done.returncode == 3
    assert "version 2: 1 files" in done.stdout
    assert "add --yes" in done.stdout
    assert store.list() == sorted({*before, "_lock"})
    assert whole(store) == [1, 2, 3]


def test_only_what_the_older_versions_alone_list_goes(store):
    done = vacuum(store, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "removed 1 files" in done.stdout
    assert whole(store) == [1, 3]  # the first lists nothing that the newest does not
    assert store.exists("videos/v9999-notes.txt")
    assert "nothing to remove" in vacuum(store, "--yes").stdout


@pytest.mark.parametrize(
    ("keep", "days", "goes"), [(1, 0, [2]), (2, 0, []), (1, 1, []), (1, 0.0001, [2])]
)
def test_versions_are_kept_by_number_and_by_age(store, keep, days, goes):
    assert [one.version for one in find_leftovers(store, keep, days)] == goes


def test_age_is_counted_by_the_clock_that_dates_the_manifests(store, monkeypatch):
    before = store.list()
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this machine believes that it is 2096
    assert find_leftovers(store, keep=1, days=1) == []
    assert store.list() == before


def test_what_a_refused_publisher_left_goes_too(store):
    stage_file(table_path("clips", 4, 0), b"orphan", 1, store)
    assert "never published: 1 files" in vacuum(store, "--yes").stdout


def test_a_damaged_manifest_stops_it(store):
    store.write(manifest_path(2), b"{")
    done = vacuum(store, "--yes")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_what_was_published_while_somebody_thought_about_the_answer_stays(store):
    staged = stage_file(table_path("clips", 4, 0), b"orphan", 1, store)
    shown = find_leftovers(store)
    old, digest = current_version(store)
    files = [staged, *old.files]
    publish(Manifest(**{**vars(old), "version": 4, "parent": digest, "files": files}), store)
    assert remove(shown, store) == 1  # of version 2
    assert damaged_files(current_version(store)[0], store) == []


def test_a_job_that_lost_the_store_while_it_waited_removes_nothing(store, monkeypatch):
    def lost():
        raise BlockingIOError("another job has taken over")

    shown, before = find_leftovers(store), store.list()
    monkeypatch.setattr(store, "check_held", lost)
    with pytest.raises(BlockingIOError, match="taken over"):
        remove(shown, store)
    assert store.list() == before
