"""Does the method do what it says? Train it on drawn characters, part by part, and measure.

    python -m benchmarks.characters.run all --output runs/characters
    python -m benchmarks.characters.run train --output runs/characters --rows full gap_1
    python -m benchmarks.characters.run table --output runs/characters

make draws films, curates them and encodes them; base trains the text-to-video model that all rows
begin with; train trains and exports every row; measure generates and measures held-out characters;
table and figures show what is there; all does everything, row by row.
What is done is not done again. docs/characters.md says what came out.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.characters.cast import draw_films
from benchmarks.characters.rows import (
    CURATE,
    DATASETS,
    FRAMES,
    PRESETS,
    ROWS,
    SIDE,
    Preset,
    Row,
    row_named,
)
from benchmarks.characters.steps import Places, curate_films, job, set_words, train_model

if TYPE_CHECKING:
    from benchmarks.characters.items import Case

STAGES = ("make", "base", "train", "measure", "table", "figures", "all")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="characters", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("stage", choices=STAGES)
    add("--output", type=Path, required=True, help="folder of everything that is made")
    words = "small: 2 cores; larger: a GPU; two: films of two people, 2 cores"
    add("--preset", choices=(*PRESETS, "two"), default="small", help=words)
    add("--rows", nargs="+", default=[row.name for row in ROWS], metavar="ROW")
    add("--seeds", type=int, nargs="+", help="of the trainings (0 … as the preset says)")
    add("--docs", type=Path, help="where table and figures are written (--output)")
    return parser.parse_args(arguments)


def make(places: Places, preset: Preset) -> None:
    """Draw, curate, choose an evaluation set, encode."""
    from benchmarks.characters.truth import TRUTH, write_films

    if not (places.films / TRUTH).is_file():
        write_films(draw_films(preset.films, seed=0), places.films)
    for name, settings in DATASETS.items():
        dataset = places.dataset(name)
        if not (dataset / "latents" / "index.json").is_file():
            _curate(places, dataset, settings)
            if not places.evaluation.is_dir():
                flags = ["--splits", "test", "--per-identity", "2", "--limit", str(preset.items)]
                job("jobs/benchmark.py", dataset, places.evaluation, *flags)
            job("jobs/encode.py", dataset, "--preset", "tiny", *set_words(preset.settings))


def _curate(places: Places, dataset: Path, settings: tuple[str, ...]) -> None:
    """Curate; what was measured of the films for one dataset serves the next."""
    first = places.dataset(next(iter(DATASETS)))
    if dataset != first and not dataset.is_dir():
        shutil.copytree(first, dataset, ignore=shutil.ignore_patterns("latents"))
    curate_films(places.films, dataset, (*CURATE, *settings))


def make_base(places: Places, preset: Preset) -> None:
    """Train the text-to-video model, once, with the seed of none of the rows."""
    from benchmarks.characters.base import SETTINGS, write_base

    if places.base.is_dir():
        return
    settings = (*preset.settings, *SETTINGS, "train.seed=1000")
    train_model(places, "base", places.dataset(next(iter(DATASETS))), preset.base_steps, settings)
    write_base(places.model("base"), places.base)


def train(places: Places, preset: Preset, row: Row, seed: int) -> None:
    """Train a row and export its moving average."""
    settings = (*preset.settings, *preset.row_settings, f"model.pretrained={places.base}")
    settings += (*row.settings, f"train.seed={seed}")
    train_model(places, f"{row.name}-{seed}", places.dataset(row.dataset), preset.steps, settings)


def measure(places: Places, names: Sequence[str]) -> None:
    """Generate and measure what is trained and not measured yet, and the controls."""
    from benchmarks.characters.measure import measure_controls, measure_model
    from benchmarks.characters.table import CONTROLS

    names = [name for name in names if places.model(name).is_dir()]
    if all(places.results(name).is_file() for name in (*names, *CONTROLS)):
        return
    cases = _cases(places)
    measure_controls(cases, places.results)
    for name in names:
        if not places.results(name).is_file():
            blind = row_named(name.rsplit("-", 1)[0]).blind
            where = (places.results(name), places.frames(name))
            measure_model(places.model(name), cases, *where, blind)


def _cases(places: Places) -> "list[Case]":
    from benchmarks.characters.items import read_cases

    first = places.dataset(next(iter(DATASETS)))
    return read_cases(places.evaluation, first, places.films, SIDE, FRAMES)


def run(arguments: argparse.Namespace) -> int:
    if arguments.preset == "two":
        from benchmarks.characters import pairs

        root = arguments.output.resolve()
        pairs.run(root, arguments.stage, arguments.docs or root)
        return 0
    places, preset = Places(arguments.output.resolve()), PRESETS[arguments.preset]
    stage, rows = arguments.stage, [row_named(name) for name in arguments.rows]
    seeds = arguments.seeds or range(preset.seeds)
    places.root.mkdir(parents=True, exist_ok=True)
    if stage in ("make", "all"):
        make(places, preset)
    if stage in ("base", "all"):
        make_base(places, preset)
    for seed in seeds:
        for row in rows:
            if stage in ("train", "all"):
                train(places, preset, row, seed)
            if stage in ("measure", "all"):
                measure(places, [f"{row.name}-{seed}"])
    if stage in ("table", "all"):
        from benchmarks.characters.table import write_table

        print(write_table(places.root / "results", arguments.docs or places.root))
    if stage in ("figures", "all"):
        from benchmarks.characters.figures import write_figures

        write_figures(places.root, _cases(places), arguments.docs or places.root)
    return 0


def main() -> int:
    try:
        return run(parse(sys.argv[1:]))
    except (ValueError, OSError) as error:
        print(f"characters: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"characters: {error.cmd[1]} ended with code {error.returncode}", file=sys.stderr)
        return error.returncode
    except KeyboardInterrupt:
        print("characters: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
