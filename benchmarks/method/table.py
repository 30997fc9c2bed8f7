"""One table and one figure of all rows that are there, with intervals over seeds and characters."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks.method.rows import Regime

_RESAMPLES = 2000
_INK, _FAINT = "#20527a", "#9a9a9a"


@dataclass(frozen=True)
class Measure:
    """A share of two sums over characters: 1 - over / under, or over / under."""

    title: str
    over: str
    under: str
    complement: bool = False

    def of(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        share = sums[self.over] / sums[self.under]
        return 1 - share if self.complement else share


IDENTITY = Measure("identity R², σ = 1", "error", "power", True)
SAMPLED = Measure("identity R², sampled", "sampled_error", "power", True)
LIGHT = Measure("copied light", "light", "light_power")
FIRST = Measure("first frame", "first_error", "first_power", True)
LAST = Measure("last frame", "last_error", "last_power", True)
PULL = Measure("follows the reference's place", "pull", "pull_power")
TOLD = Measure("follows the prompt's place", "told", "told_power")


class Results:
    """What was measured of one row: tables (seeds, characters) by name."""

    def __init__(self, tables: Mapping[str, np.ndarray]) -> None:
        self.tables = tables
        self.seeds = len(next(iter(tables.values())))

    @classmethod
    def of(cls, files: Sequence[Path]) -> "Results":
        """Read the seeds of a row; what an older version did not measure of one is left out."""
        read = [json.loads(file.read_text()) for file in files]
        names = set.intersection(*map(set, read))
        return cls({name: np.array([seed[name] for seed in read]) for name in names})

    def first(self, seeds: int) -> "Results":
        """Return those of the first seeds alone, to be paired with a row that has no more."""
        return Results({name: table[:seeds] for name, table in self.tables.items()})

    def value(self, measure: Measure) -> float:
        sums = {name: table.sum() for name, table in self.tables.items()}
        return float(measure.of(sums))

    def drawn(self, measure: Measure, seeds: np.ndarray, characters: np.ndarray) -> np.ndarray:
        """Return the measure in every resample; weights are (resamples, seeds or characters)."""
        names = (measure.over, measure.under)
        sums = {n: ((seeds @ self.tables[n]) * characters).sum(1) for n in names}
        return measure.of(sums)


def read_results(output: Path, name: str, regime: Regime) -> dict[str, Results]:
    """Return the rows of a regime that are there, in its order."""
    found = {}
    for key in regime.rows:
        files = sorted((output / "rows").glob(f"{name}-{key}-[0-9]*.json"))
        if files:
            found[key] = Results.of(files)
    return found


def interval(measure: Measure, one: Results, other: Results | None = None) -> tuple[float, float]:
    """Return the 95 % interval of a row, or of its difference to another of the same seeds.

    Seeds and characters are resampled apart, since every seed is measured on every character.
    Source: Owen, "The pigeonhole bootstrap", 2007.
    """
    random = np.random.default_rng(0)
    count = min(one.seeds, other.seeds) if other else one.seeds
    number = one.tables[measure.over].shape[1]
    seeds, characters = (
        random.multinomial(size, np.full(size, 1 / size), _RESAMPLES) for size in (count, number)
    )
    values = one.first(count).drawn(measure, seeds, characters)
    if other:
        values = values - other.first(count).drawn(measure, seeds, characters)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def shown_to_differ(between: tuple[float, float], seeds: int) -> bool:
    """Return whether an interval of a difference leaves out 0; that of one seed is of no worth."""
    low, high = between
    return seeds > 1 and low * high > 0


def report(output: Path, chosen: Mapping[str, Regime]) -> str:
    """Return the table in Markdown."""
    parts = []
    for name, regime in chosen.items():
        rows = read_results(output, name, regime)
        if not rows:
            continue
        shown = [IDENTITY, SAMPLED, LIGHT, FIRST, LAST] if regime.given_layout else [PULL, TOLD]
        head = ["", "seeds", *(measure.title for measure in shown), "against", "difference"]
        lines = [f"**{regime.title}**: {regime.steps} updates at {regime.lr:g}", ""]
        lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        lines += [_line(key, rows, regime, shown) for key in rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(key: str, rows: Mapping[str, Results], regime: Regime, shown: Sequence[Measure]) -> str:
    found, against = rows[key], regime.against.get(key, "")
    cells = [regime.rows[key].label, str(found.seeds)]
    for place, measure in enumerate(shown):
        low, high = interval(measure, found)
        spread = f" [{low:.3f}, {high:.3f}]" if place == 0 else ""
        cells.append(f"{found.value(measure):.3f}{spread}")
    if against in rows:
        low, high = interval(shown[0], found, rows[against])
        count = min(found.seeds, rows[against].seeds)
        both = (found.first(count), rows[against].first(count))
        difference = both[0].value(shown[0]) - both[1].value(shown[0])
        text = f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]"
        sure = shown_to_differ((low, high), count)
        cells += [regime.rows[against].label, f"**{text}**" if sure else text]
    else:
        cells += ["", ""]
    return f"| {' | '.join(cells)} |"


def draw_figure(output: Path, chosen: Mapping[str, Regime]) -> None:
    """Draw every row's difference to the one that it is compared with."""
    found = {
        name: rows
        for name, regime in chosen.items()
        if (rows := read_results(output, name, regime))
    }
    lengths = [max(len(rows), 2) for rows in found.values()]
    figure, axes = plt.subplots(
        len(found), 1, figsize=(9, 0.9 + 0.3 * sum(lengths)), height_ratios=lengths, squeeze=False
    )
    for axis, (name, rows) in zip(axes[:, 0], found.items(), strict=True):
        _draw_regime(axis, chosen[name], rows)
    figure.tight_layout()
    figure.savefig(output / "figure.png", dpi=110, bbox_inches="tight")
    plt.close(figure)


def _draw_regime(axis: Axes, regime: Regime, rows: Mapping[str, Results]) -> None:
    measure = IDENTITY if regime.given_layout else PULL
    keys = [key for key in rows if regime.against.get(key) in rows]
    for place, key in enumerate(keys):
        other = rows[regime.against[key]]
        count = min(rows[key].seeds, other.seeds)
        middle = rows[key].first(count).value(measure) - other.first(count).value(measure)
        low, high = interval(measure, rows[key], other)
        colour = _INK if shown_to_differ((low, high), count) else _FAINT
        axis.plot([low, high], [place, place], color=colour, linewidth=2)
        axis.plot(middle, place, "o", color=colour)
    labels = [f"{regime.rows[k].label}  (vs {regime.rows[regime.against[k]].label})" for k in keys]
    axis.set_yticks(range(len(keys)), labels, fontsize=7)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_ylim(max(len(keys), 1) - 0.5, -0.5)
    axis.set_title(f"{regime.title}: difference in {measure.title}", fontsize=9)
    axis.tick_params(axis="x", labelsize=7)


def write_report(output: Path, chosen: Mapping[str, Regime]) -> str:
    """Write table.md and figure.png, and return the table."""
    text = report(output, chosen)
    if text.strip():
        (output / "table.md").write_text(text)
        draw_figure(output, chosen)
    return text
