"""Turn raw videos into a dataset of samples: clip, character, references, caption.

    python jobs/curate.py --input videos/ --output dataset/
    RAY_AUTH_MODE=token ray job submit --working-dir . -- python jobs/curate.py --input … --output …

Run the same command again to go on after an interruption. Exit codes: 0 done, 1 nothing was kept,
2 wrong arguments or an output that cannot be used, 3 too many videos failed, 130 interrupted.
"""

import sys
from dataclasses import fields
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type

from pipeline.curation.curation_config import CurationConfig
from pipeline.curation.flags import expand_settings
from pipeline.engines.registry import engine_infos
from pipeline.engines.weights import FOLDERS, POLICIES, check_licences, use_folder
from pipeline.execution.cluster import leave
from schemas.reasons import PairKind


def _kind(text: str) -> PairKind:
    if text not in list(PairKind):
        raise ValueError(f"must be one of {', '.join(PairKind)}, got {text!r}")
    return PairKind(text)


register_type(PairKind, serializer=str, deserializer=_kind)  # else by the names of its members


def parse(arguments: list[str]) -> Namespace:
    """Read flags and the YAML file; unknown keys are refused by name."""
    parser = ArgumentParser(
        prog="curate.py",
        usage="curate.py --input VIDEOS … --output DATASET [--engines PRESET] [--set a.b=value] …",
        description=(__doc__ or "").split("\n\n")[0],
    )
    sources = "videos, folders, globs, or a manifest (.csv, .jsonl, .parquet) with a column uri"
    parser.add_argument("--input", nargs="+", action="extend", required=True, help=sources)
    parser.add_argument("--output", required=True, help="the dataset: a folder or an fsspec URL")
    parser.add_argument("--config", action="config", help="settings as YAML")
    parser.add_argument(
        "--licence-policy",
        choices=POLICIES,
        default="research",
        help="commercial refuses engines whose weights may not be used commercially",
    )
    parser.add_argument("--models", help=f"a folder of weights, before those of {FOLDERS}")
    parser.add_argument("--limit", type=int, default=None, help="take only the first n videos")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    parser.add_argument("--retry-failed", action="store_true", help="look again at failed videos")
    parser.add_argument("--replace", action="store_true", help="drop videos that are no input now")
    parser.add_argument("--restart", action="store_true", help="empty the output and begin again")
    parser.add_class_arguments(CurationConfig, nested_key=None)
    return parser.instantiate(parser.parse_args(expand_settings(arguments)))


def run(arguments: Namespace) -> int:
    from pipeline.curation import curate_command
    from pipeline.dataset.inputs import list_inputs
    from pipeline.dataset.store import open_store

    if arguments.models:
        use_folder(arguments.models)
    config = CurationConfig(
        **{field.name: arguments[field.name] for field in fields(CurationConfig)}
    )
    if arguments.licence_policy != "research":
        check_licences(engine_infos(config.engines.chosen), arguments.licence_policy)
    videos = list_inputs(arguments.input)[: arguments.limit]
    store = open_store(arguments.output)
    if arguments.dry_run:
        return curate_command.show_plan(videos, store, config)
    return curate_command.run(
        videos,
        store,
        config,
        retry_failed=arguments.retry_failed,
        replace_inputs=arguments.replace,
        restart=arguments.restart,
    )


def main() -> int:
    try:
        return run(parse(sys.argv[1:]))
    except (ValueError, OSError) as error:
        print(f"curate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("curate: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    leave(main())
