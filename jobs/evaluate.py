"""Measure generated videos against an evaluation set, with controls in every run.

    python jobs/evaluate.py --benchmark evaluation/ --model model/ --output results/
    python jobs/evaluate.py --benchmark evaluation/ --videos videos/ --protocol consisid --output …
    python jobs/evaluate.py --benchmark evaluation/ --model model/ --videos theirs=others/ …

Folders with a name are further systems, in the same table. Without --model and --videos the
controls alone are measured. Run again to go on: videos that were made are kept. Exit codes: 0
done, 2 wrong arguments or files that cannot be used, 130 interrupted.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("evaluate")

from pipeline.evaluate.evaluation_config import EvaluationConfig
from pipeline.evaluate.protocols import PROTOCOLS, find_protocol
from pipeline.evaluate.systems import check_name
from schemas.files import local_path
from schemas.start import code_of


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--benchmark", type=local_path, required=True, help="folder that jobs/benchmark.py wrote")
    add("--model", type=local_path, help="folder that trainer/export.py wrote")
    folders = "folders with ITEM.mp4, or with a videos.json: one, and any number as NAME=FOLDER"
    add("--videos", nargs="+", default=[], metavar="[NAME=]FOLDER", help=folders)
    add("--output", type=local_path, required=True, help="folder for result.json and report.html")
    defaults = EvaluationConfig()
    protocols = f"{', '.join(PROTOCOLS)} ({' '.join(defaults.protocols)})"
    add("--protocol", nargs="+", default=defaults.protocols, metavar="NAME", help=protocols)
    engines = "embedded, production, permissive (%(default)s)"
    add("--engines", default=defaults.engines, metavar="PRESET", help=engines)
    add("--dino", default="", help="folder of a DINO model (CONTEXTANYONE_DINO)")
    add("--clip", default="", help="folder of a CLIP model (CONTEXTANYONE_CLIP)")
    add("--gme", default="", help="folder of a GME-Qwen2-VL model (CONTEXTANYONE_GME)")
    add("--seed", type=int, default=defaults.seed, help="of intervals and other identities (0)")
    add("--steps", type=int, help="sampling steps of --model (as in training)")
    add("--device", default="", help="of --model: cpu, cuda, …")
    add("--encoders", default="", help="where the encoders of --model are on this machine")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    config = EvaluationConfig(
        tuple(arguments.protocol),
        arguments.engines,
        arguments.dino,
        arguments.clip,
        arguments.gme,
        arguments.seed,
    )
    from pipeline.dataset.store import open_store
    from pipeline.evaluate.benchmark import list_videos, read_benchmark
    from pipeline.evaluate.evaluate_command import print_video, run_evaluation
    from pipeline.evaluate.evaluation_engines import load_evaluation_engines

    folder, named = folders_of(arguments)
    benchmark = read_benchmark(arguments.benchmark)
    beside = {name: list_videos(path, benchmark) for name, path in named.items()}
    open_store(arguments.output)  # refuses a file before anything is made
    engines = load_evaluation_engines(config)
    made_by = {}
    if arguments.model is not None:
        from trainer.sampling.benchmark_videos import GenerationConfig, make_videos

        folder = arguments.output / "videos"
        generation = GenerationConfig(arguments.steps, arguments.device, arguments.encoders)
        made_by = make_videos(
            arguments.model, arguments.benchmark, benchmark, folder, generation, print_video
        )
    videos = {} if folder is None else list_videos(folder, benchmark)
    run_evaluation(
        arguments.benchmark,
        benchmark,
        videos,
        [find_protocol(name) for name in config.protocols],
        engines,
        arguments.output,
        config.seed,
        made_by,
        beside,
    )
    return 0


def folders_of(arguments: argparse.Namespace) -> tuple[Path | None, dict[str, Path]]:
    """Return the folder without a name, if any, and those with one. Raises ValueError."""
    named: dict[str, Path] = {}
    plain = []
    for word in arguments.videos:
        name, is_named, folder = word.partition("=")
        if not is_named or Path(word).is_dir():
            plain.append(local_path(word))
        elif check_name(name) in named:
            raise ValueError(f"--videos names {name!r} twice")
        else:
            named[name] = local_path(folder)
    if len(plain) + (arguments.model is not None) > 1:
        raise ValueError(
            "--videos takes one folder without a name, and with --model none: write the others as "
            f"NAME=FOLDER; got {', '.join(map(str, plain))}"
        )
    return (plain[0] if plain else None), named


def main() -> int:
    return code_of("evaluate", lambda: run(parse(sys.argv[1:])), "videos that were made are kept")
