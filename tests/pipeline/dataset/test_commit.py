"""A version becomes visible as a whole; a killed publisher leaves nothing half-done."""

import hashlib
import json
from dataclasses import replace

import pytest
from dying_store import DyingStore, Killed
from present import current_version

from pipeline.dataset.commit import (
    damaged_files,
    publish,
    read_manifest,
    settle,
    stage_file,
    sweep,
    table_path,
)
from pipeline.dataset.store import LocalStore
from schemas.manifest import POINTER, FunnelRow, Manifest


def make_version(version, parent, store):
    files = [
        stage_file(table_path("clips", version, number), f"{version}/{number}".encode(), 1, store)
        for number in range(3)
    ]
    return Manifest(
        version=version,
        parent=parent,
        inputs_digest="i",
        observe_digest="o",
        config_digest=f"c{version}",
        config={},
        engines=[],
        libraries={},
        funnel=[FunnelRow("probe", "video", 3, 2, 1, 0, {"not_a_video": 1})],
        splits={"train": 2},
        files=files,
    )


def content_of(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_a_version_is_read_back_as_it_was_published(tmp_path):
    store = LocalStore(str(tmp_path))
    assert read_manifest(store) is None
    manifest = make_version(1, "", store)
    publish(manifest, store)
    read, sha256 = current_version(store)
    assert read == manifest
    assert sha256 == hashlib.sha256(store.read("manifests/0001.json")).hexdigest()
    assert damaged_files(manifest, store) == []


def test_the_next_version_is_current_and_the_one_before_stays_readable(tmp_path):
    store = LocalStore(str(tmp_path))
    publish(make_version(1, "", store), store)
    _, sha256 = current_version(store)
    publish(make_version(2, sha256, store), store)
    manifest, _ = current_version(store)
    assert (manifest.version, manifest.parent) == (2, sha256)
    older = Manifest.from_json(store.read("manifests/0001.json"))
    assert damaged_files(older, store) == damaged_files(manifest, store) == []
    assert store.list("clips") == [file.path for file in (*older.files, *manifest.files)]
    assert store.list("manifests") == ["manifests/0001.json", "manifests/0002.json"]


def test_a_sweep_for_one_version_removes_what_others_list(tmp_path):
    store = LocalStore(str(tmp_path))
    publish(make_version(1, "", store), store)
    publish(make_version(2, current_version(store)[1], store), store)
    manifest, _ = current_version(store)
    sweep(store, only=manifest)  # as after somebody was forgotten
    assert store.list("clips") == [file.path for file in manifest.files]


def test_of_two_publishers_of_a_version_the_second_is_refused_and_damages_nothing(tmp_path):
    store = LocalStore(str(tmp_path))
    publish(make_version(1, "", store), store)
    _, parent = current_version(store)
    first = replace(make_version(2, parent, store), config_digest="of the first")
    second = replace(make_version(2, parent, store), config_digest="of the second")
    publish(first, store)
    with pytest.raises(FileExistsError, match="another run made meanwhile; run again"):
        publish(second, store)
    assert current_version(store)[0] == first
    assert damaged_files(first, store) == []


def test_a_version_whose_publisher_died_before_the_pointer_is_the_current_one(tmp_path):
    store = LocalStore(str(tmp_path))
    publish(make_version(1, "", store), store)
    pointer = store.read(POINTER)
    publish(make_version(2, current_version(store)[1], store), store)
    store.write(POINTER, pointer)  # as it was when the manifest was created
    assert current_version(store)[0].version == 2
    store.delete(POINTER)
    assert current_version(store)[0].version == 2
    settle(store)
    assert json.loads(store.read(POINTER))["path"] == "manifests/0002.json"


@pytest.mark.parametrize("content", [b"", b'{"schema_version": 3, ', b"[]", b"{}"])
def test_a_next_manifest_that_is_cut_off_or_foreign_is_named(tmp_path, content):
    store = LocalStore(str(tmp_path))
    publish(make_version(1, "", store), store)
    store.write("manifests/0002.json", content)
    with pytest.raises(ValueError, match=r"manifests/0002\.json is no manifest of ours: .*restore"):
        read_manifest(store)


def test_a_new_beginning_that_was_killed_is_in_no_later_versions_way(tmp_path):
    store = LocalStore(str(tmp_path))
    for version in (1, 2, 3):
        parent = current_version(store)[1] if version > 1 else ""
        publish(make_version(version, parent, store), store)
    store.delete(POINTER)  # as `--restart` does, which is killed after the first manifest
    store.delete("manifests/0001.json")
    again = replace(make_version(1, "", store), config_digest="of another run")
    publish(again, store)
    publish(make_version(2, current_version(store)[1], store), store)
    assert current_version(store)[0].version == 2
    assert store.list("manifests") == ["manifests/0001.json", "manifests/0002.json"]


def test_a_job_that_lost_the_store_publishes_and_sweeps_nothing(tmp_path, monkeypatch):
    store = LocalStore(str(tmp_path))
    publish(make_version(1, "", store), store)
    following = make_version(2, current_version(store)[1], store)
    before = content_of(tmp_path)
    monkeypatch.setattr(store, "check_held", lost)
    with pytest.raises(BlockingIOError):
        publish(following, store)
    with pytest.raises(BlockingIOError):
        sweep(store)
    assert content_of(tmp_path) == before


def lost():
    raise BlockingIOError("another job has taken over")


def test_a_version_of_files_that_somebody_removed_is_not_published(tmp_path):
    store = LocalStore(str(tmp_path))
    manifest = make_version(1, "", store)
    store.delete(manifest.files[1].path)
    with pytest.raises(FileNotFoundError, match="another job works on this dataset"):
        publish(manifest, store)
    assert read_manifest(store) is None


def test_dying_at_any_step_leaves_a_whole_version_and_a_rerun_ends_the_same(tmp_path):
    golden = LocalStore(str(tmp_path / "golden"))
    publish(make_version(1, "", golden), golden)
    parent = current_version(golden)[1]
    publish(make_version(2, parent, golden), golden)
    deaths = 0
    for die_at in range(100):
        root = str(tmp_path / f"run{die_at}")
        store = LocalStore(root)
        publish(make_version(1, "", store), store)
        try:
            dying = DyingStore(root, die_at)
            publish(make_version(2, parent, dying), dying)
            break
        except Killed:
            deaths += 1
        manifest, _ = current_version(store)
        assert damaged_files(manifest, store) == []
        publish(make_version(2, parent, store), store)
        assert content_of(tmp_path / f"run{die_at}") == content_of(tmp_path / "golden")
    assert deaths >= 5  # three files, manifest, pointer


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "2 bytes, 3 listed"),
        (lambda path: path.write_bytes(b"1/x"), "its bytes have changed"),
        (lambda path: path.unlink(), "missing"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage, says):
    store = LocalStore(str(tmp_path))
    manifest = make_version(1, "", store)
    publish(manifest, store)
    path = manifest.files[1].path
    damage(tmp_path / path)
    [line] = damaged_files(manifest, store)
    assert line == f"{path}: {says}"


def test_a_changed_manifest_is_refused(tmp_path):
    store = LocalStore(str(tmp_path))
    publish(make_version(1, "", store), store)
    path = tmp_path / "manifests" / "0001.json"
    path.write_bytes(path.read_bytes().replace(b"not_a_video", b"not_a_movie"))
    with pytest.raises(ValueError, match=r"manifests/0001\.json is damaged"):
        read_manifest(store)


def test_an_unknown_schema_version_is_refused(tmp_path):
    store = LocalStore(str(tmp_path))
    publish(make_version(1, "", store), store)
    raw = json.loads(store.read("manifests/0001.json")) | {"schema_version": 99}
    content = json.dumps(raw).encode()
    store.write("manifests/0001.json", content)
    pointer = {
        "path": "manifests/0001.json",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    store.write(POINTER, json.dumps(pointer).encode())
    with pytest.raises(ValueError, match="schema_version of the manifest is 99"):
        read_manifest(store)


def test_a_funnel_row_that_loses_rows_cannot_be_written():
    with pytest.raises(AssertionError, match="5 came in, 4 accounted for"):
        FunnelRow("clips", "clip", 5, 3, 1, 0, {"clip_too_short": 1})
