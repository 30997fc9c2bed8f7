"""The paper's design leaves out who did not look, and says whether metrics agree with people."""

import json
from dataclasses import replace

import pytest

from pipeline.evaluate.study import PAPER, QUESTIONS, Pair, StudyKey
from pipeline.evaluate.study_results import Answer, inattentive, results_of
from pipeline.evaluate.votes_and_metrics import agreements, read_measures


def key_of(pairs: int = 10) -> StudyKey:
    compared = [
        Pair(f"p{n}", f"i{n}", f"who{n}", *(("x", "y") if n % 2 else ("y", "x")))
        for n in range(pairs)
    ]
    checks = [Pair(f"c{n}", f"i{n}", f"who{n}", "stranger", "truth", "b") for n in range(5)]
    return StudyKey(
        "s", list(QUESTIONS), [*compared, *checks], 1, PAPER.least_checks, PAPER.fastest_s
    )


def say(rater: str, pair: str, value: int, seconds: float = 8.0) -> list[Answer]:
    return [Answer(rater, pair, question, value, seconds) for question in QUESTIONS]


def checked(rater: str, passed: int, seconds: float = 8.0) -> list[Answer]:
    values = [2 if n < passed else -2 for n in range(5)]
    return [each for n in range(5) for each in say(rater, f"c{n}", values[n], seconds)]


def test_who_passes_four_of_five_checks_stays_and_who_passes_three_goes():
    key = key_of()
    answers = checked("careful", 5) + checked("human", 4) + checked("careless", 3)
    assert inattentive(answers, key) == {"careless": "3 of 5 checks passed, 80% are needed"}
    strict = inattentive(answers, replace(key, least_checks=1.0))
    assert strict.keys() == {"human", "careless"}
    unseen = checked("absent", 5)[: 3 * len(QUESTIONS)]
    assert inattentive(unseen, key) == {"absent": "3 of 5 checks passed, 80% are needed"}


def test_who_takes_less_than_three_seconds_for_most_pairs_goes():
    key = key_of()
    answers = checked("fast", 5, 2.9) + checked("slow", 5, 3.1)
    answers += checked("sometimes", 5) + say("sometimes", "p0", 1, 0.5)
    assert inattentive(answers, key) == {"fast": "the median pair took 2.9 s, 3 s are needed"}
    unknown = [replace(answer, seconds=float("nan")) for answer in checked("old", 5)]
    assert inattentive(unknown, key) == {}
    result = results_of(answers, key)
    assert result["bounds"] == {"least_checks": 0.8, "fastest_s": 3.0}


def test_the_key_keeps_the_bounds_and_older_keys_have_the_strict_ones():
    key = key_of()
    assert StudyKey.from_json(key.to_json()) == key
    older = json.loads(key.to_json())
    del older["least_checks"], older["fastest_s"]
    read = StudyKey.from_json(json.dumps(older).encode())
    assert (read.least_checks, read.fastest_s) == (1.0, 0.0)


def measures(values: list[float]) -> dict[str, dict[str, float | None]]:
    return {
        f"i{n}": {"face": value, "noise": float((7 * n) % 10), "unknown": None}
        for n, value in enumerate(values)
    }


def test_a_metric_that_orders_pairs_as_people_do_has_a_correlation_of_one():
    key = key_of()
    quality = {"x": [n / 10 for n in range(10)], "y": [0.5] * 10}
    answers = []
    for n in range(10):
        towards_x = min(2, max(-2, n - 5))
        answers += say("r", f"p{n}", towards_x if n % 2 == 0 else -towards_x)
    found = agreements(answers, key, {name: measures(own) for name, own in quality.items()})
    best = found[0]
    assert (best.metric, best.pairs) == ("face", 10)
    assert best.spearman > 0.95
    assert {each.metric for each in found} == {"face"}  # the others say nothing of the pairs
    with pytest.raises(ValueError, match="names no result of y"):
        agreements(answers, key, {"x": measures(quality["x"])})


def test_measures_are_read_from_a_result_of_the_evaluation(tmp_path):
    rows = [
        {"item_id": "i0", "system": "model", "measures": {"face": 0.5, "hair": None}},
        {"item_id": "i0", "system": "truth", "measures": {"face": 0.9}},
    ]
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"protocols": [{"videos": rows}]}))
    assert read_measures(path) == {"i0": {"face": 0.5, "hair": None}}
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"is no result\.json of evaluate\.py"):
        read_measures(path)
