"""What every ablation does: curate drawn films, train a model, export it, each once."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.characters.engines import FOLDER

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Places:
    """Where everything of one ablation is."""

    root: Path

    @property
    def films(self) -> Path:
        return self.root / "films"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    def dataset(self, name: str) -> Path:
        return self.root / "datasets" / name

    @property
    def base(self) -> Path:
        return self.root / "base"

    def run(self, name: str) -> Path:
        return self.root / "runs" / name

    def model(self, name: str) -> Path:
        return self.root / "models" / name

    def results(self, name: str) -> Path:
        return self.root / "results" / f"{name}.json"

    def frames(self, name: str) -> Path:
        return self.root / "results" / f"{name}.npz"


def curate_films(films: Path, dataset: Path, settings: tuple[str, ...]) -> None:
    """Curate drawn films, with engines that know them."""
    flags = ["--input", films / "*.mp4", "--output", dataset]
    job("jobs/curate.py", *flags, *set_words(settings), films=films)


def train_model(
    places: Places, name: str, dataset: Path, steps: int, settings: tuple[str, ...]
) -> None:
    """Train a model and export its moving average, unless it is there."""
    if places.model(name).is_dir():
        return
    settings += (f"train.steps={steps}", f"checkpoint.every={steps}")
    settings += (f"validation.every={max(steps // 4, 1)}",)
    flags = ["--preset", "tiny", "--data", dataset, "--output", places.run(name)]
    job("trainer/train.py", *flags, *set_words(settings))
    places.model(name).parent.mkdir(parents=True, exist_ok=True)
    job("trainer/export.py", places.run(name), places.model(name), "--ema")


def set_words(settings: tuple[str, ...]) -> list[str]:
    """Return settings as words of a command line."""
    return [word for setting in settings for word in ("--set", setting)]


def job(*words: object, films: Path | None = None) -> None:
    """Run one of the project's commands as a user would. Raises CalledProcessError."""
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    if films is not None:
        environment[FOLDER] = str(films.resolve())
    command = [sys.executable, *(str(word) for word in words)]
    print(f"characters: {' '.join(command[1:4])} …", flush=True)
    subprocess.run(command, cwd=_ROOT, env=environment, check=True)
