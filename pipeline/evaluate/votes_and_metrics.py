"""Do the metrics say what people say? Rank correlation of votes with measured differences."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from pipeline.evaluate.study import StudyKey
from pipeline.evaluate.study_results import Answer
from pipeline.evaluate.systems import MODEL
from schemas.files import read_file

LEAST_PAIRS = 5  # fewer have no rank correlation worth a number

Measured = Mapping[str, Mapping[str, float | None]]  # item -> metric -> value


@dataclass(frozen=True)
class Agreement:
    """How a metric ranks the pairs of a study, against how people do."""

    metric: str
    spearman: float  # -1 to 1
    p_value: float  # of no agreement
    pairs: int


def read_measures(path: Path, system: str = MODEL) -> Measured:
    """Return what an evaluation measured of every item of a system, by its first protocol.

    A result without a system of that name has one only, the model. Raises ValueError naming the
    file.
    """
    expected = "result.json of evaluate.py"
    content = read_file("--metrics", path, expected)
    try:
        rows = json.loads(content)["protocols"][0]["videos"]
        name = system if any(row["system"] == system for row in rows) else MODEL
        judged = [row for row in rows if row["system"] == name]
        return {str(row["item_id"]): dict(row["measures"]) for row in judged}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"--metrics {path} is no {expected}: {error!r}") from error


def agreements(
    answers: Sequence[Answer], key: StudyKey, measured: Mapping[str, Measured]
) -> list[Agreement]:
    """Return, for every metric, how alike people and metric order the pairs; best first.

    A pair's vote is the mean answer towards its side B, its difference the metric of B less A's.
    `measured` is by system. Raises ValueError for a system of the study that is not measured.
    """
    pairs = {pair.pair_id: pair for pair in key.pairs if not pair.check}
    systems = {system for pair in pairs.values() for system in (pair.a, pair.b)}
    missing = systems - measured.keys()
    if missing:
        raise ValueError(f"--metrics names no result of {', '.join(sorted(missing))}")
    votes: dict[str, list[int]] = {}
    for answer in {(a.rater, a.pair_id, a.question): a for a in answers}.values():
        if answer.pair_id in pairs:
            votes.setdefault(answer.pair_id, []).append(answer.value)
    found: dict[str, list[tuple[float, float]]] = {}
    for pair_id, values in votes.items():
        pair = pairs[pair_id]
        sides = (measured[system].get(pair.item_id, {}) for system in (pair.a, pair.b))
        for metric, difference in _differences(*sides):
            found.setdefault(metric, []).append((float(np.mean(values)), difference))
    ranked = (_agreement(metric, both) for metric, both in sorted(found.items()))
    return sorted(filter(None, ranked), key=lambda each: (-abs(each.spearman), each.metric))


def _differences(
    a: Mapping[str, float | None], b: Mapping[str, float | None]
) -> list[tuple[str, float]]:
    both = [(name, a[name], b[name]) for name in a if name in b]
    return [(name, y - x) for name, x, y in both if x is not None and y is not None]


def _agreement(metric: str, both: Sequence[tuple[float, float]]) -> Agreement | None:
    """Return None for too few pairs, or where either side orders nothing."""
    votes, differences = np.array(both).T
    if len(both) < LEAST_PAIRS or not np.ptp(votes) or not np.ptp(differences):
        return None
    found: Any = spearmanr(votes, differences)
    rho, p_value = float(found.statistic), float(found.pvalue)
    return Agreement(metric, round(rho, 4), round(p_value, 6), len(both))


def describe_agreements(found: Sequence[Agreement]) -> str:
    """Return lines for a person."""
    if not found:
        return f"no metric is known of {LEAST_PAIRS} pairs and more"
    return "\n".join(
        f"{each.metric:28} Spearman {each.spearman:+.2f} with the votes, {each.pairs} pairs "
        f"(p {each.p_value:.3f})"
        for each in found
    )
