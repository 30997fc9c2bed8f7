"""Bootstrap intervals: resample identities or raters, since videos of one are not independent."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class IntervalEstimate:
    """A mean with its 95 % interval; the interval is None where only one group was measured."""

    mean: float
    low: float | None
    high: float | None
    num: int  # values
    groups: int  # that are independent


def estimate(
    values: Sequence[float], groups: Sequence[Hashable], seed: int = 0, resamples: int = RESAMPLES
) -> IntervalEstimate | None:
    """Return the mean and its interval, resampling whole groups; None without values."""
    return estimate_crossed([*values], [groups], seed, resamples)


def estimate_crossed(
    values: Sequence[float],
    factors: Sequence[Sequence[Hashable]],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> IntervalEstimate | None:
    """Return the mean and its interval, resampling one or two factors independently.

    Raters and identities are crossed: every rater saw many identities, every identity was seen by
    many raters. A value counts as often as its rater was drawn times as often as its identity was.
    Source: Owen, "The pigeonhole bootstrap", 2007.
    """
    if not len(values):
        return None
    numbers = np.asarray(values, np.float64)
    mean = float(numbers.mean())
    codes = [_codes(factor, len(numbers)) for factor in factors]
    sizes = [int(code.max()) + 1 for code in codes]
    if min(sizes) < 2:
        return IntervalEstimate(mean, None, None, len(numbers), sizes[0])
    random = np.random.default_rng(seed)
    drawn = [random.multinomial(size, np.full(size, 1 / size), resamples) for size in sizes]
    one = codes[0]
    other = codes[1] if len(codes) > 1 else np.zeros_like(one)
    weights = drawn[1] if len(codes) > 1 else np.ones((resamples, 1))
    sums, counts = np.zeros((2, sizes[0], weights.shape[1]))
    np.add.at(sums, (one, other), numbers)
    np.add.at(counts, (one, other), 1)
    total, number = (((drawn[0] @ table) * weights).sum(1) for table in (sums, counts))
    low, high = np.percentile(total[number > 0] / number[number > 0], [2.5, 97.5])
    return IntervalEstimate(mean, float(low), float(high), len(numbers), sizes[0])


def _codes(factor: Sequence[Hashable], number: int) -> np.ndarray:
    if len(factor) != number:
        raise ValueError(f"{number} values come with {len(factor)} groups")
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(group, len(codes)) for group in factor])
