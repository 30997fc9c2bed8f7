"""From cosines of known pairs to what a recogniser's cosines mean, and how surely."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.engines.interfaces import EngineInfo, SimilarityWindows
from pipeline.pairing.windows import WindowsConfig

RATES = (1e-1, 1e-2, 1e-3, 1e-4)  # false-match rates that are reported
CONFIDENCE = 0.95
# False-match rates that windows are set by. References are compared with one person, characters of
# two videos with everybody: the more comparisons, the rarer a mistake must be.
FLOOR_RATE, SAME_VIDEO_RATE, CROSS_VIDEO_RATE = 1e-2, 1e-3, 1e-4
MARGIN = 0.02  # above the highest cosine of strangers where the pairs are too few for a rate
LEAST_SAME, LEAST_DIFFERENT = 30, 300  # pairs without which no window is suggested
# `duplicate`: at most this part of same pairs lies above, and of a picture's own copies below
FALSE_COPIES, MISSED_COPIES = 0.01, 0.02


@dataclass(frozen=True)
class Point:
    """What happens at one threshold: shares of pairs at or above it, with 95 % bounds."""

    threshold: float
    true_matches: float
    true_low: float
    true_high: float
    false_matches: float
    false_low: float
    false_high: float  # with no false match: about 3 / pairs, the rule of three


@dataclass(frozen=True)
class Calibration:
    """Cosines of pairs of the same and of different people, of one space of a recogniser."""

    space: str
    same: np.ndarray
    different: np.ndarray
    copies: np.ndarray  # of pictures with their own recompressed, slightly cropped copies

    def at(self, threshold: float) -> Point:
        """Return the shares of same and different pairs at or above a threshold."""
        true = int((self.same >= threshold).sum())
        false = int((self.different >= threshold).sum())
        true_low, true_high = interval(true, len(self.same))
        false_low, false_high = interval(false, len(self.different))
        return Point(
            round(float(threshold), 4),
            true / max(len(self.same), 1),
            true_low,
            true_high,
            false / max(len(self.different), 1),
            false_low,
            false_high,
        )

    def threshold_for(self, rate: float) -> float:
        """Return the least cosine at or above which at most `rate` of different pairs lie."""
        ranked = np.sort(self.different)[::-1]
        allowed = int(np.floor(rate * len(ranked)))
        if allowed >= len(ranked):
            return -1.0
        return float(np.nextafter(ranked[allowed], 2.0))

    def supports(self, rate: float) -> bool:
        """Say whether the pairs are enough to tell this rate: 3 / rate of them (rule of three)."""
        return len(self.different) >= 3 / rate

    def equal_error(self) -> float:
        """Return the share of mistakes where both kinds are equally frequent."""
        cosines = np.unique(np.concatenate([self.same, self.different]))
        missed = np.searchsorted(np.sort(self.same), cosines) / len(self.same)
        false = 1 - np.searchsorted(np.sort(self.different), cosines) / len(self.different)
        nearest = int(np.argmin(np.abs(missed - false)))
        return float(missed[nearest] + false[nearest]) / 2

    @property
    def tells(self) -> bool:
        """Whether there are pairs enough to suggest anything."""
        return len(self.same) >= LEAST_SAME and len(self.different) >= LEAST_DIFFERENT

    def windows(self, current: SimilarityWindows) -> SimilarityWindows:
        """Return suggested windows, each the higher the more often it is asked.

        Where videos are never joined (a cross_video above 1, as of clothes) they stay apart.
        """
        floor = self._window(FLOOR_RATE, current.reference_floor)
        same_video = max(floor, self._window(SAME_VIDEO_RATE, current.same_video))
        cross_video = max(same_video, self._window(CROSS_VIDEO_RATE, current.cross_video))
        alike = float(np.quantile(self.same, 1 - FALSE_COPIES))
        if len(self.copies):
            alike = max(alike, float(np.quantile(self.copies, MISSED_COPIES)))
        duplicate = min(0.99, max(alike, cross_video + MARGIN))
        cross_video = current.cross_video if current.cross_video > 1 else cross_video
        values = (same_video, cross_video, floor, duplicate)
        return SimilarityWindows(*(round(value, 3) for value in values), prove=current.prove)

    def _window(self, rate: float, current: float) -> float:
        """Return the threshold for a rate; too few pairs may raise the one in use, never lower it.

        On four real videos a cross_video window of 0.32, above all strangers of ten people, paired
        a woman of one film with one of another.
        """
        if self.supports(rate):
            return self.threshold_for(rate)
        return max(current, float(self.different.max()) + MARGIN)

    def own_windows(self, info: EngineInfo, current: SimilarityWindows) -> WindowsConfig:
        """Return the suggested windows, tied to the recogniser that they were measured with."""
        values = self.windows(current).cosines
        return WindowsConfig(info.id, info.weights_digest, **values, space=self.space)


def interval(hits: int, number: int) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) 95 % interval of a share.

    Pairs that share a person are not independent: the truth is wider.
    """
    from scipy.stats import beta

    if not number:
        return 0.0, 1.0
    tail = (1 - CONFIDENCE) / 2
    if not hits:
        return 0.0, 1 - (1 - CONFIDENCE) ** (1 / number)
    low = float(beta.ppf(tail, hits, number - hits + 1))
    high = 1.0 if hits == number else float(beta.ppf(1 - tail, hits + 1, number - hits))
    return low, high


def describe(calibration: Calibration, current: SimilarityWindows) -> list[str]:
    """Return the report of one space, line by line."""
    one = calibration
    space = f" ({one.space})" if one.space else ""
    lines = [
        f"{len(one.same)} pairs of the same and {len(one.different)} of different people{space}, "
        f"equal error {one.equal_error():.2%}",
        f"  same      {_quantiles(one.same)}",
        f"  different {_quantiles(one.different)}",
        "  false matches   cosine   true matches (95 %)",
    ]
    for rate in RATES:
        if not one.supports(rate):
            lines.append(f"  {rate:13.2%}   not told by so few pairs: {round(3 / rate)} are needed")
            continue
        point = one.at(one.threshold_for(rate))
        bounds = f"{point.true_low:.1%} to {point.true_high:.1%}"
        lines.append(
            f"  {rate:13.2%}   {point.threshold:6.3f}   {point.true_matches:6.1%} ({bounds})"
        )
    if not one.tells:
        lines.append(
            f"  no windows are suggested: {LEAST_SAME} pairs of the same and {LEAST_DIFFERENT} of "
            "different people are needed; those in use stay"
        )
        return lines
    lines.append("  window            suggested   in use   false matches at suggested (95 %)")
    for name, value in one.windows(current).cosines.items():
        point = one.at(value)
        bounds = f"{point.false_low:.3%} to {point.false_high:.3%}"
        lines.append(
            f"  {name:16}  {value:9.3f}   {getattr(current, name):6.3f}   "
            f"{point.false_matches:.3%} ({bounds})"
        )
    return lines


def _quantiles(values: Sequence[float] | np.ndarray) -> str:
    found = np.quantile(values, [0, 0.05, 0.5, 0.95, 1])
    names = ("least", "5 %", "median", "95 %", "most")
    return ", ".join(f"{name} {value:.3f}" for name, value in zip(names, found, strict=True))
