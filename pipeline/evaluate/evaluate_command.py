"""Run an evaluation and report it: a table, result.json and report.html."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.dataset.store import open_store
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.evaluation_engines import EvaluationEngines
from pipeline.evaluate.protocols import Protocol
from pipeline.evaluate.report import report
from pipeline.evaluate.result import build_result, to_json
from schemas.benchmark import Benchmark

RESULT, REPORT = "result.json", "report.html"
HEADLINE = (
    "protocol_value", "face_mean_detected", "face_mean_zero_if_missing", "face_detection_rate",
    "face_drift_per_s", "top", "copy_paste", "copy_correlation", "motion_length", "clip_text",
)  # fmt: skip


def run_evaluation(
    folder: Path,
    benchmark: Benchmark,
    videos: Mapping[str, Path],
    protocols: Sequence[Protocol],
    engines: EvaluationEngines,
    output: Path,
    seed: int = 0,
    made_by: dict[str, Any] | None = None,
    beside: Mapping[str, Mapping[str, Path]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Measure by every protocol, write both files, print the tables; return the result.

    `videos` are the model's by item id, `beside` those of further systems by name.
    """
    store = open_store(output)  # refuses a file before anything is measured
    evaluations = evaluate(folder, benchmark, videos, protocols, engines, seed, beside)
    result = build_result(evaluations, benchmark, engines, seed, made_by or {})
    store.write(RESULT, to_json(result))
    store.write(REPORT, report(result, evaluations).encode())
    for protocol_result in result["protocols"]:
        _print_table(protocol_result)
    print(f"{output / RESULT}\n{output / REPORT}")
    return result


def print_video(item_id: str, fresh: bool) -> None:
    """Print whether an item's video was made now or kept from before."""
    print(f"{item_id}: {'made' if fresh else 'kept'}", file=sys.stderr, flush=True)


def _print_table(protocol_result: dict[str, Any]) -> None:
    """Print the main metrics of every system, with their intervals."""
    from rich.console import Console
    from rich.table import Table

    title = f"{protocol_result['protocol']['name']}: mean and 95 % interval over identities"
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    systems = protocol_result["systems"]
    for system in systems:
        table.add_column(f"{system['system']} ({system['num_videos']})", justify="right")
    for metric in HEADLINE:
        if any(metric in system["metrics"] for system in systems):
            table.add_row(
                metric, *(_format_mean(system["metrics"].get(metric)) for system in systems)
            )
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    for line in protocol_result["departures"]:
        print(f"not the protocol itself: {line}")
    for name, why in protocol_result["left_out"].items():
        print(f"left out: {name}: {why}")
    missing = ", ".join(sorted(protocol_result["not_computed"]))
    print(f"not computed (reasons in {RESULT}): {missing or 'none'}")


def _format_mean(estimate: dict[str, Any] | None) -> str:
    """Return a mean with its interval."""
    if estimate is None:
        return "–"
    if estimate["low"] is None:
        return f"{estimate['mean']:.3f}"
    return f"{estimate['mean']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
