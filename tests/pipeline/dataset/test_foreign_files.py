"""Whatever else lies in an output stays there, also when the output is emptied."""

import pytest
from tiny_dataset import write_dataset

from pipeline.curation.plan import restart
from pipeline.dataset.commit import publish, read_manifest
from pipeline.dataset.store import LocalStore
from schemas.manifest import POINTER

FOREIGN = ("videos/holiday.mp4", "clips/v1.parquet", "samples/notes/v0001-00000.parquet",
           "units/plan.txt", "manifests/ship.json", "latents/mine.pt")  # fmt: skip


@pytest.fixture
def store(tmp_path) -> LocalStore:
    """A dataset in a folder that holds other things too."""
    folder = write_dataset(tmp_path / "data", 2, (32, 32), 5, num_validation=1)
    store = LocalStore(str(folder))
    for path in FOREIGN:
        store.write(path, b"mine")
    return store


def test_a_new_version_sweeps_no_file_of_another_origin(store):
    found = read_manifest(store)
    assert found is not None
    store.write("samples/v0001-00009.parquet", b"of a publisher that was killed")
    publish(found[0], store)
    assert not store.exists("samples/v0001-00009.parquet")
    assert all(store.read(path) == b"mine" for path in FOREIGN)


def test_a_restart_removes_the_dataset_and_nothing_else(store):
    store.write("units/settings.json", b"{}")
    store.write("units/ab/abc-0000/receipt.json", b"{}")
    restart(store)
    assert store.list() == sorted(FOREIGN)
    restart(store)
    assert store.list() == sorted(FOREIGN)


def test_a_restart_leaves_a_folder_that_holds_something_else(tmp_path):
    store = LocalStore(str(tmp_path))
    store.write(POINTER, b'{"name": "a web page"}')
    store.write("videos/v0001-00000.parquet", b"mine")
    with pytest.raises(ValueError, match="was not written by this program"):
        restart(store)
    assert len(store.list()) == 2
