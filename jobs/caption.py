"""Write the captions of a finished dataset anew, as its next version.

    python jobs/caption.py dataset/ --captions vlm
    CONTEXTANYONE_CAPTION_SERVER=http://localhost:8000/v1 python jobs/caption.py dataset/

No source video is read: a model is shown the clips that lie in the samples. Run the same command
again after an interruption; what was answered is not asked again. Captions that came with the
videos stay (--replace-given writes them anew too). Exit codes: 0 done, 2 wrong arguments, no
dataset, or a model that is missing, 130 interrupted.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("caption")

from schemas.start import code_of

BATCH = 16


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", help="a folder or an fsspec URL")
    who = (
        "attributes, vlm, server, or module:Class of your own; left out, the server or the folder "
        "that CONTEXTANYONE_CAPTION_SERVER or CONTEXTANYONE_CAPTION_FOLDER names"
    )
    parser.add_argument("--captions", default="", metavar="ENGINE", help=who)
    parser.add_argument("--replace-given", action="store_true", help="also captions of the user's")
    parser.add_argument("--batch", type=int, default=BATCH, metavar="N", help="samples at once")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    from pipeline.curation.recaption import recaption
    from pipeline.dataset.store import open_store
    from pipeline.engines.captions.caption_settings import configured_captioner
    from pipeline.engines.registry import load_engine
    from pipeline.pairing.captions import CaptionsConfig

    config = CaptionsConfig(prefer_given=not arguments.replace_given, batch_size=arguments.batch)
    name = arguments.captions or configured_captioner()
    if name == "attributes":
        print("no model is asked: captions say what was measured, not what is done, nor where")
    store = open_store(arguments.dataset)
    with store.lock():
        done = recaption(store, load_engine("captions", name), config)
    authors = ", ".join(f"{number} by {name}" for name, number in sorted(done.authors.items()))
    print(f"{done.samples} samples, {done.changed} with other texts than before: {authors}")
    for problem, number in done.problems.most_common(5):
        print(f"  {number} times the captioner was asked again or not used: {problem}")
    print(f"{store.url} is version {done.manifest.version}")
    return 0


def main() -> int:
    return code_of(
        "caption", lambda: run(parse(sys.argv[1:])), "run the same command again to finish it"
    )
