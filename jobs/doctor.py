"""Say on one screen what would run here and what would not: versions, GPUs, weights, licences.

    python jobs/doctor.py
    python jobs/doctor.py --engines production --models ~/models --output s3://bucket/dataset

Opens no connection. Exit codes: 0 the chosen engines would run, 1 they would not, 2 wrong
arguments.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("doctor")

from pipeline.engines.engines_config import PRESETS
from pipeline.engines.weights import POLICIES, use_folder
from schemas.start import code_of


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engines", choices=sorted(PRESETS), default="auto")
    parser.add_argument("--models", help="a folder of weights, before CONTEXTANYONE_MODELS")
    parser.add_argument("--output", default=".", help="where a dataset would go: free disk")
    parser.add_argument("--licence-policy", choices=POLICIES, default="research")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    from pipeline.engines.doctor import examine

    if arguments.models:
        use_folder(arguments.models)
    return examine(arguments.engines, arguments.output, arguments.licence_policy)


def main() -> int:
    return code_of("doctor", lambda: run(parse(sys.argv[1:])))
