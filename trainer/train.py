"""Train the ContextAnyone model on a dataset of samples.

    deepspeed trainer/train.py --preset wan-1.3b --data dataset/ --output runs/first
    python trainer/train.py --preset tiny --data dataset/ --output runs/tiny

Run the same command again to go on after an interruption. Exit codes: 0 done, or stopped on request
with everything saved; 2 wrong arguments or data that cannot be used; 130 interrupted twice.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from schemas.start import start

    start("trainer.train")

from jsonargparse import Namespace

from schemas.settings_parser import SettingsParser, read_settings
from trainer.train_config import TrainConfig, preset_names, preset_path


def parse(arguments: list[str]) -> Namespace:
    """Read flags, the preset and a YAML file; unknown keys are refused by name."""
    parser = SettingsParser(
        "train",
        (__doc__ or "").split("\n\n")[0],
        "--preset NAME --data DATASET --output RUN [--set NAME=VALUE] …",
        closing="Run the same command again to go on after an interruption.",
    )
    preset = f"settings to begin with: {', '.join(preset_names())}"
    parser.shortcut("--preset", "NAME", preset, preset_words, first=True)
    dataset = "the dataset: a folder or an fsspec URL"
    parser.shortcut("--data", "DATASET", dataset, lambda url: [f"--dataset={url}"])
    parser.flag("--dataset", "", "", required="--data")  # --data names a section of the settings
    parser.flag("--output", "RUN", "the folder of the run", required=True, type=Path)
    again = (
        "auto: go on from the newest complete checkpoint; never; or a checkpoint's folder (auto)"
    )
    parser.flag("--resume", "WHAT", again, default="auto")
    parser.flag("--dry-run", "", "show the plan and train nothing", action="store_true")
    parser.flag("--local_rank", "", "", type=int, default=0)  # set by the deepspeed launcher
    parser.add_settings(TrainConfig)
    return parser.parse(arguments)


def preset_words(name: str) -> list[str]:
    """Return what `--preset NAME` stands for."""
    return [f"--config={preset_path(name)}"]


def run(arguments: Namespace) -> int:
    config = read_settings(arguments, TrainConfig)
    from trainer.distributed.zero import init_process_group
    from trainer.inputs import open_inputs
    from trainer.loop import Trainer
    from trainer.measures.metrics import RunLog
    from trainer.plan import check_fits, claim_run, describe, share_cores
    from trainer.saving.checkpoint import find_newest
    from trainer.stopping import StopRequest

    process = init_process_group()
    share_cores(config.data.num_workers, process)
    folder, resume = arguments.output, arguments.resume
    if process.rank == 0:
        print(describe(config, arguments.dataset, folder, process), flush=True)
    warning = check_fits(config, process)
    if arguments.dry_run:
        return 0
    claim_run(folder, resume, config, process)
    checkpoint = None
    if resume != "never":
        checkpoint = find_newest(folder) if resume == "auto" else Path(resume)
    inputs = open_inputs(config, arguments.dataset, process.device)
    trainer = Trainer(config, inputs, folder, process)
    if checkpoint is not None:
        trainer.resume(checkpoint)
    step = trainer.counters.step
    settings: dict[str, Any] = asdict(config)
    with (
        RunLog(folder, config.log, step=step, rank=process.rank, settings=settings) as log,
        StopRequest() as stop,
    ):
        if warning:
            log.message(warning)
        if checkpoint is not None:
            log.message(f"going on after step {step} of {config.train.steps} ({checkpoint})")
        finished = trainer.train(log, stop)
        done = "trained" if finished else "stopped on request after"
        log.message(f"{done} {trainer.counters.step} steps; export with: python trainer/export.py")
    return 0


def main() -> int:
    try:
        return run(parse(sys.argv[1:]))
    except (ValueError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("train: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
