"""Turn the answers of a study into win rates with intervals; inattentive raters are left out."""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.evaluate.bootstrap import IntervalEstimate, estimate_crossed
from pipeline.evaluate.study import Pair, StudyKey
from pipeline.evaluate.study_page import COLUMNS

_MAX_BYTES = 16 * 2**20
_CLEARLY = 1  # a check is passed when the mean over all questions prefers the right side by this


@dataclass(frozen=True)
class Answer:
    """One answer: from -2, A clearly, to 2, B clearly."""

    rater: str
    pair_id: str
    question: str
    value: int
    seconds: float = field(default=math.nan, compare=False)  # that the whole pair took


@dataclass(frozen=True)
class Comparison:
    """Two systems, by one question or by all of them."""

    system: str
    against: str
    question: str
    win_rate: IntervalEstimate  # share of answers that prefer `system`; no difference counts half
    preference: IntervalEstimate  # mean answer towards `system`, -2 to 2
    raters: int


def read_answers(content: bytes, key: StudyKey, name: str) -> list[Answer]:
    """Read a rater's CSV. Raises ValueError that names the file and the line."""
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{name} has {len(content)} bytes, at most {_MAX_BYTES} are read")
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name} is not a CSV in UTF-8: {error}") from error
    if not rows or not {*COLUMNS[:5]} <= rows[0].keys():
        raise ValueError(
            f"{name} is not a rater's CSV: it needs the columns "
            f"{', '.join(COLUMNS)}, and at least one answer"
        )
    known = {pair.pair_id for pair in key.pairs}
    answers = []
    for line, row in enumerate(rows, 2):
        problem = _problem(row, key, known)
        if problem:
            raise ValueError(f"{name}, line {line}: {problem}")
        seconds = _seconds(row)
        answer = Answer(row["rater"], row["pair"], row["question"], int(row["answer"]), seconds)
        answers.append(answer)
    return answers


def _problem(row: Mapping[str, Any], key: StudyKey, known: set[str]) -> str:
    if row["study"] != key.study_id:
        return f"it is of study {row['study']!r}, the key of {key.study_id!r}"
    if row["pair"] not in known:
        return f"pair {row['pair']!r} is not in the key"
    if row["question"] not in key.questions:
        return f"question must be one of {', '.join(key.questions)}, got {row['question']!r}"
    if row["answer"] not in ("-2", "-1", "0", "1", "2"):
        return f"answer must be a whole number from -2 to 2, got {row['answer']!r}"
    return "" if row["rater"] else "rater is empty"


def _seconds(row: Mapping[str, Any]) -> float:
    """Return the time of a pair, NaN where the file does not say it."""
    try:
        return float(row.get("seconds") or math.nan)
    except ValueError:
        return math.nan


def inattentive(answers: Sequence[Answer], key: StudyKey) -> dict[str, str]:
    """Return the raters that passed too few checks or went too fast, and how, by the key's bounds.

    A rater of whom no time is known did not go too fast.
    """
    return _too_fast(answers, key) | _failed_checks(answers, key)


def _too_fast(answers: Sequence[Answer], key: StudyKey) -> dict[str, str]:
    times: dict[str, dict[str, float]] = {}
    for answer in answers:
        if math.isfinite(answer.seconds):
            times.setdefault(answer.rater, {})[answer.pair_id] = answer.seconds
    medians = {rater: statistics.median(own.values()) for rater, own in times.items()}
    return {
        rater: f"the median pair took {median:.1f} s, {key.fastest_s:g} s are needed"
        for rater, median in medians.items()
        if median < key.fastest_s
    }


def _failed_checks(answers: Sequence[Answer], key: StudyKey) -> dict[str, str]:
    checks = {pair.pair_id: pair for pair in key.pairs if pair.check}
    check_answers: dict[tuple[str, str], list[int]] = {}
    failed: dict[str, str] = {}
    for answer in answers:
        if answer.pair_id in checks:
            right = 1 if checks[answer.pair_id].check == "b" else -1
            values = check_answers.setdefault((answer.rater, answer.pair_id), [])
            values.append(right * answer.value)
    for rater in {answer.rater for answer in answers}:
        means = {
            name: sum(values) / len(values)
            for name in checks
            if (values := check_answers.get((rater, name)))
        }
        passed = sum(mean >= _CLEARLY for mean in means.values())
        if passed >= key.least_checks * len(checks):
            continue
        unseen = len(checks) - len(means)
        if key.least_checks < 1:
            share = f"{key.least_checks:.0%} are needed"
            failed[rater] = f"{passed} of {len(checks)} checks passed, {share}"
        elif unseen:
            failed[rater] = f"{unseen} of {len(checks)} checks were not answered"
        else:
            name, mean = min(means.items(), key=lambda item: item[1])
            failed[rater] = f"check {name}: {mean:+.2f} towards the right side, 1 is needed"
    return failed


def compare_systems(answers: Sequence[Answer], key: StudyKey, seed: int = 0) -> list[Comparison]:
    """Return every two systems by every question, and by all; intervals over raters, identities.

    An answer given twice by a rater counts once, the last time.
    """
    pairs = {pair.pair_id: pair for pair in key.pairs if not pair.check}
    last = {(a.rater, a.pair_id, a.question): a for a in answers if a.pair_id in pairs}
    found = []
    for one, other in sorted({_sorted(pair) for pair in pairs.values()}):
        for question in (*key.questions, "all"):
            own = [
                answer
                for answer in last.values()
                if _sorted(pairs[answer.pair_id]) == (one, other)
                and question in (answer.question, "all")
            ]
            comparison = _compare(own, pairs, one, other, question, seed)
            if comparison is not None:
                found.append(comparison)
    return found


def _sorted(pair: Pair) -> tuple[str, str]:
    first, second = sorted((pair.a, pair.b))
    return first, second


def _compare(
    answers: Sequence[Answer], pairs: Mapping[str, Pair], one: str, other: str, question: str,
    seed: int,
) -> Comparison | None:  # fmt: skip
    values = [a.value if pairs[a.pair_id].b == one else -a.value for a in answers]
    factors = [[a.rater for a in answers], [pairs[a.pair_id].identity for a in answers]]
    wins = estimate_crossed(
        [1.0 if v > 0 else 0.5 if v == 0 else 0.0 for v in values], factors, seed
    )
    preference = estimate_crossed([float(value) for value in values], factors, seed)
    if wins is None or preference is None:
        return None
    return Comparison(one, other, question, wins, preference, len({*factors[0]}))


def results_of(answers: Sequence[Answer], key: StudyKey, seed: int = 0) -> dict[str, Any]:
    """Return the study's result: who was left out, and every comparison."""
    failed = inattentive(answers, key)
    kept = [answer for answer in answers if answer.rater not in failed]
    compared = compare_systems(kept, key, seed)
    return {
        "study": key.study_id,
        "raters": len({answer.rater for answer in answers}),
        "left_out": dict(sorted(failed.items())),
        "bounds": {"least_checks": key.least_checks, "fastest_s": key.fastest_s},
        "seed": seed,
        "intervals": "95 %, raters and identities resampled",
        "comparisons": [asdict(comparison) for comparison in compared],
    }


def describe(result: dict[str, Any]) -> str:
    """Return a result as lines for a person."""
    lines = [f"left out: {rater}: {why}" for rater, why in result["left_out"].items()]
    if not result["comparisons"]:
        lines.append("no answer of an attentive rater is left to be compared")
    for comparison in result["comparisons"]:
        rate = comparison["win_rate"]
        interval = "" if rate["low"] is None else f" [{rate['low']:.2f}, {rate['high']:.2f}]"
        pair = f"{comparison['system']} over {comparison['against']}"
        share = f"{rate['mean']:.2f}{interval} of {rate['num']} answers"
        lines.append(f"{comparison['question']:12} {pair}: {share}")
    return "\n".join(lines)
