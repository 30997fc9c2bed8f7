"""What a person gets of an evaluation: a table, result.json and report.html."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.dataset.store import open_store
from pipeline.evaluate.evaluate import Evaluation, evaluate
from pipeline.evaluate.measurers import Measurers
from pipeline.evaluate.protocols import Protocol
from pipeline.evaluate.report import report
from pipeline.evaluate.result import result_of, to_json
from schemas.benchmark import Benchmark

RESULT, REPORT = "result.json", "report.html"
HEADLINE = (
    "protocol_value", "face_mean_detected", "face_mean_zero_if_missing", "face_detection_rate",
    "face_drift_per_s", "top", "copy_paste", "copy_correlation", "motion_length", "clip_text",
)  # fmt: skip


def evaluate_all(
    folder: Path,
    benchmark: Benchmark,
    videos: Mapping[str, Path],
    protocols: Sequence[Protocol],
    by: Measurers,
    output: Path,
    seed: int = 0,
    made_by: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure by every protocol, write both files, print the table; return the result."""
    store = open_store(output)  # refuses a file before anything is measured
    evaluations = evaluate(folder, benchmark, videos, protocols, by, seed)
    result = result_of(evaluations, benchmark, by, seed, made_by or {})
    store.write(RESULT, to_json(result))
    store.write(REPORT, report(result, evaluations).encode())
    for evaluation, told in zip(evaluations, result["protocols"], strict=True):
        print_table(evaluation, told)
    print(f"{output / RESULT}\n{output / REPORT}")
    return result


def tell(item_id: str, fresh: bool) -> None:
    """Say what became of an item's video."""
    print(f"{item_id}: {'made' if fresh else 'kept'}", file=sys.stderr, flush=True)


def print_table(evaluation: Evaluation, told: dict[str, Any]) -> None:
    """Print the main numbers of every system, with their intervals."""
    from rich.console import Console
    from rich.table import Table

    title = f"{evaluation.protocol.name}: mean and 95 % interval over identities"
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    systems = told["systems"]
    for system in systems:
        table.add_column(f"{system['system']} ({system['num_videos']})", justify="right")
    for metric in HEADLINE:
        if any(metric in system["metrics"] for system in systems):
            table.add_row(metric, *(number(system["metrics"].get(metric)) for system in systems))
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    for line in told["departures"]:
        print(f"not the protocol itself: {line}")
    for name, why in told["left_out"].items():
        print(f"left out: {name}: {why}")
    missing = ", ".join(sorted(told["not_computed"]))
    print(f"not computed (reasons in {RESULT}): {missing or 'none'}")


def number(found: dict[str, Any] | None) -> str:
    """Return a mean with its interval."""
    if found is None:
        return "–"
    if found["low"] is None:
        return f"{found['mean']:.3f}"
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
