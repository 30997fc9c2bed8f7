"""List, fetch and check the weights of the production engines.

    python jobs/models.py list
    python jobs/models.py fetch det_10g w600k_r50 --folder ~/models
    python jobs/models.py check --engines production

Exit codes: 0 all is well, 1 something is missing, 2 wrong arguments, a wrong file, no network.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("models")

from pipeline.engines.engines_config import PRESETS, engines_preset
from pipeline.engines.weights import FOLDERS, POLICIES, use_folder
from schemas.files import local_path, make_folder
from schemas.start import code_of


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    folder = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    folder.add_argument("--folder", type=local_path, help=f"a folder of weights, before {FOLDERS}")
    acts = parser.add_subparsers(dest="act", required=True)
    acts.add_parser(
        "list", allow_abbrev=False, parents=[folder], help="every entry, and whether it is here"
    )
    fetch = acts.add_parser(
        "fetch", allow_abbrev=False, parents=[folder], help="get weights from their sources"
    )
    fetch.add_argument("names", nargs="+", metavar="NAME")
    fetch.add_argument("--trust", action="store_true", help="accept pickled weights without a hash")
    check = acts.add_parser(
        "check", allow_abbrev=False, parents=[folder], help="is everything here and right"
    )
    check.add_argument("--engines", choices=sorted(PRESETS), default="production")
    check.add_argument("--licence-policy", choices=POLICIES, default="research")
    check.add_argument("--trust", metavar="NAME", help="pin the file that lies here under NAME")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    from pipeline.engines import weights_command

    if arguments.folder is not None:
        if arguments.act == "fetch":
            make_folder("--folder", arguments.folder)
        use_folder(arguments.folder)
    if arguments.act == "list":
        return weights_command.list_weights()
    if arguments.act == "fetch":
        return weights_command.fetch_weights(arguments.names, arguments.folder, arguments.trust)
    if arguments.trust:
        return weights_command.trust_weights(arguments.trust)
    return weights_command.check_engines(
        engines_preset(arguments.engines), arguments.licence_policy
    )


def main() -> int:
    return code_of("models", lambda: run(parse(sys.argv[1:])), "nothing incomplete was kept")
