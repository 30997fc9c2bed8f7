"""Which trained models saw what was since removed from a dataset.

A run says in run.json, and a model in made_by.json, on which version of which dataset its steps
were trained. A version that `forget` published says in its funnel how many samples went. Nothing
here knows a person: a model of an older version saw all of that version.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.dataset.store import Store
from schemas.manifest import Manifest, manifest_path
from schemas.tombstones import FORGET

RECORDS = ("made_by.json", "run.json")


@dataclass(frozen=True)
class Removal:
    """Samples that a version no longer holds."""

    version: int
    samples: int


@dataclass(frozen=True)
class ModelFinding:
    """What is known of one folder."""

    folder: Path
    text: str
    saw: tuple[Removal, ...] = ()  # that were removed after it was trained
    is_known: bool = True  # it says on what it was trained


def removals(store: Store) -> tuple[str, dict[str, int], list[Removal]]:
    """Return the dataset's id, its versions by their SHA-256, and what was forgotten in which."""
    dataset_id, versions, gone, before = "", {}, [], 0
    for version in _versions(store):
        content = store.read(manifest_path(version))
        digest = hashlib.sha256(content).hexdigest()
        dataset_id = dataset_id or digest[:16]
        versions[digest] = version
        forgotten = [row for row in Manifest.from_json(content).funnel if row.stage == FORGET]
        if len(forgotten) > before and forgotten[-1].rejected:
            gone.append(Removal(version, forgotten[-1].rejected))
        before = len(forgotten)
    if not versions:
        raise ValueError(f"{store.url} holds no dataset: manifests/ is empty")
    return dataset_id, versions, gone


def _versions(store: Store) -> list[int]:
    names = (Path(path).stem for path in store.list("manifests") if path.endswith(".json"))
    return sorted(int(name) for name in names if name.isdecimal())


def check_models(store: Store, folders: Sequence[Path]) -> list[ModelFinding]:
    """Say of every model or run below the folders what it saw. Raises ValueError for none."""
    dataset_id, versions, gone = removals(store)
    found = [path for folder in folders for path in _records(folder)]
    without = [folder for folder in folders if not _records(folder)]
    if without:
        raise ValueError(
            f"{without[0]} holds no model and no run that says what it was trained on: none of "
            f"{', '.join(RECORDS)} is below it"
        )
    return [_finding(path, dataset_id, versions, gone) for path in found]


def _records(folder: Path) -> list[Path]:
    return sorted(path for name in RECORDS for path in folder.rglob(name) if path.is_file())


def _finding(
    path: Path, dataset_id: str, versions: Mapping[str, int], gone: Sequence[Removal]
) -> ModelFinding:
    trained = list(_trained_on(path))
    if not trained:
        text = "does not say on which data it was trained"
        return ModelFinding(path.parent, text, is_known=False)
    ours = [each for each in trained if each["dataset_id"] == dataset_id]
    if not ours:
        return ModelFinding(path.parent, "was trained on other datasets")
    known = [versions.get(each["manifest_sha256"], each["version"]) for each in ours]
    saw = tuple(each for each in gone if each.version > min(known))
    text = f"was trained on version {', '.join(map(str, sorted(set(known))))}"
    if saw:
        lost = ", ".join(f"{each.samples} samples (version {each.version})" for each in saw)
        text += f" and saw what was forgotten since: {lost}"
    return ModelFinding(path.parent, text, saw)


def _trained_on(path: Path) -> Iterator[dict[str, Any]]:
    try:
        record = json.loads(path.read_bytes())
        for stretch in record["stretches"]:
            dataset = stretch["data"]["dataset"]
            names = ("dataset_id", "manifest_sha256")
            yield {name: str(dataset[name]) for name in names} | {
                "version": int(dataset["version"])
            }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of a training: {error!r}") from error


def print_models(findings: Sequence[ModelFinding]) -> bool:
    """Print one line for each; return whether any saw what was forgotten, or does not say."""
    for each in findings:
        mark = "SAW" if each.saw else "ok" if each.is_known else "?"
        print(f"{mark:4}{each.folder}: {each.text}")
    return any(each.saw or not each.is_known for each in findings)
