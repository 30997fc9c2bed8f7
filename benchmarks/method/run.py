"""What does each part of the method do? Train it part by part in the identity world, and measure.

    python -m benchmarks.method.run --output runs/method
    python -m benchmarks.method.run --output runs/method --minutes 30 --seeds 3
    python -m benchmarks.method.run --output runs/method-gpu --preset gpu --minutes 5

Rows come in the order of their worth, every row with all its seeds. What is done is not done again:
the same command goes on. After every row table.md and figure.png are written anew from what is
there. docs/method.md says what came out.
"""

import argparse
import json
import multiprocessing
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.method.bases import kept_base
from benchmarks.method.rows import Regime, regimes
from benchmarks.method.study import in_order, run_row, train_base
from benchmarks.method.table import write_report

Job = tuple[str, str, int]  # regime, row, seed


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0],
        epilog="Resumable: what is in --output is not run again.",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--preset", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--minutes", type=float, default=90, help="start nothing after these")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--regimes", nargs="*", help="only these regimes, by their names")
    parser.add_argument("--rows", nargs="*", help="only these rows, by their keys")
    parser.add_argument("--steps", type=int, help="updates of a row, instead of the regime's own")
    parser.add_argument("--jobs", type=int, help="models side by side: 1 on a CPU, 8 on a GPU")
    parser.add_argument("--table", action="store_true", help="only write table and figure")
    return parser.parse_args(arguments)


def result_path(output: Path, job: Job) -> Path:
    regime, row, seed = job
    return output / "rows" / f"{regime}-{row}-{seed}.json"


def run_job(output: Path, job: Job, regime: Regime, device: str) -> float:
    """Train, measure and write one row with one seed; return the seconds that it took."""
    torch.set_num_threads(1)
    started = time.monotonic()
    name, row, seed = job
    path = output / "bases" / f"{name}-{seed}.safetensors"
    base = kept_base(path, lambda: train_base(regime, seed, device))
    measured = run_row(regime, regime.rows[row], seed, base, device)
    path = result_path(output, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".part")
    written.write_text(json.dumps(measured))
    written.rename(path)
    return time.monotonic() - started


def run_all(arguments: argparse.Namespace, chosen: dict[str, Regime]) -> None:
    device = "cuda" if arguments.preset == "gpu" else "cpu"
    workers = arguments.jobs or (8 if device == "cuda" else 1)
    output, until = arguments.output, time.monotonic() + 60 * arguments.minutes
    jobs = [
        job
        for job in in_order(chosen, arguments.seeds)
        if (not arguments.regimes or job[0] in arguments.regimes)
        and (not arguments.rows or job[1] in arguments.rows)
    ]
    waiting = [job for job in jobs if not result_path(output, job).is_file()]
    running: dict[Future[float], Job] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        while waiting or running:
            while waiting and len(running) < workers and time.monotonic() < until:
                job = waiting.pop(0)
                running[pool.submit(run_job, output, job, chosen[job[0]], device)] = job
            if not running:
                print(f"out of time, {len(waiting)} runs are left", flush=True)
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name = "-".join(map(str, running.pop(future)))
                print(f"{name} in {future.result():.0f} s", flush=True)
            write_report(output, chosen)


def main() -> int:
    arguments = parse(sys.argv[1:])
    chosen = regimes(arguments.preset == "gpu")
    if arguments.steps:
        chosen = {name: regime.shortened(arguments.steps) for name, regime in chosen.items()}
    if not arguments.table:
        run_all(arguments, chosen)
    print(write_report(arguments.output, chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
