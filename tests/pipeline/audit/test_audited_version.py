"""Whoever reads a dataset reads the same version, wherever its publisher was killed."""

import shutil

import pytest
from present import there
from tiny_dataset import tiny_sample, write_dataset, write_samples

from pipeline.audit.dataset import open_dataset
from pipeline.dataset.commit import read_manifest
from pipeline.dataset.store import LocalStore
from schemas.manifest import POINTER
from trainer.data.dataset import read_snapshot
from trainer.data.files import Folder


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Two versions, and the pointer to the first."""
    folder = write_dataset(tmp_path_factory.mktemp("two") / "data", 2, (32, 32), 5)
    pointer = (folder / POINTER).read_bytes()
    write_samples(folder, [tiny_sample(0, (32, 32), 5, 4, 2, 16, 1)])
    return folder, pointer


@pytest.fixture
def folder(published, tmp_path):
    return shutil.copytree(published[0], tmp_path / "data")


@pytest.mark.parametrize("killed", ["after the pointer", "before the pointer", "without any"])
def test_audit_training_and_commands_read_the_same_version(folder, published, killed):
    if killed == "before the pointer":
        (folder / POINTER).write_bytes(published[1])
    elif killed == "without any":
        (folder / POINTER).unlink()
    manifest, sha256 = there(read_manifest(LocalStore(str(folder))))
    assert manifest.version == 2
    assert read_snapshot(Folder(folder)).sha256 == sha256
    audited = open_dataset(str(folder))
    assert (audited.manifest_sha256, audited.problems) == (sha256, [])
    assert [open_dataset(f"{folder}/manifests/000{n}.json").current for n in (1, 2)] == [
        False,
        True,
    ]
