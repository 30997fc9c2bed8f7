"""Two people in one film: is everybody as right as one person alone, and nobody the other?

Run by `python -m benchmarks.characters.run STAGE --output FOLDER --preset two`. Two rows, trained
alike but for how many people their films show: `one` and `two`. What is done is not done again.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.characters.base import SETTINGS, write_base
from benchmarks.characters.cast import Film
from benchmarks.characters.duos import draw_duos, draw_wide
from benchmarks.characters.items import through_codec
from benchmarks.characters.pair_items import Scene, read_scenes
from benchmarks.characters.pair_measure import WAYS, ask, controls, measure_people
from benchmarks.characters.pair_table import write_pair_table
from benchmarks.characters.rows import CURATE, ENGINES, PRESETS
from benchmarks.characters.steps import Places, curate_films, job, set_words, train_model

BUCKET = (64, 96, 9)  # height, width, frames
FILMS, BASE_STEPS, STEPS = 300, 400, 3600
PEOPLE = {"one": 1, "two": 2}
ROWS = {"one": "one person", "two": "two people"}
_OWN = {"data.buckets": f"[{BUCKET[0]}x{BUCKET[1]}x{BUCKET[2]}]", "encoders.text_tokens": "24"}
_CURATED = {
    "one": (),
    "two": (
        "pair.samples=multi_character",
        f"observe.engines.recogniser={ENGINES}:DrawnClothes",
    ),
}


STAGES = ("make", "train", "measure", "table", "figures", "all")
_CASES = {"one": ("step_words", "noise_words", "sampled_words"), "two": tuple(WAYS)}


@dataclass(frozen=True)
class Pair(Places):
    """Where one row's films, dataset and model are: nothing is shared but the folder."""

    row: str = "one"

    @property
    def films(self) -> Path:
        return self.root / self.row / "films"

    @property
    def data(self) -> Path:
        return self.root / self.row / "dataset"

    @property
    def base(self) -> Path:
        return self.root / self.row / "base"


def settings(row: str) -> tuple[str, ...]:
    """Return the settings of encoding and training, over the preset `tiny`."""
    small = PRESETS["small"].settings
    kept = [one for one in small if one.split("=")[0] not in _OWN]
    own = [f"{name}={value}" for name, value in _OWN.items()]
    return (*kept, *own, *(["data.characters=2"] if row == "two" else []))


def films_of(row: str, number: int) -> list[Film]:
    """Return the films that a row learns from and is measured on."""
    return (draw_duos if row == "two" else draw_wide)(number, seed=0)


def make(places: Pair, films: int = FILMS) -> None:
    """Draw, curate, encode."""
    from benchmarks.characters.truth import TRUTH, write_films

    if not (places.films / TRUTH).is_file():
        write_films(films_of(places.row, films), places.films)
    if not (places.data / "latents" / "index.json").is_file():
        curate_films(places.films, places.data, (*CURATE, *_CURATED[places.row]))
        words = set_words(settings(places.row))
        job("jobs/encode.py", places.data, "--preset", "tiny", *words)


def train(places: Pair, base_steps: int = BASE_STEPS, steps: int = STEPS) -> None:
    """Train a text-to-video model on the row's films, and the row from it."""
    plain = settings(places.row)
    if not places.base.is_dir():
        words = (*plain, *SETTINGS, "train.seed=1000")
        train_model(places, f"base-{places.row}", places.data, base_steps, words)
        write_base(places.model(f"base-{places.row}"), places.base)
    words = (*plain, *PRESETS["small"].row_settings, f"model.pretrained={places.base}")
    train_model(places, places.row, places.data, steps, (*words, "train.seed=0"))


def scenes_of(places: Pair) -> list[Scene]:
    """Return the held-out clips of a row, two of every film."""
    return read_scenes(places.data, places.films, PEOPLE[places.row], BUCKET)


def measure(places: Pair) -> None:
    """Measure the row in every way, and the controls; write the videos, then the numbers."""
    if places.results(places.row).is_file():
        return
    scenes = scenes_of(places)
    reals = [through_codec(scene.truth) for scene in scenes]
    videos = controls(scenes)
    videos |= {way: ask(places.model(places.row), scenes, WAYS[way]) for way in _CASES[places.row]}
    told = {
        way: [
            {"film": scene.film.name, "measures": measured}
            for scene, frames, real in zip(scenes, made, reals, strict=True)
            for measured in measure_people(scene, frames, real)
        ]
        for way, made in videos.items()
    }
    places.frames(places.row).parent.mkdir(parents=True, exist_ok=True)
    stacked = {way: np.stack(made) for way, made in videos.items()}
    np.savez(places.frames(places.row), allow_pickle=False, **stacked)
    partial = places.results(places.row).with_suffix(".partial")
    partial.write_text(json.dumps(told, indent=1))
    partial.replace(places.results(places.row))


def run(root: Path, stage: str, docs: Path) -> None:
    """Do one stage, or all, of both rows."""
    rows = [Pair(root, row) for row in ROWS]
    for places in rows:
        if stage in ("make", "all"):
            make(places)
        if stage in ("train", "all"):
            train(places)
        if stage in ("measure", "all"):
            measure(places)
    if stage in ("table", "all"):
        print(write_pair_table(root / "results", docs))
    if stage in ("figures", "all"):
        from benchmarks.characters.pair_figures import write_pair_strips

        write_pair_strips(scenes_of(rows[1]), rows[1].frames("two"), docs / "characters_two.jpg")
