"""What training costs beside diffusers' plain Wan, and how long it waits for data.

    python benchmarks/train.py ratios            # three small sizes on a CPU, about three minutes
    python benchmarks/train.py ratios --wan      # 1.3B with random weights, needs a GPU
    python benchmarks/train.py step              # 1.3B: s/step, tokens/s, MFU by checkpointing
    python benchmarks/train.py data DATASET      # share of waiting for data, tiny preset; with
                                                 # --set data.source=latents from latents

`ratios` runs every variant in one process on the same weights, video tokens and precision, turn by
turn, and prints medians over the turns of time over plain Wan's time in the same turn, beside the
ratio of FLOPs. CPU times are CPU seconds of one thread, memory is what torch allocates (profiler's
record of every allocation); on a GPU both are the device's.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # torch's profiler reports its every start and stop

import torch  # noqa: E402
from train_variants import (  # noqa: E402
    Bench,
    Variant,
    make_bench,
    make_models,
    run_once,
    variants_of,
)

from trainer.distributed.zero import ZeroConfig  # noqa: E402
from trainer.measures.estimate import MemoryPlan, estimate  # noqa: E402
from trainer.measures.speed import peak_flops  # noqa: E402

CPU_MODEL: dict[str, Any] = {
    "num_attention_heads": 6,
    "attention_head_dim": 64,
    "ffn_dim": 2304,
    "num_layers": 2,
    "text_dim": 256,
    "image_dim": 128,
}
WAN_1_3B: dict[str, Any] = {}  # the model's defaults
# Latent frames, rows and columns: 17, 33 and 81 frames.
CPU_GRIDS = ((5, 16, 28), (9, 20, 28), (21, 16, 28))
WAN_GRIDS = ((5, 60, 104), (13, 60, 104), (21, 60, 104))
GIB = 2**30


def seconds_of(bench: Bench, variant: Variant, train: bool) -> float:
    if bench.device.type != "cuda":
        started = time.process_time()
        run_once(bench, variant, train)
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    run_once(bench, variant, train)
    torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_bytes(bench: Bench, variant: Variant, train: bool) -> int:
    """Return the most memory that the pass takes on top of weights and inputs."""
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run_once(bench, variant, train)
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        run_once(bench, variant, train)
    results: Any = profiler.profiler and profiler.profiler.kineto_results
    changes = [event for event in results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in changes))


def measure_ratios(fields: Mapping[str, Any], grids: Any, repeats: int, device: Any) -> None:
    models = make_models(fields, device)
    for grid in grids:
        bench = make_bench(models, grid, device)
        sizes = bench.sizes
        print(f"\n{sizes.video} video tokens, {sizes.reference} of a reference, {repeats} turns")
        print(f"{'':26}{'predicted':>10}{'measured':>10}{'spread':>14}{'excess':>8}{'memory':>8}")
        for train in (False, True):
            variants = [v for v in variants_of(bench) if v.trains or not train]
            _print_ratios(bench, variants, repeats, train)


def _print_ratios(bench: Bench, variants: list[Variant], repeats: int, train: bool) -> None:
    base = variants[0]
    memory = {variant.name: peak_bytes(bench, variant, train) for variant in variants}
    turns = [
        {variant.name: seconds_of(bench, variant, train) for variant in variants}
        for _ in range(repeats + 1)
    ][1:]  # the first one warms up
    plain_s = statistics.median(turn[base.name] for turn in turns)
    what = "forward and backward" if train else "forward"
    print(f"{what}: plain Wan {plain_s:.3f} s, {memory[base.name] / 2**20:.0f} MiB")
    for variant in variants[1:]:
        ratios = sorted(turn[variant.name] / turn[base.name] for turn in turns)
        predicted, measured = variant.flops.total / base.flops.total, statistics.median(ratios)
        spread = f"{ratios[0]:.3f}-{ratios[-1]:.3f}"
        held = memory[variant.name] / memory[base.name]
        print(
            f"  {variant.name:24}{predicted:10.3f}{measured:10.3f}{spread:>14}"
            f"{measured / predicted - 1:+8.1%}{held:8.3f}",
            flush=True,
        )


def measure_steps(grid: tuple[int, int, int], steps: int) -> None:
    """Print what a whole update of 1.3B costs for each way of checkpointing."""
    device = torch.device("cuda")
    bench = make_bench(make_models(WAN_1_3B, device), grid, device)
    variant = next(variant for variant in variants_of(bench) if variant.name == "ours")
    optimizer = torch.optim.AdamW(bench.model.parameters(), lr=1e-5, fused=True)
    peak = peak_flops(device)
    print(f"{bench.sizes}, {torch.cuda.get_device_name()}")
    print("checkpointing    s/step  tokens/s  TFLOP/s    MFU   peak GiB  estimated GiB")
    for name, every in (("full", 1), ("half", 2), ("none", 0)):
        bench.model.enable_checkpointing(every)
        plan = MemoryPlan(bench.sizes, ZeroConfig(stage=0), checkpointing=every)
        estimated = estimate(bench.model.config, plan).total / GIB
        try:
            step_s, held = _time_steps(bench, variant, optimizer, steps)
        except torch.cuda.OutOfMemoryError:
            print(f"{name:14}  out of memory {estimated:49.1f}")
            continue
        rate = variant.flops.training() / step_s
        mfu = f"{rate / peak:.1%}" if peak else "-"
        print(
            f"{name:14}{step_s:9.2f}{bench.sizes.video / step_s:10.0f}{rate / 1e12:9.0f}{mfu:>7}"
            f"{held / GIB:11.1f}{estimated:15.1f}",
            flush=True,
        )


def _time_steps(
    bench: Bench, variant: Variant, optimizer: torch.optim.Optimizer, steps: int
) -> tuple[float, int]:
    times = []
    for _ in range(steps + 1):
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        started = time.perf_counter()
        with bench.precision():
            outputs = variant.forward()
        torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:]), torch.cuda.max_memory_allocated()


def measure_waiting(dataset: str, steps: int, settings: list[str]) -> None:
    """Run the trainer itself on the tiny preset, and read what it logged."""
    quiet = [f"train.steps={steps}", "log.every=10", f"checkpoint.every={steps}"]
    quiet += [f"validation.every={steps}", "validation.videos=0"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "trainer" / "train.py"), "--preset", "tiny"]
        command += ["--data", dataset, "--output", f"{folder}/run"]
        for setting in quiet + settings:
            command += ["--set", setting]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
    logged = [row for row in map(json.loads, lines) if "speed/data_wait" in row]
    print("  step   s/step  waiting for data")
    for row in logged:
        print(f"{row['step']:6}{row['speed/step_s']:9.3f}{row['speed/data_wait']:14.1%}")
    after = statistics.mean(row["speed/data_wait"] for row in logged[1:] or logged)
    print(f"after the first line: {after:.1%} of the time is waiting for data")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    ratios = parts.add_parser("ratios", help="time and memory over plain Wan's")
    ratios.add_argument("--wan", action="store_true", help="1.3B on a GPU")
    ratios.add_argument("--turns", type=int, default=3)
    ratios.add_argument("--threads", type=int, default=1)
    step = parts.add_parser("step", help="1.3B on a GPU by checkpointing")
    step.add_argument("--frames", type=int, default=81)
    step.add_argument("--steps", type=int, default=3)
    data = parts.add_parser("data", help="share of waiting for data")
    data.add_argument("dataset")
    data.add_argument("--steps", type=int, default=60)
    data.add_argument("--set", action="append", default=[], help="as of trainer/train.py")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.part == "data":
        measure_waiting(given.dataset, given.steps, given.set)
        return
    needs_cuda = given.part == "step" or given.wan
    if needs_cuda and not torch.cuda.is_available():
        parser.error("the 1.3B model needs a GPU, and torch finds none; try `ratios` without --wan")
    if given.part == "step":
        measure_steps(((given.frames - 1) // 4 + 1, 60, 104), given.steps)
        return
    torch.set_num_threads(given.threads)
    fields, grids = (WAN_1_3B, WAN_GRIDS) if given.wan else (CPU_MODEL, CPU_GRIDS)
    measure_ratios(fields, grids, given.turns, torch.device("cuda" if given.wan else "cpu"))


if __name__ == "__main__":
    main()
