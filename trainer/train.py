"""Train the ContextAnyone model on a dataset of samples.

    python trainer/train.py --preset tiny --data dataset/ --output runs/tiny
    python trainer/train.py --preset wan-1.3b --data dataset/ --output runs/first --processes 8

`deepspeed` and `torchrun` may start it too; see docs/training.md for what a stop means there. Run
the same command again to go on after an interruption. Exit codes: 0 done, or stopped on request
with everything saved; 2 wrong arguments or data that cannot be used; 130 interrupted twice.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from schemas.start import start

    start("trainer.train")

from jsonargparse import Namespace

from schemas.files import local_path
from schemas.locations import shown
from schemas.settings_parser import SettingsParser, read_settings
from schemas.start import code_of
from trainer.distributed.keeper import is_foreign, split
from trainer.distributed.launch import Processes, follow_launcher, is_launched, launch
from trainer.distributed.parallel import check_divides
from trainer.train_config import TrainConfig, preset_names, preset_path

if TYPE_CHECKING:
    from trainer.distributed.zero import Process
    from trainer.saving.run_folder import RunRecord


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
    parser.flag("--output", "RUN", "the folder of the run", required=True, type=local_path)
    again = "auto: the newest complete checkpoint; never; or a checkpoint's folder (auto)"
    parser.flag("--resume", "WHAT", again, default="auto")
    changed = "go on though dataset, version, encoders or rate of frames are others"
    parser.flag("--accept-changes", "", changed, action="store_true")
    parser.flag("--dry-run", "", "show the plan and train nothing", action="store_true")
    here = "processes on this machine, one for each GPU (1)"
    parser.flag("--processes", "N", here, type=int, default=1)
    several = "which of several machines this is, from 0, or slurm; the same command runs on all"
    parser.flag("--node", "K/N", several, default="0/1")
    parser.flag("--master", "HOST:PORT", "of node 0, with several", default="")
    parser.flag("--local_rank", "", "", type=int, default=0)  # set by the deepspeed launcher
    parser.add_settings(TrainConfig)
    return parser.parse(arguments)


def preset_words(name: str) -> list[str]:
    """Return what `--preset NAME` stands for."""
    return [f"--config={preset_path(name)}"]


def run(arguments: Namespace) -> int:
    config = read_settings(arguments, TrainConfig)
    from trainer.distributed.zero import init_process_group
    from trainer.plan import (
        check_fits,
        check_not_run,
        describe,
        share_cores,
        with_fitting_micro_batch,
    )
    from trainer.saving.run_folder import claimed

    process = init_process_group()._replace(sequence=config.parallel.sequence)
    check_divides(process.sequence, "the number of processes", process.world_size)
    share_cores(config.data.num_workers, process)
    config, lowered = with_fitting_micro_batch(config, process.replicas)
    folder, resume = arguments.output, arguments.resume
    if process.rank == 0:
        print(describe(config, shown(arguments.dataset), folder, process), flush=True)
    notes = [note for note in (lowered, check_fits(config, process)) if note]
    if arguments.dry_run:
        return 0
    check_not_run(folder, resume)
    with claimed(folder, process.rank) as record:
        return train(arguments, config, process, record, notes)


def train(
    arguments: Namespace,
    config: TrainConfig,
    process: "Process",
    record: "RunRecord",
    notes: list[str],
) -> int:
    """Train in a folder that is held for it."""
    from trainer.data.index import describe_buckets
    from trainer.data.open_source import training_buckets
    from trainer.inputs import open_inputs
    from trainer.loop import Trainer
    from trainer.measures.metrics import RunLog
    from trainer.plan import write_settings
    from trainer.saving.checkpoint import intact, newest_intact
    from trainer.stopping import StopRequest

    folder, resume = arguments.output, arguments.resume
    checkpoint = None
    if resume != "never":
        checkpoint = newest_intact(folder) if resume == "auto" else intact(Path(resume))
    inputs = open_inputs(config, arguments.dataset, process.device)
    trainer = Trainer(config, inputs, folder, process, record, arguments.accept_changes)
    buckets = training_buckets(inputs.source, config.data)
    notes.append(describe_buckets(buckets, config.data))
    if checkpoint is not None:
        notes += trainer.resume(checkpoint)
        step = trainer.counters.step
        notes.append(f"going on after step {step} of {config.train.steps} ({checkpoint})")
    trainer.write_record()
    if process.rank == 0:
        write_settings(folder, config)
    settings: dict[str, Any] = asdict(config)
    step = trainer.counters.step
    with (
        RunLog(folder, config.log, step=step, rank=process.rank, settings=settings) as log,
        StopRequest() as stop,
    ):
        for note in notes:
            log.message(note)
        finished = trainer.train(log, stop)
        done = "trained" if finished else "stopped on request after"
        log.message(f"{done} {trainer.counters.step} steps; export with: python trainer/export.py")
    return 0


def main() -> int:
    arguments = sys.argv[1:]
    if is_foreign():
        training = split()
        if isinstance(training, int):
            return training
        code = 1
        try:
            code = _ended(arguments)
        finally:
            training.ended(code)
        return code
    follow_launcher()
    return _ended(arguments)


def _ended(words: list[str]) -> int:
    """Train, or start the processes that do; return the exit code."""
    return code_of("train", lambda: _train_or_launch(words), "run the same command again to go on")


def _train_or_launch(words: list[str]) -> int:
    arguments = parse(words)
    processes = Processes.of_flags(arguments.processes, arguments.node, arguments.master)
    if is_launched() or processes.nodes * processes.count == 1:
        return run(arguments)
    config = read_settings(arguments, TrainConfig)  # what is wrong is said once
    started = processes.nodes * processes.count
    check_divides(config.parallel.sequence, "the number of processes", started)
    command = [sys.executable, "-u", str(Path(__file__).resolve()), *words]
    return launch(command, processes)
