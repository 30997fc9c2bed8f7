"""Write a dataset as other tools read it.

    python jobs/export.py dataset/ --format huggingface --output folder/
    python jobs/export.py dataset/ --format musubi --output folder/ --trigger mychar

Vetoed samples are left out (--with-vetoed keeps them); embeddings always are. Exit codes: 0 done,
2 wrong arguments, no dataset, or an output that has content.
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("export-dataset")

from schemas.files import local_path

if TYPE_CHECKING:
    from pipeline.export.export_source import ExportSource

FORMATS = {
    "huggingface": "pipeline.export.huggingface:write_huggingface",
    "webdataset": "pipeline.export.webdataset:write_webdataset",
    "croissant": "pipeline.export.croissant:write_croissant",
    "fiftyone": "pipeline.export.fiftyone:write_fiftyone",
    "ai-act": "pipeline.export.ai_act:write_ai_act",
    "datasheet": "pipeline.export.datasheet:write_datasheet",
}
PAPERS = ("ai-act", "datasheet")
TRAINERS = {
    "bernini": "pipeline.export.bernini:write_bernini",
    "diffsynth": "pipeline.export.diffsynth:write_diffsynth",
    "diffusion-pipe": "pipeline.export.diffusion_pipe:write_diffusion_pipe",
    "ltx": "pipeline.export.ltx:write_ltx",
    "musubi": "pipeline.export.musubi:write_musubi",
    "opens2v": "pipeline.export.opens2v:write_opens2v",
    "videox-fun": "pipeline.export.videox_fun:write_videox_fun",
}


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
    from pipeline.export.options import NO_OPTIONS, ExportOptions

    write = writer_of(arguments.format)
    blur = arguments.blur_others
    options = ExportOptions(arguments.trigger, arguments.background, arguments.references, blur)
    if blur and arguments.format in PAPERS:
        raise ValueError(f"--format {arguments.format} has no pictures for --blur-others to blur")
    if replace(options, blur_others="") != NO_OPTIONS and arguments.format in FORMATS:
        raise ValueError(
            "--trigger, --background and --references are for trainers' formats "
            f"({', '.join(TRAINERS)}), got --format {arguments.format}"
        )
    store = open_store(arguments.dataset)
    facts = export(write, store, arguments.output, arguments.with_vetoed, options)
    left_out = f", {facts.left_out} vetoed left out" if facts.left_out else ""
    print(f"wrote {facts.total} samples{left_out} to {arguments.output}")
    for line in facts.others.summary(blur) if facts.others else ():
        print(line)
    if arguments.format in TRAINERS:
        print(f"how to train with it, and what it cannot say: {arguments.output / 'README.md'}")
    return 0


def writer_of(name: str) -> Callable[["ExportSource", Path], None]:
    """Return what writes a format. Raises ValueError for one that nobody knows."""
    from pipeline.execution.plugins import load_own

    known = FORMATS | TRAINERS
    if name in known:
        module, _, function = known[name].partition(":")
        return getattr(importlib.import_module(module), function)
    if ":" not in name:
        raise ValueError(
            f"--format must be one of {', '.join(known)}, or module:Class, got {name!r}"
        )
    return load_own("--format", name, ("write",)).write


def main() -> int:
    arguments = parse(sys.argv[1:])
    try:
        return run(arguments)
    except (ValueError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
