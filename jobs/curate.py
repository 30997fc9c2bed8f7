"""Turn raw videos into a dataset of samples: clip, character, references, caption.

    python jobs/curate.py --input videos/ --output dataset/
    RAY_AUTH_MODE=token ray job submit --working-dir . -- python jobs/curate.py --input … --output …

Run the same command again to go on after an interruption. Exit codes: 0 done, 1 nothing was kept,
or Ray itself ended the run, 2 wrong arguments or an output that cannot be used, 3 too many videos
failed, or some could not be read this time, 130 interrupted.
"""

import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("curate")

from jsonargparse import Namespace

from pipeline.curation.curation_config import CurationConfig
from pipeline.curation.profiles import PROFILES, profile_names, profile_words
from pipeline.engines.auto import OFFLINE
from pipeline.engines.engines_config import PRESETS, engines_preset
from pipeline.engines.registry import engine_infos
from pipeline.engines.weights import FOLDERS, POLICIES, check_licences, use_folder
from schemas.old_settings import current_settings
from schemas.remote import NotRead, use_policy
from schemas.settings import meant
from schemas.settings_parser import SettingsParser, read_settings
from schemas.start import code_of

GO_ON = "run the same command again to go on"
CODES: dict[type[Exception], int] = {NotRead: 3}

if TYPE_CHECKING:
    from pipeline.dataset.inputs import InputVideo


def parse(arguments: list[str]) -> Namespace:
    """Read flags and the YAML file; unknown keys are refused by name."""
    parser = SettingsParser(
        "curate",
        (__doc__ or "").split("\n\n")[0],
        "--input VIDEOS … --output DATASET [--engines PRESET] [--set NAME=VALUE] …",
        closing="Run the same command again to go on after an interruption.",
        renamed=current_settings,
    )
    sources = "videos, folders, globs, or lists (.csv, .jsonl, .parquet) with a column uri"
    many = {"nargs": "+", "action": "extend"}
    parser.flag("--input", "VIDEOS …", sources, required=True, **many)
    add_curation_flags(parser)
    return parser.parse(arguments)


def add_curation_flags(parser: SettingsParser) -> None:
    """Add all that a curation can be told, but its input."""
    parser.flag("--output", "DATASET", "a folder or an fsspec URL", required=True)
    presets = f"who does what: {', '.join(PRESETS)} (auto: the best permissive ones at hand)"
    parser.shortcut("--engines", "PRESET", presets, _engine_words)
    models = f"clips as a trainer takes them: {', '.join(PROFILES)}, or a preset of train.py"
    parser.shortcut("--for", "MODEL", models, _profile_words, first=True)
    parser.flag("--models", "FOLDER", f"of weights, before those of {FOLDERS}")
    offline = f"fetch no weights; the same as {OFFLINE}=1"
    parser.flag("--offline", "", offline, action="store_true")
    rights = "of videos for which no manifest names one"
    parser.flag("--licence", "NAME", f"licence {rights}, such as CC-BY-4.0", type=_words)
    parser.flag("--source", "WHENCE", f"origin {rights}", type=_words)
    policy = "research, or commercial: refuses weights that may not be used commercially (research)"
    parser.flag("--licence-policy", "NAME", policy, choices=POLICIES, default="research")
    parser.flag("--limit", "N", "take only the first n videos", type=_count)
    parser.flag("--dry-run", "", "show the plan and change nothing", action="store_true")
    parser.flag("--retry-failed", "", "look again at videos that failed", action="store_true")
    parser.flag("--replace", "", "leave out videos that are no input now", action="store_true")
    parser.flag("--restart", "", "empty the output and begin again", action="store_true")
    parser.add_settings(CurationConfig)


def _engine_words(name: str) -> list[str]:
    """Return what `--engines NAME` stands for; scorers stay as they are set."""
    preset = engines_preset(name)
    words = []
    for section, engines in (("observe", preset.observing), ("pair", preset.pairing)):
        named = {task: engine for task, engine in asdict(engines).items() if engine}
        words += [f"--{section}.engines.{task}={engine}" for task, engine in named.items()]
    return words


def _profile_words(name: str) -> list[str]:
    """Return what `--for NAME` stands for: a model, or a preset of our own trainer."""
    if name in profile_names():
        return profile_words(name)
    from trainer.clip_profile import clip_profile  # loads torch
    from trainer.train_config import preset_names

    if name in preset_names():
        return clip_profile(name)
    known = [*profile_names(), *preset_names()]
    raise ValueError(f"--for must be one of {', '.join(known)}, got {name!r}{meant(name, known)}")


def _count(text: str | int) -> int:
    if not str(text).isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number >= 1, got {text!r}")
    return int(text)


def _words(text: str) -> str:
    if not (text.strip() and text.isprintable() and len(text) <= 4096):
        raise ArgumentTypeError(
            f"must be printable text of 1 to 4096 characters, got {text[:60]!r}"
        )
    return text.strip()


def run(arguments: Namespace) -> int:
    from pipeline.curation import curate_command
    from pipeline.dataset.inputs import find_inputs

    config = read_settings(arguments, CurationConfig)
    found = find_inputs(arguments.input, use_policy(config.run.remote))
    curate_command.print_passed_over(found)
    return curate_inputs(found.videos, config, arguments)


def curate_inputs(
    inputs: Sequence["InputVideo"], config: CurationConfig, arguments: Namespace
) -> int:
    """Curate what was found, as the flags of `add_curation_flags` say; return the exit code."""
    from pipeline.curation import curate_command
    from pipeline.curation.engine_choice import engines_of, with_engines
    from pipeline.dataset.store import open_store

    if arguments.models:
        use_folder(arguments.models)
    config = replace(config, run=replace(config.run, remote=use_policy(config.run.remote)))
    videos = [
        video.declared(arguments.licence or "", arguments.source or "")
        for video in inputs[: arguments.limit]
    ]
    store = open_store(arguments.output)
    begun = {} if arguments.restart else engines_of(store)
    config = with_engines(config, begun, offline=arguments.offline or arguments.dry_run)
    if arguments.licence_policy != "research":
        check_licences(engine_infos(config.engines.chosen), arguments.licence_policy)
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
    return code_of("curate", lambda: run(parse(sys.argv[1:])), GO_ON, codes=CODES)
