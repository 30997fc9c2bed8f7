"""Write a dataset as other tools read it.

    python jobs/export.py dataset/ --format huggingface --output folder/
    python jobs/export.py dataset/ --format musubi --output folder/ --trigger mychar

Vetoed samples are left out (--with-vetoed keeps them); embeddings always are. Exit codes: 0 done,
2 wrong arguments, no dataset, or an output that has content.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("export-dataset")

from pipeline.export.formats import FORMATS, TRAINERS, check_takes, writer_of
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
    known = f"{', '.join([*FORMATS, *TRAINERS])}, or module:Class of your own"
    parser.add_argument("--format", required=True, metavar="FORMAT", help=known)
    parser.add_argument("--output", type=local_path, required=True, help="a new or empty folder")
    parser.add_argument("--with-vetoed", action="store_true", help="keep samples tagged veto")
    parser.add_argument(
        "--blur-others",
        default="",
        metavar="faces|bodies",
        help="of everybody but the sample's character, in clips and references; sound stays",
    )
    trainers = parser.add_argument_group("for trainers", ", ".join(TRAINERS))
    trainers.add_argument("--trigger", default="", help="word in front of every caption")
    trainers.add_argument(
        "--background", default="keep", help="of references: keep (default) or white"
    )
    trainers.add_argument(
        "--references", type=int, default=0, help="at most so many a clip; 0 all that it takes"
    )
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    from pipeline.dataset.store import open_store
    from pipeline.export.export_source import export
    from pipeline.export.options import ExportOptions

    write, blur = writer_of(arguments.format), arguments.blur_others
    options = ExportOptions(arguments.trigger, arguments.background, arguments.references, blur)
    check_takes(arguments.format, options)
    store = open_store(arguments.dataset)
    facts = export(write, store, arguments.output, arguments.with_vetoed, options)
    left_out = f", {facts.left_out} vetoed left out" if facts.left_out else ""
    print(f"wrote {facts.total} samples{left_out} to {arguments.output}")
    for line in facts.others.summary(blur) if facts.others else ():
        print(line)
    if arguments.format in TRAINERS:
        print(f"how to train with it, and what it cannot say: {arguments.output / 'README.md'}")
    return 0


def main() -> int:
    again = "nothing half-written was left; run the same command again"
    return code_of("export", lambda: run(parse(sys.argv[1:])), again)
