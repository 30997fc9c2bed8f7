"""List who else can be seen in the clips and references of a dataset.

    python jobs/bystanders.py dataset/ --output others.jsonl

Every picture is searched for people and faces who are not the sample's character; a line a sample
says who they are, with a box for each examined frame. `export --blur-others` hides them. Exit
codes: 0 done, 2 wrong arguments or no dataset.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("bystanders")

from schemas.files import local_path, make_folder
from schemas.start import code_of


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", help="a folder or an fsspec URL")
    parser.add_argument(
        "--output", type=local_path, default=Path("others.jsonl"), help="the list (%(default)s)"
    )
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    from pipeline.dataset.store import open_store
    from pipeline.export.others import list_others

    make_folder("the parent of --output", arguments.output.parent)
    report = list_others(open_store(arguments.dataset))
    report.write(arguments.output)
    for line in report.summary():
        print(line)
    print(f"who, where and when: {arguments.output}")
    return 0


def main() -> int:
    return code_of("bystanders", lambda: run(parse(sys.argv[1:])))
