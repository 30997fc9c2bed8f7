"""Say what is in a dataset, what is wrong with it, and what to do.

    python jobs/audit.py dataset/             # audit/: report.html, report.json, findings.parquet
    python jobs/audit.py dataset/ --fix       # show what a repair would do; --yes does it
    python jobs/audit.py dataset/ --compare dataset/manifests/0001.json
    python jobs/audit.py dataset/ --models runs/ models/   # which saw what was forgotten since

Works on any dataset of schemas/tables.py, whoever made it. Exit codes: 0 clean, 1 warnings under
--strict, 2 errors, 3 wrong arguments or no dataset, 130 interrupted.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("audit")

from schemas.files import local_path
from schemas.start import code_of

NO_DATASET = 3


class Parser(argparse.ArgumentParser):
    """Wrong arguments are not a dataset with errors: they have an exit code of their own."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see --help")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(
        usage="%(prog)s dataset [option …]",
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("dataset", help="a folder, an fsspec URL, or one version's manifests/000N.json")
    add(
        "--report",
        type=local_path,
        default=Path("audit"),
        metavar="FOLDER",
        help="written to (audit/)",
    )
    add("--strict", action="store_true", help="exit 1 when there are warnings")
    add("--baseline", metavar="FILE", help="YAML of waivers: check, id, reason, expires")
    add("--compare", metavar="OLDER", help="an older dataset, or one of its manifests")
    add("--sample", type=int, metavar="N", help="decode the media of about N samples only")
    add("--seed", type=int, default=0, help="of that draw")
    add("--no-media", action="store_true", help="decode nothing; columns only")
    add("--workers", type=int, default=os.cpu_count(), help="processes that decode")
    add("--windows", metavar="JSON", help="cosines of a recogniser that is not one of ours")
    add("--check", action="append", default=[], metavar="MODULE:CLASS", help="a check of your own")
    models = "say which runs and models below saw what was forgotten since, and audit nothing else"
    add("--models", nargs="+", type=local_path, default=[], metavar="FOLDER", help=models)
    lists = parser.add_argument_group("lists, one entry a line")
    lists.add_argument("--opt-out", nargs="+", default=[], metavar="FILE", help="ids, URLs, hashes")
    lists.add_argument("--held-out", nargs="+", default=[], metavar="FILE", help="64-bit hashes")
    lists.add_argument("--known-bad", nargs="+", default=[], metavar="FILE", help="SHA-256, hashes")
    fix = parser.add_argument_group("repair")
    fix.add_argument("--fix", action="store_true", help="show what would be dropped and moved")
    fix.add_argument("--yes", action="store_true", help="with --fix: write a new version")
    fix.add_argument("--tags", metavar="FILE", help="JSON lines: sample_id, tag (veto drops), note")
    fix.add_argument("--drop-warnings", nargs="+", default=[], metavar="CHECK", help="not only tag")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    from pipeline.audit import audit_command

    return audit_command.run(arguments)


def main() -> int:
    unchanged = "the dataset was not changed"
    return code_of("audit", lambda: run(parse(sys.argv[1:])), unchanged, unusable=NO_DATASET)
