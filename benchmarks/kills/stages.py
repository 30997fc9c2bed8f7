"""The stages that are killed: their commands, and everything that they leave."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import fast_engines
import fsspec
from ray_nodes import Nodes

ROOT = Path(__file__).resolve().parents[2]
CURATE, ENCODE, TRAIN, EXPORT, EXPORT_DATASET = STAGES = (
    "curate", "encode", "train", "export", "export-dataset",
)  # fmt: skip
_NEEDS = {ENCODE: CURATE, TRAIN: ENCODE, EXPORT: TRAIN, EXPORT_DATASET: CURATE}
_ON_NODES = (CURATE, ENCODE)  # stages that work on the nodes, where there are any
_SCRIPTS = {
    CURATE: "jobs/curate.py", ENCODE: "jobs/encode.py", TRAIN: "trainer/train.py",
    EXPORT: "trainer/export.py", EXPORT_DATASET: "jobs/export.py",
}  # fmt: skip
_MARK = "CONTEXTANYONE_KILLS"  # environment of what a stage starts: the name of its folder
_BUCKETS = {"data.buckets": "[48x64x5]", "data.max_crop": 0.9}
_TRAINING = {
    **_BUCKETS, "data.num_workers": 0, "data.validation_split": "train",
    "train.steps": 24, "train.batch_size": 2, "train.micro_batch": 1, "checkpoint.every": 3,
    "validation.every": 100, "validation.samples": 1, "validation.videos": 0, "log.every": 1,
    "model.layers": 1, "model.heads": 2, "model.head_dim": 24, "model.ffn_dim": 64,
    "model.freq_dim": 32,
}  # fmt: skip
_FOLDERS = ("run", "model", "files")
_NEVER_THE_SAME = ("made_by.json",)  # it has a path of this round


def with_what_they_need(stages: Collection[str]) -> list[str]:
    """Return the stages and all that come before them, in their order."""
    wanted = set(stages)
    for stage in reversed(STAGES):
        if stage in wanted and stage in _NEEDS:
            wanted.add(_NEEDS[stage])
    return [stage for stage in STAGES if stage in wanted]


@dataclass(frozen=True)
class Place:
    """Where one round works: a dataset on the store, and a folder for the rest."""

    dataset: str  # URL
    folder: Path
    workers: int = 2
    nodes: Nodes | None = None
    num_nodes: int = 0

    @property
    def mark(self) -> str:
        """What every process that works here has in its environment."""
        return f"{_MARK}={self.folder.name}"

    def nodes_of(self, stage: str) -> Nodes | None:
        return self.nodes if stage in _ON_NODES else None

    def start(self, stage: str) -> subprocess.Popen:
        nodes = self.nodes_of(stage)
        name, _, value = self.mark.partition("=")
        environment = {**(nodes.settings if nodes else os.environ), name: value}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
        environment.setdefault("OMP_NUM_THREADS", "1")
        if stage == EXPORT_DATASET:  # it never replaces a folder
            shutil.rmtree(self.folder / "files", ignore_errors=True)
        command = [sys.executable, str(ROOT / _SCRIPTS[stage]), *self._words(stage)]
        with self.output_of(stage).open("ab") as output:
            return subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    def output_of(self, stage: str) -> Path:
        return self.folder / f"{stage}.txt"

    def _words(self, stage: str) -> list[str]:
        run, model, files = (str(self.folder / name) for name in _FOLDERS)
        # 0 workers: one for every processor
        workers, encoders = (0, 0) if self.nodes else (self.workers, 1)
        return {
            CURATE: ["--input", "s3://kills/in", "--output", self.dataset, *fast_engines.SETTINGS,
                     *_set({"run.cluster.workers": workers})],
            ENCODE: [self.dataset, "--preset", "tiny",
                     *_set({"run.cluster.workers": encoders, "encoding.unit_samples": 1}),
                     *_set(_BUCKETS)],
            TRAIN: ["--preset", "tiny", "--data", self.dataset, "--output", run,
                    *_set(_TRAINING), "--processes", "2"],
            EXPORT: [run, model, "--force"],
            EXPORT_DATASET: [self.dataset, "--format", "webdataset", "--output", files],
        }[stage]  # fmt: skip

    def take(self, other: "Place") -> None:
        """Begin with a copy of all that another place has by now."""
        fs = fsspec.filesystem("s3")
        with tempfile.TemporaryDirectory() as work:
            if fs.exists(other.dataset):
                fs.get(f"{other.dataset}/", f"{work}/", recursive=True)
                fs.put(f"{work}/", f"{self.dataset}/", recursive=True)
        for name in _FOLDERS:
            if (other.folder / name).exists():
                shutil.copytree(other.folder / name, self.folder / name)

    def remove(self) -> None:
        fsspec.filesystem("s3").rm(self.dataset, recursive=True)
        shutil.rmtree(self.folder)

    def content(self) -> dict[str, str]:
        """Return a digest of everything that must be the same, by name."""
        fs = fsspec.filesystem("s3")
        root = self.dataset.removeprefix("s3://")
        found = {}
        for path in fs.find(root):
            name = path.removeprefix(f"{root}/")
            if name != "units/inputs.parquet" and not name.startswith("_lease/"):
                found[name] = hashlib.sha256(fs.cat_file(path)).hexdigest()
        for name in ("model", "files"):
            for path in sorted((self.folder / name).rglob("*")):
                if path.is_file() and path.name not in _NEVER_THE_SAME:
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    found[str(path.relative_to(self.folder))] = digest
        for line in self.losses():
            found[f"loss of step {line['step']}"] = repr(line["loss/total"])
        return found

    def losses(self) -> list[dict]:
        """Return the logged steps of the training."""
        path = self.folder / "run" / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else ()
        whole = (json.loads(line) for line in lines if line.endswith("\n"))
        return [line for line in whole if "loss/total" in line]

    def saved_step(self) -> int:
        """Return the step of the newest complete checkpoint, 0 without one."""
        complete = (self.folder / "run" / "checkpoints").glob("step-*/COMPLETE.json")
        return max((int(path.parent.name.rpartition("-")[2]) for path in complete), default=0)

    def is_saving(self) -> bool:
        """Tell whether a checkpoint or an export is being written at this moment."""
        places = (self.folder, self.folder / "run" / "checkpoints")
        return any(any(place.glob(".*.partial")) for place in places)


def _set(settings: dict[str, object]) -> list[str]:
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
