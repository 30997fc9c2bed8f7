"""Encode the samples of a dataset once, so that training reads latents and loads no encoder.

    python jobs/encode.py dataset/ --preset wan-1.3b-lora --dry-run
    RAY_AUTH_MODE=token ray job submit --working-dir . -- python jobs/encode.py s3://… --preset …

Run the same command again to go on after an interruption. Exit codes: 0 done, 2 wrong arguments, or
data or weights that cannot be used, 130 interrupted.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from jobs.contextanyone import begin

    begin("encode")

from jsonargparse import Namespace

from pipeline.execution.budget import ClusterConfig
from schemas.settings_parser import SettingsParser, read_settings
from schemas.start import code_of
from trainer.latents.encoding_plan import EncodingPlan, EncodingRecipe, LatentsConfig
from trainer.train import preset_words
from trainer.train_config import TrainConfig, preset_names

_ALIASES = {f"--{name}": f"encoders.{name}" for name in ("codec", "text", "image", "path")}
_ALIASES |= {"--buckets": "data.buckets", "--fps": "data.fps"}
_ALIASES |= {"--number-type": "encoding.number_type", "--windows": "encoding.windows"}


def parse(arguments: list[str]) -> Namespace:
    """Read flags, and the preset of the training that the latents are for."""
    parser = SettingsParser(
        "encode",
        (__doc__ or "").split("\n\n")[0],
        "DATASET [--preset NAME] [--set NAME=VALUE] …",
    )
    parser.flag("dataset", "DATASET", "a folder or an fsspec URL", required=True)
    preset = f"of the training that the latents are for: {', '.join(preset_names())}"
    parser.shortcut("--preset", "NAME", preset, preset_words, first=True)
    for flag, name in _ALIASES.items():
        parser.alias(flag, name)
    parser.flag("--dry-run", "", "show the plan and change nothing", action="store_true")
    parser.add_settings(LatentsConfig, "encoding")
    parser.add_settings(ClusterConfig, "run.cluster")
    parser.add_settings(TrainConfig)
    return parser.parse(arguments)


def run(arguments: Namespace) -> int:
    training = read_settings(arguments, TrainConfig)
    data = replace(training.data, source="samples")
    recipe = EncodingRecipe(arguments.dataset, training.encoders, data, arguments.encoding)
    plan, cluster = EncodingPlan(recipe), arguments.run.cluster
    print(plan.describe(), flush=True)
    if arguments.dry_run:
        return 0
    from pipeline.dataset.latent_files import encode_units, run_in_worker
    from pipeline.dataset.shared_folder import check_writable_everywhere
    from pipeline.dataset.store import open_store
    from trainer.latents.unit_encoder import UnitEncoder, make_describer

    store = open_store(arguments.dataset)
    with store.lock():
        check_writable_everywhere(store, cluster)
        described = run_in_worker(partial(make_describer, recipe), cluster)
        index = plan.index(described.fingerprint, described.null_text)
        units = plan.units(described.fingerprint)
        make = partial(UnitEncoder, recipe, described.fingerprint)
        encoded = encode_units(units, index, make, store, cluster)
    print(encoded.describe())
    return 0


def main() -> int:
    return code_of(
        "encode", lambda: run(parse(sys.argv[1:])), "run the same command again to go on"
    )
