"""Encode the samples of a dataset once, so that training reads latents and loads no encoder.

    python jobs/encode.py dataset/ --preset wan-1.3b-lora --dry-run
    RAY_AUTH_MODE=token ray job submit --working-dir . -- python jobs/encode.py s3://… --preset …

Run the same command again to go on after an interruption. Exit codes: 0 done, 2 wrong arguments, or
data or weights that cannot be used, 130 interrupted.
"""

import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from jsonargparse import ArgumentParser, Namespace

from pipeline.execution.cluster import ClusterConfig, leave
from trainer.latents.encoding_plan import EncodingPlan, EncodingRecipe, LatentsConfig
from trainer.train import expand
from trainer.train_config import TrainConfig

_SHORT = {f"--{name}": f"--encoders.{name}" for name in ("codec", "text", "image", "path")}
_SHORT |= {"--buckets": "--data.buckets", "--fps": "--data.fps"}
_SHORT |= {"--number-type": "--encoding.number_type", "--windows": "--encoding.windows"}


def parse(arguments: list[str]) -> Namespace:
    """Read flags, and the preset of the training that the latents are for."""
    parser = ArgumentParser(
        prog="encode.py",
        usage=f"encode.py DATASET [--preset NAME] [{' | '.join(_SHORT)} …] [--set a.b=value] …",
        description=(__doc__ or "").split("\n\n")[0],
    )
    parser.add_argument("dataset", help="a folder or an fsspec URL")
    parser.add_argument("--config", action="config", help="settings as YAML, over the preset's")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    parser.add_class_arguments(LatentsConfig, "encoding")
    parser.add_class_arguments(ClusterConfig, "cluster")
    parser.add_class_arguments(TrainConfig, nested_key=None)
    return parser.instantiate(parser.parse_args(expand([_lengthen(word) for word in arguments])))


def _lengthen(word: str) -> str:
    flag, equals, value = word.partition("=")
    return f"{_SHORT.get(flag, flag)}{equals}{value}"


def run(arguments: Namespace) -> int:
    training = TrainConfig(**{field.name: arguments[field.name] for field in fields(TrainConfig)})
    data = replace(training.data, source="samples")
    recipe = EncodingRecipe(arguments.dataset, training.encoders, data, arguments.encoding)
    plan, cluster = EncodingPlan(recipe), arguments.cluster
    print(plan.describe(), flush=True)
    if arguments.dry_run:
        return 0
    from pipeline.dataset.latent_files import ask_worker, encode_units
    from pipeline.dataset.store import open_store
    from trainer.latents.unit_encoder import UnitEncoder, make_describer

    store = open_store(arguments.dataset)
    with store.lock():
        described = ask_worker(partial(make_describer, recipe), cluster)
        index = plan.index(described.fingerprint, described.null_text)
        units = plan.units(described.fingerprint)
        make = partial(UnitEncoder, recipe, described.fingerprint)
        encoded = encode_units(units, index, make, store, cluster)
    print(encoded.describe())
    return 0


def main() -> int:
    try:
        return run(parse(sys.argv[1:]))
    except (ValueError, OSError) as error:
        print(f"encode: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("encode: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    leave(main())
