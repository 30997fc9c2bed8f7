"""The result of an evaluation as data: every number with its protocol, engines and interval."""

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.evaluate.bootstrap import RESAMPLES, IntervalEstimate, estimate
from pipeline.evaluate.evaluate import Evaluation, MeasuredVideo
from pipeline.evaluate.measure import METRICS
from pipeline.evaluate.measurers import Measurers
from pipeline.evaluate.systems import SYSTEMS
from schemas.benchmark import Benchmark

RESULT_VERSION = 1
_LIBRARIES = ("contextanyone", "av", "opencv-python", "numpy", "scipy", "onnxruntime")
_DECIMALS = 6


@dataclass(frozen=True)
class Summary:
    """One system over all items."""

    system: str
    num_videos: int
    num_identities: int
    num_frames: int
    metrics: dict[str, IntervalEstimate]  # those that could be computed


def summarise_systems(rows: Sequence[MeasuredVideo], seed: int) -> list[Summary]:
    """Average every metric of every system; intervals resample identities."""
    summaries = []
    for system in SYSTEMS:
        own = [row for row in rows if row.system == system]
        if not own:
            continue
        metrics = {}
        for metric in METRICS:
            known = [(row.measures[metric], row.identity) for row in own]
            values = [(value, identity) for value, identity in known if value is not None]
            found = estimate([v for v, _ in values], [i for _, i in values], seed)
            if found is not None:
                metrics[metric] = found
        summaries.append(
            Summary(
                system,
                len(own),
                len({row.identity for row in own}),
                sum(row.num_frames for row in own),
                metrics,
            )
        )
    return summaries


def summarise_strata(
    rows: Sequence[MeasuredVideo], seed: int
) -> dict[str, dict[str, list[Summary]]]:
    """Return, by kind and group of items, the summaries of every kind that has two groups."""
    found: dict[str, dict[str, list[Summary]]] = {}
    for kind in sorted({kind for row in rows for kind in row.strata}):
        groups = sorted({row.strata[kind] for row in rows if kind in row.strata})
        if len(groups) > 1:
            found[kind] = {
                group: summarise_systems([r for r in rows if r.strata.get(kind) == group], seed)
                for group in groups
            }
    return found


def result_of(
    evaluations: Sequence[Evaluation],
    benchmark: Benchmark,
    by: Measurers,
    seed: int,
    made_by: dict[str, Any],
) -> dict[str, Any]:
    """Return everything that is needed to compare this run with another."""
    return {
        "result_version": RESULT_VERSION,
        "benchmark": {
            "name": benchmark.name,
            "items": len(benchmark.items),
            "identities": len({item.main.identity for item in benchmark.items}),
            "prompts_sha256": benchmark.prompts_sha256,
            "manifest_sha256": benchmark.manifest_sha256,
        },
        "made_by": made_by,
        "engines": [asdict(info) for info in by.infos],
        "libraries": _versions(),
        "seed": seed,
        "intervals": f"95 %, {RESAMPLES} resamples of identities",
        "metrics": METRICS,
        "protocols": [_protocol(each, by, seed) for each in evaluations],
    }


def _protocol(evaluation: Evaluation, by: Measurers, seed: int) -> dict[str, Any]:
    protocol = evaluation.protocol
    summaries = summarise_systems(evaluation.rows, seed)
    computed = {metric for each in summaries for metric in each.metrics}
    return {
        "protocol": asdict(protocol),
        "departures": protocol.departures(by.infos),
        "systems": [_rounded(asdict(each)) for each in summaries],
        "strata": {
            kind: {group: [_rounded(asdict(each)) for each in own] for group, own in groups.items()}
            for kind, groups in summarise_strata(evaluation.rows, seed).items()
        },
        "left_out": evaluation.left_out,
        "not_computed": not_computed(evaluation, by, computed),
        "sizes": sorted({_size(video) for one in evaluation.shown for video in one.videos.items()}),
        "videos": [_rounded(asdict(row)) for row in evaluation.rows],
    }


def _size(of: tuple[str, Any]) -> str:
    system, video = of
    return f"{system}: {video.width}x{video.height}, {video.num_frames} frames, {video.fps:g}/s"


def not_computed(evaluation: Evaluation, by: Measurers, computed: set[str]) -> dict[str, str]:
    """Return every metric that has no number, of ours and of the protocol, and why."""
    told = {}
    for metric in METRICS:
        if metric not in computed:
            told[metric] = by.not_computed.get(metric, _NOTHING_TO_MEASURE.get(metric, _NO_FACE))
    for metric, model in evaluation.protocol.also.items():
        if metric not in computed:
            told[metric] = by.not_computed.get(metric, f"needs {model}")
    if evaluation.protocol.value == "self" and "protocol_value" not in computed:
        told["protocol_value"] = f"needs {evaluation.protocol.recogniser}"
    return told | {metric: why for metric, why in by.not_computed.items() if metric not in computed}


_NO_FACE = "no face, or no such frame, in any video"
_NO_CAST = "no item has several characters with a face"
_NOTHING_TO_MEASURE = {
    "cast_matched": _NO_CAST,
    "cast_missing": _NO_CAST,
    "swap_rate": _NO_CAST,
    "place_likeness": "the references show nothing but the person",
    "pose_change": "this face detector finds no five points",
}


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def to_json(result: dict[str, Any]) -> bytes:
    """Return the file's bytes; numbers that do not exist are null."""
    return (json.dumps(result, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
