"""Draw a picture of a dataset's samples: clip frames, references with masks, captions.

python jobs/contact_sheet.py dataset/ sheet.png
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("contact-sheet")

from pipeline.browse.contact_sheet import draw_contact_sheet
from pipeline.dataset.commit import require_manifest
from pipeline.dataset.media_rows import read_samples
from pipeline.dataset.store import open_store
from pipeline.dataset.tables import files_of, light_rows
from schemas.files import make_folder
from schemas.start import code_of
from schemas.tables import InputOutcome


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("dataset", help="a folder or an fsspec URL")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    parser.add_argument("--rows", type=int, default=24, help="most samples drawn (24)")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    picture = arguments.picture
    if arguments.rows < 1:
        raise ValueError(f"--rows must be at least 1, got {arguments.rows}")
    if picture.suffix.lower() != ".png" or picture.is_dir():
        raise ValueError(f"the picture must be a .png file to write, got {picture}")
    store = open_store(arguments.dataset)
    manifest, _ = require_manifest(store)
    samples = read_samples(manifest, store)
    columns = [column.name for column in fields(InputOutcome)]
    tables = files_of("inputs", manifest)
    inputs = [row for path in tables for row in light_rows(path, columns, store)]
    make_folder("the parent of the picture", picture.parent)
    title = store.url.rsplit("/", 1)[-1]
    draw_contact_sheet(samples, picture, max_rows=arguments.rows, title=title, inputs=inputs)
    print(f"wrote {picture}")
    return 0


def main() -> int:
    return code_of("contact_sheet", lambda: run(parse(sys.argv[1:])))
