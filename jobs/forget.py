"""Remove a person or a video from a dataset, and prove that nothing of it is left.

    python jobs/forget.py dataset/ --character ID --dry-run
    python jobs/forget.py dataset/ --video ID
    python jobs/forget.py dataset/ --face her.jpg        # prints whom it found; --yes acts
    python jobs/forget.py dataset/ --list requests.txt   # lines of `video ID` or `character ID`

Run the same command again after an interruption. Exit codes: 0 gone (or --dry-run), 1 traces are
left in files that are not the dataset's own, 2 wrong arguments, 3 nobody was removed, 130
interrupted.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("forget")

from schemas.files import local_path
from schemas.start import code_of


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", help="a folder or an fsspec URL")
    who = parser.add_argument_group("who or what (at least one)")
    who.add_argument("--character", action="append", default=[], metavar="ID")
    who.add_argument("--video", action="append", default=[], metavar="ID")
    who.add_argument("--face", type=local_path, metavar="PICTURE", help="a picture of the person")
    who.add_argument("--list", type=local_path, metavar="FILE", dest="listed", help="many at once")
    doubts = parser.add_argument_group("who may be the same person (a run names them)")
    doubts.add_argument("--same", action="append", default=[], metavar="ID", help="goes, too")
    doubts.add_argument("--different", action="append", default=[], metavar="ID", help="stays")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, change nothing")
    parser.add_argument("--yes", action="store_true", help="act on whom --face has found")
    parser.add_argument(
        "--report",
        type=local_path,
        default=Path("forget-report"),
        help="a folder outside the dataset",
    )
    chosen = parser.parse_args(arguments)
    if not (chosen.character or chosen.video or chosen.face or chosen.listed):
        parser.error("name what to forget: --character, --video, --face or --list")
    return chosen


def run(arguments: argparse.Namespace) -> int:
    from pipeline.dataset.store import open_store
    from pipeline.forget import forget_command

    return forget_command.run(
        forget_command.ForgetOptions(
            characters=arguments.character,
            videos=arguments.video,
            face=arguments.face,
            listed=arguments.listed,
            dry_run=arguments.dry_run,
            confirmed=arguments.yes,
            report=arguments.report,
            same=arguments.same,
            different=arguments.different,
        ),
        open_store(arguments.dataset),
    )


def main() -> int:
    return code_of(
        "forget", lambda: run(parse(sys.argv[1:])), "run the same command again to finish it"
    )
