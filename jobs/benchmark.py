"""Make an evaluation set from a curated dataset, of people whom no training sample shows.

python jobs/benchmark.py dataset/ evaluation/ --name my-set-1
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("benchmark")

from pipeline.dataset.store import open_store
from pipeline.evaluate.benchmark import ItemsConfig, build_benchmark
from schemas.files import local_path
from schemas.start import code_of


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("dataset", help="a folder or an fsspec URL")
    parser.add_argument("output", type=local_path, help="the folder of the evaluation set")
    parser.add_argument("--name", default=ItemsConfig.name, help="stands in every result")
    parser.add_argument(
        "--splits", nargs="+", default=list(ItemsConfig.splits), help="test validation"
    )
    parser.add_argument("--limit", type=int, default=0, help="items at most; 0 takes all")
    parser.add_argument("--per-identity", type=int, default=ItemsConfig.per_identity)
    parser.add_argument("--references", type=int, default=ItemsConfig.references)
    parser.add_argument(
        "--seed", type=int, default=ItemsConfig.seed, help="of the draw and the videos"
    )
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    choice = ItemsConfig(
        arguments.name,
        tuple(arguments.splits),
        arguments.limit,
        arguments.per_identity,
        arguments.references,
        arguments.seed,
    )
    made = build_benchmark(open_store(arguments.dataset), arguments.output, choice)
    identities = len({item.main.identity for item in made.items})
    print(f"{len(made.items)} items of {identities} identities in {arguments.output}")
    print(f"prompts {made.prompts_sha256[:12]}, from {', '.join(made.splits)}")
    return 0


def main() -> int:
    return code_of("benchmark", lambda: run(parse(sys.argv[1:])))
