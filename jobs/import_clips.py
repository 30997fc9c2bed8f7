"""Turn clips that are cut already, with their captions, into a dataset of samples.

    python jobs/import_clips.py --input clips/ --output dataset/
    python jobs/import_clips.py --input clips/ --captions list.csv --caption-column text --output …

A clip is one shot, whatever is in it. Captions lie beside clips (.txt, .caption, .json), in tables
(metadata.csv, .jsonl, .json, .parquet) or in WebDataset shards (.tar). Run the same command again
to go on after an interruption. Exit codes are those of curate.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("import")

from jsonargparse import Namespace

from jobs.curate import CODES, GO_ON, add_curation_flags, curate_inputs
from pipeline.curation.curation_config import CurationConfig
from schemas.old_settings import current_settings
from schemas.settings_parser import SettingsParser, read_settings
from schemas.start import code_of

# What a set of clips needs differently from raw videos; every other word goes before these.
_ONE_SHOT = (
    "--observe.shots.detector=none",
    "--observe.shots.dark_level=0",
    "--observe.clips.max_s=60",
    "--pair.captions.max_length=4096",
)


def parse(arguments: list[str]) -> Namespace:
    """Read flags and the YAML file; unknown keys are refused by name."""
    parser = SettingsParser(
        "import",
        (__doc__ or "").split("\n\n")[0],
        "--input CLIPS … --output DATASET [--captions TABLE] [--set NAME=VALUE] …",
        closing="Run the same command again to go on after an interruption.",
        renamed=current_settings,
        begins_with=_ONE_SHOT,
    )
    many = {"nargs": "+", "action": "extend"}
    sources = "folders, clips, tables that name clips, WebDataset shards (.tar)"
    parser.flag("--input", "CLIPS …", sources, required=True, **many)
    tables = "the only files that captions are read from (those among the clips)"
    parser.flag("--captions", "TABLE …", tables, **many)
    parser.flag("--path-column", "NAME", "of tables, that names the clip", default="")
    parser.flag("--caption-column", "NAME", "of tables, that has the caption", default="")
    add_curation_flags(parser)
    return parser.parse(arguments)


def run(arguments: Namespace) -> int:
    from pipeline.curation.curate_command import print_passed_over
    from pipeline.dataset.clip_sets import find_clip_set
    from pipeline.dataset.inputs import FoundInputs

    columns = {"path": arguments.path_column, "caption": arguments.caption_column}
    found = find_clip_set(arguments.input, arguments.captions or (), columns)
    print_passed_over(FoundInputs([], found.passed_over))
    print(found.describe(), flush=True)
    return curate_inputs(found.clips, read_settings(arguments, CurationConfig), arguments)


def main() -> int:
    return code_of("import", lambda: run(parse(sys.argv[1:])), GO_ON, codes=CODES)
