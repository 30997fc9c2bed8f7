"""Find the similarity windows of a recogniser from pictures of people who are known.

    python jobs/calibrate.py --known people/ --engines production --output calibration/

`--known` is a folder with one folder of pictures per person, or a .csv with path_a, path_b, same.
Writes windows.yaml, which jobs/curate.py takes with --config, and a plot. Exit codes: 0 done, 2
wrong arguments or pictures that say too little.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("calibrate")

import yaml

from pipeline.engines.auto import settle
from pipeline.engines.engines_config import PRESETS, engines_preset
from pipeline.engines.identity.spaces import spaces_of
from pipeline.engines.registry import load_engine
from schemas.files import local_path
from schemas.start import code_of

_NAMED = 5  # files named in a complaint


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument(
        "--known", type=local_path, required=True, help="folder per person, or a .csv"
    )
    parser.add_argument("--output", type=local_path, required=True, help="folder for yaml and plot")
    parser.add_argument("--engines", choices=PRESETS, default="auto", help="faces, recogniser")
    parser.add_argument("--recogniser", help="another recogniser than the preset's")
    parser.add_argument("--faces", help="another face detector than the preset's")
    parser.add_argument("--plot", choices=("png", "svg"), default="png", help="format of the plot")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    from pipeline.pairing.calibration import describe
    from pipeline.pairing.known_people import calibrations, complaints, read_known, recognise
    from pipeline.pairing.roc_plot import draw

    known = read_known(arguments.known)
    engines = settle(engines_preset(arguments.engines).observing, {}, offline=True)
    recogniser = load_engine("recogniser", arguments.recogniser or engines.recogniser)
    faces = load_engine("faces", arguments.faces or engines.faces)
    found = recognise(known.paths, faces, recogniser)
    for text, paths in complaints(known, found).items():
        names = ", ".join(str(path) for path in paths[:_NAMED])
        print(f"{text}: {names}{', …' if len(paths) > _NAMED else ''}", file=sys.stderr)
    results = calibrations(known, found, recogniser)
    current = {space.name: space.windows for space in spaces_of(recogniser)}
    print(f"{recogniser.info.id}, weights {recogniser.info.weights_digest[:12]}")
    for result in results:
        print("\n".join(describe(result, current[result.space])))
    usable = [result for result in results if result.tells]
    if not usable:
        raise ValueError(f"too few pairs (see above); add people to {arguments.known}")
    own = [asdict(one.own_windows(recogniser.info, current[one.space])) for one in usable]
    arguments.output.mkdir(parents=True, exist_ok=True)
    settings = arguments.output / "windows.yaml"
    content = yaml.safe_dump({"pair": {"windows": own}}, sort_keys=False)
    settings.write_text(content, encoding="utf-8")
    plot = arguments.output / f"windows.{arguments.plot}"
    draw([(one, one.windows(current[one.space])) for one in usable], recogniser.info.id, plot)
    print(f"{settings} (jobs/curate.py --config {settings}) and {plot}")
    return 0


def main() -> int:
    return code_of("calibrate", lambda: run(parse(sys.argv[1:])))
