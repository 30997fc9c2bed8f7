"""Measure generated videos against an evaluation set, with controls in every run.

    python jobs/evaluate.py --benchmark evaluation/ --model model/ --output results/
    python jobs/evaluate.py --benchmark evaluation/ --videos videos/ --protocol consisid --output …

Without --model and --videos the controls alone are measured. Run again to go on: videos that were
made are kept. Exit codes: 0 done, 2 wrong arguments or files that cannot be used, 130 interrupted.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("evaluate")

from pipeline.evaluate.measurers import FACE_ENGINES
from pipeline.evaluate.protocols import PRESETS, protocol_named
from schemas.files import local_path


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--benchmark", type=local_path, required=True, help="folder that jobs/benchmark.py wrote")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--model", type=local_path, help="folder that trainer/export.py wrote")
    what.add_argument(
        "--videos", type=local_path, help="folder with ITEM.mp4, or with a videos.json"
    )
    add("--output", type=local_path, required=True, help="folder for result.json and report.html")
    add("--protocol", nargs="+", default=["contextanyone"], metavar="NAME", help=", ".join(PRESETS))
    add("--engines", default="embedded", help=f"{', '.join(FACE_ENGINES)} (embedded)")
    add("--dino", default="", help="folder of a DINO model (CONTEXTANYONE_DINO)")
    add("--clip", default="", help="folder of a CLIP model (CONTEXTANYONE_CLIP)")
    add("--seed", type=int, default=0, help="of intervals and of who is somebody else (0)")
    add("--steps", type=int, help="sampling steps of --model (as in training)")
    add("--device", default="", help="of --model: cpu, cuda, …")
    add("--encoders", default="", help="where the encoders of --model are on this machine")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    protocols = [protocol_named(name) for name in arguments.protocol]
    from pipeline.evaluate.benchmark import list_videos, read_benchmark
    from pipeline.evaluate.evaluate_command import evaluate_all, tell
    from pipeline.evaluate.measurers import load_measurers

    benchmark = read_benchmark(arguments.benchmark)
    by = load_measurers(arguments.engines, arguments.dino, arguments.clip)
    folder, made_by = arguments.videos, {}
    if arguments.model is not None:
        from trainer.sampling.benchmark_videos import GenerationConfig, make_videos

        folder = arguments.output / "videos"
        config = GenerationConfig(arguments.steps, arguments.device, arguments.encoders)
        made_by = make_videos(arguments.model, arguments.benchmark, benchmark, folder, config, tell)
    videos = {} if folder is None else list_videos(folder, benchmark)
    where = (arguments.benchmark, benchmark, videos)
    evaluate_all(*where, protocols, by, arguments.output, arguments.seed, made_by)
    return 0


def main() -> int:
    try:
        return run(parse(sys.argv[1:]))
    except (ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluate: interrupted; videos that were made are kept", file=sys.stderr)
        return 130
