"""Draw what a calibration found: the cosines of both kinds of pairs, and the ROC."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.engines.interfaces import SimilarityWindows
from pipeline.pairing.calibration import Calibration

_SAME, _DIFFERENT, _INK = "#1d4ed8", "#b91c1c", "#374151"
_LINES = {"reference_floor": ":", "same_video": "--", "cross_video": "-", "duplicate": "-."}


def draw(
    results: Sequence[tuple[Calibration, SimilarityWindows]], recogniser: str, path: Path
) -> None:
    """Write a picture, PNG or SVG by its suffix: one row per space, with its windows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(results), 2, squeeze=False)
    for (calibration, windows), (left, right) in zip(results, axes, strict=True):
        _cosines(calibration, windows, left)
        _roc(calibration, windows, right)
    figure.suptitle(recogniser, fontsize=10)
    figure.savefig(path, dpi=120, metadata={"Software": None} if path.suffix == ".png" else None)


def _cosines(one: Calibration, windows: SimilarityWindows, axes) -> None:
    low = min(float(one.same.min()), float(one.different.min()), -0.1)
    bins = np.linspace(low, 1, 60).tolist()
    share = {"bins": bins, "density": True, "alpha": 0.55}
    axes.hist(one.different, color=_DIFFERENT, label=f"different ({len(one.different)})", **share)
    axes.hist(one.same, color=_SAME, label=f"same person ({len(one.same)})", **share)
    for name, value in windows.cosines.items():
        if value <= 1:
            label = f"{name} {value:.3f}"
            axes.axvline(value, color=_INK, linestyle=_LINES[name], linewidth=1.2, label=label)
    axes.set(xlabel="cosine", ylabel="density", title=f"pairs {one.space}".strip())
    axes.set_ylim(top=1.6 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize=8, loc="upper left")


def _roc(one: Calibration, windows: SimilarityWindows, axes) -> None:
    thresholds = np.unique(np.concatenate([one.same, one.different]))
    false = 1 - np.searchsorted(np.sort(one.different), thresholds) / len(one.different)
    true = 1 - np.searchsorted(np.sort(one.same), thresholds) / len(one.same)
    least = 1 / len(one.different)
    axes.plot(np.maximum(false, least / 2), true, color=_SAME, linewidth=1.8)
    told = 3 * least
    axes.axvspan(least / 3, told, color=_INK, alpha=0.12, label="too few pairs to tell (3 / pairs)")
    marks = {"reference_floor": "o", "same_video": "s", "cross_video": "^"}
    for name, value in windows.cosines.items():
        if name in marks:
            point = one.at(value)
            at = max(point.false_matches, least / 2), point.true_matches
            axes.plot(*at, marks[name], color=_INK, label=f"{name} {value:.3f}")
    axes.set(
        xscale="log", xlim=(least / 3, 1), ylim=(0, 1.02), xlabel="false matches",
        ylabel="true matches", title=f"ROC {one.space}".strip(),
    )  # fmt: skip
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="lower right")
