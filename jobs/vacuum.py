"""Remove the files of a dataset's older versions, which stay readable until then.

    python jobs/vacuum.py dataset/                  # shows what would go, and asks
    python jobs/vacuum.py s3://… --keep 3 --days 30 --yes

Trainings that read an older version lose its files. Exit codes: 0 removed, or there was nothing to
remove, 2 wrong arguments or another job writes, 3 nothing was removed, 130 interrupted.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("vacuum")

from schemas.start import code_of

DONE, NOT_CONFIRMED = 0, 3


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", help="a folder or an fsspec URL")
    parser.add_argument(
        "--keep", type=_at_least(int, 1), default=1, metavar="N", help="newest versions to keep (1)"
    )
    parser.add_argument(
        "--days", type=_at_least(float, 0), default=0.0, metavar="D",
        help="keep also what was replaced less than so many days ago (0)",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(arguments)


def _at_least(kind: type, least: float):
    def convert(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= 10**6:
            raise argparse.ArgumentTypeError(f"must be a number >= {least:g}, got {text!r}")
        return value

    return convert


def run(arguments: argparse.Namespace) -> int:
    from pipeline.dataset.commit import require_manifest
    from pipeline.dataset.cut_uploads import find_cut_uploads, remove_cut_uploads
    from pipeline.dataset.store import open_store
    from pipeline.dataset.vacuum import find_leftovers, remove

    store = open_store(arguments.dataset)
    require_manifest(store)
    with store.lock():
        leftovers = find_leftovers(store, arguments.keep, arguments.days)
        uploads = find_cut_uploads(store)
        for leftover in leftovers:
            print(leftover.describe())
        if uploads.describe():
            print(uploads.describe())
        if not leftovers and not uploads.found:
            print(f"{store.url}: nothing to remove")
            return DONE
        number = sum(len(leftover.paths) for leftover in leftovers) + len(uploads.found)
        if not (arguments.yes or _confirmed(number)):
            print("nothing was removed; add --yes, or answer y")
            return NOT_CONFIRMED
        number = remove(leftovers, store, arguments.keep, arguments.days)
        gone = remove_cut_uploads(uploads, store)
    if gone.problem and not uploads.problem:
        print(gone.describe())
    number += len(gone.found)
    print(f"removed {number} files")
    return DONE


def _confirmed(number: int) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"remove these {number} files? [y/N] ").strip().lower() in ("y", "yes")


def main() -> int:
    return code_of("vacuum", lambda: run(parse(sys.argv[1:])))
