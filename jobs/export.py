"""Write a dataset as other tools read it.

    python jobs/export.py dataset/ --format huggingface --output folder/

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

from schemas.files import local_path

FORMATS = ("huggingface", "webdataset", "croissant", "fiftyone")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", help="a folder or an fsspec URL")
    known = f"{', '.join(FORMATS)}, or module:Class of your own"
    parser.add_argument("--format", required=True, metavar="FORMAT", help=known)
    parser.add_argument("--output", type=local_path, required=True, help="a new or empty folder")
    parser.add_argument("--with-vetoed", action="store_true", help="keep samples tagged veto")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    from pipeline.dataset.store import open_store
    from pipeline.execution.plugins import load_own
    from pipeline.export.croissant import write_croissant
    from pipeline.export.export_source import export
    from pipeline.export.fiftyone import write_fiftyone
    from pipeline.export.huggingface import write_huggingface
    from pipeline.export.webdataset import write_webdataset

    writers = (write_huggingface, write_webdataset, write_croissant, write_fiftyone)
    known = dict(zip(FORMATS, writers, strict=True))
    if arguments.format not in known and ":" not in arguments.format:
        raise ValueError(
            f"--format must be one of {', '.join(FORMATS)}, or module:Class, "
            f"got {arguments.format!r}"
        )
    write = known.get(arguments.format) or load_own("--format", arguments.format, ("write",)).write
    store = open_store(arguments.dataset)
    facts = export(write, store, arguments.output, arguments.with_vetoed)
    left_out = f", {facts.left_out} vetoed left out" if facts.left_out else ""
    print(f"wrote {facts.total} samples{left_out} to {arguments.output}")
    return 0


def main() -> int:
    arguments = parse(sys.argv[1:])
    try:
        return run(arguments)
    except (ValueError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
