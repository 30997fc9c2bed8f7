"""Ask people which of two systems keeps a character better.

    python jobs/study.py make --benchmark evaluation/ --videos ours=videos/ theirs=others/ \\
        --output study/ --key key.json
    python jobs/study.py results --key key.json answers/*.csv --output results.json

`study/` is a page that works without a network; a rater opens index.html and sends a CSV back.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("study")

from pipeline.dataset.store import open_store
from pipeline.evaluate.benchmark import list_videos, read_benchmark
from pipeline.evaluate.study import DESIGNS, PAPER, StudyConfig, make_study, read_key
from pipeline.evaluate.study_results import describe, read_answers, results_of
from pipeline.evaluate.votes_and_metrics import agreements, describe_agreements, read_measures
from schemas.files import local_path, read_file
from schemas.start import code_of


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__, formatter_class=raw)
    acts = parser.add_subparsers(dest="act", required=True)
    make = acts.add_parser("make", allow_abbrev=False, help="write the page and its key")
    make.add_argument("--benchmark", type=local_path, required=True)
    make.add_argument("--videos", nargs="+", required=True, metavar="NAME=FOLDER")
    make.add_argument("--output", type=local_path, required=True, help="folder for the raters")
    make.add_argument(
        "--key",
        type=local_path,
        required=True,
        help="file that says which system is A and which is B",
    )
    paper = f"{PAPER.pairs} pairs, {PAPER.checks} checks, {PAPER.least_checks:.0%} of them needed, "
    paper += f"{PAPER.fastest_s:g} s a pair"
    design = f"short ({StudyConfig.pairs} pairs, {StudyConfig.checks} checks), or paper ({paper})"
    make.add_argument("--design", choices=DESIGNS, default="short", help=design)
    make.add_argument("--pairs", type=int, help="of every two systems, at most; 0 takes all")
    make.add_argument("--checks", type=int, help="attention checks")
    make.add_argument("--seed", type=int, default=0)
    results = acts.add_parser(
        "results", allow_abbrev=False, help="win rates from the raters' files"
    )
    results.add_argument("answers", type=local_path, nargs="+", help="CSV files of raters")
    results.add_argument("--key", type=local_path, required=True)
    results.add_argument("--output", type=local_path, help="write all of it as JSON")
    metrics = "evaluations of every system: how well do the metrics say what people say?"
    results.add_argument("--metrics", nargs="+", metavar="NAME=RESULT", default=[], help=metrics)
    results.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def make(arguments: argparse.Namespace) -> int:
    named = _named("--videos", "FOLDER", arguments.videos)
    chosen = {name: getattr(arguments, name) for name in ("pairs", "checks")}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    config = replace(DESIGNS[arguments.design], seed=arguments.seed, **chosen)
    benchmark = read_benchmark(arguments.benchmark)
    systems = {name: list_videos(Path(folder), benchmark) for name, folder in named.items()}
    key = make_study(
        arguments.benchmark, benchmark, systems, arguments.output, arguments.key, config
    )
    checks = sum(bool(pair.check) for pair in key.pairs)
    print(f"{len(key.pairs) - checks} pairs and {checks} checks in {arguments.output}/index.html")
    print(f"keep {arguments.key} from the raters")
    return 0


def _named(flag: str, kind: str, words: list[str]) -> dict[str, str]:
    """Return NAME=VALUE words as a mapping. Raises ValueError."""
    split = (word.partition("=") for word in words)
    named = {name: value for name, _, value in split}
    if "" in named or "" in named.values() or len(named) < len(words):
        got = " ".join(words)
        raise ValueError(f"{flag} must be NAME={kind}, every name once, got {got!r}")
    return named


def results(arguments: argparse.Namespace) -> int:
    config = StudyConfig(seed=arguments.seed)
    key = read_key(arguments.key)
    answers = []
    for path in arguments.answers:
        content = read_file("the file of answers", path, "the CSV files that raters sent")
        answers += read_answers(content, key, str(path))
    measured = {
        name: read_measures(Path(path), name)
        for name, path in _named("--metrics", "RESULT", arguments.metrics).items()
    }
    result = results_of(answers, key, config.seed)
    print(describe(result))
    if measured:
        kept = [answer for answer in answers if answer.rater not in result["left_out"]]
        found = agreements(kept, key, measured)
        result["metrics"] = [asdict(each) for each in found]
        print(describe_agreements(found))
    if arguments.output:
        content = (json.dumps(result, indent=1, sort_keys=True) + "\n").encode()
        open_store(arguments.output.parent).write(arguments.output.name, content)
    return 0


def run(arguments: argparse.Namespace) -> int:
    return make(arguments) if arguments.act == "make" else results(arguments)


def main() -> int:
    return code_of("study", lambda: run(parse(sys.argv[1:])))
