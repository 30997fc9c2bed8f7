"""The result of an evaluation as data: every metric with its protocol, engines and interval."""

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.evaluate.bootstrap import RESAMPLES, IntervalEstimate, estimate
from pipeline.evaluate.evaluate import Evaluation, MeasuredVideo
from pipeline.evaluate.evaluation_engines import EvaluationEngines
from pipeline.evaluate.features import VideoFeatures
from pipeline.evaluate.systems import in_order
from pipeline.evaluate.video_metrics import METRICS
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
    for system in in_order(row.system for row in rows):
        system_rows = [row for row in rows if row.system == system]
        metrics = {}
        for metric in METRICS:
            known = [(row.measures[metric], row.identity) for row in system_rows]
            values = [(value, identity) for value, identity in known if value is not None]
            found = estimate([v for v, _ in values], [i for _, i in values], seed)
            if found is not None:
                metrics[metric] = found
        summaries.append(
            Summary(
                system,
                len(system_rows),
                len({row.identity for row in system_rows}),
                sum(row.num_frames for row in system_rows),
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


def build_result(
    evaluations: Sequence[Evaluation],
    benchmark: Benchmark,
    engines: EvaluationEngines,
    seed: int,
    made_by: dict[str, Any],
) -> dict[str, Any]:
    """Return all that is needed to compare this run with another."""
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
        "engines": [asdict(info) for info in engines.infos],
        "libraries": _versions(),
        "seed": seed,
        "intervals": f"95 %, {RESAMPLES} resamples of identities",
        "metrics": METRICS,
        "protocols": [_protocol(evaluation, engines, seed) for evaluation in evaluations],
    }


def _protocol(evaluation: Evaluation, engines: EvaluationEngines, seed: int) -> dict[str, Any]:
    protocol = evaluation.protocol
    summaries = summarise_systems(evaluation.rows, seed)
    computed = {metric for summary in summaries for metric in summary.metrics}
    return {
        "protocol": asdict(protocol),
        "departures": protocol.departures(engines.infos),
        "systems": [_rounded(asdict(summary)) for summary in summaries],
        "strata": {
            kind: {
                group: [_rounded(asdict(summary)) for summary in summaries]
                for group, summaries in groups.items()
            }
            for kind, groups in summarise_strata(evaluation.rows, seed).items()
        },
        "left_out": evaluation.left_out,
        "not_computed": not_computed(evaluation, engines, computed),
        "sizes": sorted(
            {_size(name, video) for item in evaluation.shown for name, video in item.videos.items()}
        ),
        "videos": [_rounded(asdict(row)) for row in evaluation.rows],
    }


def _size(system: str, video: VideoFeatures) -> str:
    return f"{system}: {video.width}x{video.height}, {video.num_frames} frames, {video.fps:g}/s"


def not_computed(
    evaluation: Evaluation, engines: EvaluationEngines, computed: set[str]
) -> dict[str, str]:
    """Return metric -> why it has no value, of our metrics and the protocol's."""
    reasons = {}
    for metric in METRICS:
        if metric not in computed:
            reasons[metric] = engines.not_computed.get(
                metric, _NOTHING_TO_MEASURE.get(metric, _NO_FACE)
            )
    for metric, model in evaluation.protocol.also.items():
        if metric not in computed:
            reasons[metric] = engines.not_computed.get(metric, f"needs {model}")
    if "protocol_value" not in computed:
        needs = {"self": f"needs {evaluation.protocol.recogniser}", "shots": _ONE_SHOT}
        reasons |= {"protocol_value": needs.get(evaluation.protocol.value, _NO_FACE)}
    return reasons | {
        metric: why for metric, why in engines.not_computed.items() if metric not in computed
    }


_NO_FACE = "no face, or no such frame, in any video"
_NO_CAST = "no item has several characters with a face"
_ONE_SHOT = "no video has so many shots with a face"
_NOTHING_TO_MEASURE = {
    "cast_matched": _NO_CAST,
    "cast_missing": _NO_CAST,
    "swap_rate": _NO_CAST,
    "shots_next": _ONE_SHOT,
    "shots_two_apart": _ONE_SHOT,
    "shots_far": _ONE_SHOT,
    "face_across_videos": "nobody has two videos with a face",
    "place_likeness": "the references show nothing but the person",
    "pose_change": "this face detector finds no five points",
}


def _versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def to_json(result: dict[str, Any]) -> bytes:
    """Return the bytes of result.json; values that do not exist are null."""
    return (json.dumps(result, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
