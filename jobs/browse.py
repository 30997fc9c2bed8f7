"""Look through a dataset in a web browser, on this machine alone.

python jobs/browse.py dataset/ --open
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("browse")


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("dataset", help="a folder or an fsspec URL")
    parser.add_argument("--port", type=int, default=8421, help="0 takes a free one (8421)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    arguments = parser.parse_args()
    from pipeline.browse.serve import serve
    from pipeline.dataset.store import open_store

    try:
        serve(open_store(arguments.dataset), arguments.port, arguments.open)
    except (ValueError, OSError) as error:
        print(f"browse: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0
