"""After something is forgotten, the models that saw it are listed."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from present import current_version
from tiny_dataset import write_dataset

from jobs import audit
from pipeline.dataset.commit import publish
from pipeline.dataset.store import LocalStore
from schemas.manifest import FunnelRow
from schemas.tombstones import FORGET


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return LocalStore(str(write_dataset(tmp_path / "data", 3, (32, 32), 5, num_validation=1)))


def forget(store: LocalStore, samples: int) -> None:
    """Publish a version that says that so many samples went."""
    manifest, digest = current_version(store)
    row = FunnelRow(FORGET, "sample", 3, 3 - samples, samples, 0, {"forgotten": samples})
    following = replace(manifest, version=manifest.version + 1, parent=digest)
    publish(replace(following, funnel=[*manifest.funnel, row]), store)


def write_model(folder: Path, store: LocalStore, name: str = "made_by.json", **changes) -> Path:
    """Write what an export says of the version that the dataset has now."""
    manifest, digest = current_version(store)
    first = hashlib.sha256(store.read("manifests/0001.json")).hexdigest()
    dataset = {"dataset_id": first[:16], "version": manifest.version, "manifest_sha256": digest}
    stretch = {"after_step": 0, "data": {"dataset": {**dataset, **changes}}}
    folder.mkdir(parents=True)
    (folder / name).write_text(json.dumps({"stretches": [stretch]}))
    return folder


def run(monkeypatch, capsys, *words: object) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["audit.py", *map(str, words)])
    code = audit.main()
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_models_that_saw_what_was_forgotten_are_listed(store, tmp_path, monkeypatch, capsys):
    models = tmp_path / "models"
    write_model(models / "first", store)
    code, said = run(monkeypatch, capsys, store.url, "--models", models)
    assert (code, "ok  " in said) == (0, True)
    forget(store, 2)
    write_model(models / "between", store, "run.json")
    forget(store, 0)  # of a person who was in no sample
    forget(store, 1)
    write_model(models / "last", store)
    write_model(models / "other", store, dataset_id="another")
    code, said = run(monkeypatch, capsys, store.url, "--models", models)
    assert code == 2
    lines = {Path(line[4:].split(":")[0]).name: line for line in said.splitlines()}
    assert lines["first"].startswith("SAW ")
    assert lines["first"].endswith("2 samples (version 2), 1 samples (version 4)")
    assert lines["between"].endswith("saw what was forgotten since: 1 samples (version 4)")
    assert lines["last"].startswith("ok ")
    assert "was trained on other datasets" in lines["other"]


def test_a_model_that_does_not_say_is_not_passed_over(store, tmp_path, monkeypatch, capsys):
    (tmp_path / "old").mkdir()
    code, said = run(monkeypatch, capsys, store.url, "--models", tmp_path / "old")
    assert (code, "holds no model and no run that says" in said) == (3, True)
    (tmp_path / "old" / "made_by.json").write_text('{"stretches": []}')
    code, said = run(monkeypatch, capsys, store.url, "--models", tmp_path / "old")
    assert (code, "does not say on which data" in said) == (2, True)
    (tmp_path / "old" / "made_by.json").write_text("[")
    code, said = run(monkeypatch, capsys, store.url, "--models", tmp_path / "old")
    assert (code, "is no record of a training" in said) == (3, True)
