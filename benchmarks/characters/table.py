"""The table: every row beside the full one and the controls, with intervals over identities."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.characters.rows import ROWS
from pipeline.evaluate.bootstrap import IntervalEstimate, estimate

CONTROLS = {
    "real": "real clip through the codec",
    "still": "the reference's own frame, as a still",
    "other": "somebody else's real clip",
}
# measure -> its heading and how many decimals it has
COLUMNS = {
    "correct": ("right colour", 2),
    "correct_hair": ("hair", 2),
    "correct_top": ("top", 2),
    "correct_bottom": ("bottom", 2),
    "correct_accessory": ("accessory", 2),
    "error": ("colour error", 3),
    "gain": ("gain of the own reference", 3),
    "copied_light": ("copied light", 2),
    "copied_ground": ("copied ground", 2),
}
SAMPLED = {
    "sampled_correct": ("right colour", 2),
    "sampled_error": ("colour error", 3),
    "sampled_likeness": ("likeness", 3),
    "sampled_drift": ("drift", 3),
    "sampled_copied_ground": ("copied ground", 2),
    "sampled_motion": ("motion", 1),
}
COMPARED = ("correct", "error", "gain", "copied_light", "copied_ground", "sampled_correct")


@dataclass(frozen=True)
class Value:
    """One measure of one item."""

    value: float
    identity: str
    seed: str  # of the training; '' of a control


@dataclass(frozen=True)
class Line:
    """One line of the table: all values of all seeds, by measure."""

    name: str
    title: str
    seeds: tuple[str, ...]
    values: dict[str, list[Value]]

    def estimate(self, measure: str) -> IntervalEstimate | None:
        found = self.values.get(measure, [])
        return estimate([one.value for one in found], [one.identity for one in found])

    def means(self, measure: str) -> dict[tuple[str, str], float]:
        """Return the mean of every seed and identity."""
        found: dict[tuple[str, str], list[float]] = {}
        for one in self.values.get(measure, []):
            found.setdefault((one.seed, one.identity), []).append(one.value)
        return {key: float(np.mean(values)) for key, values in found.items()}


def read_lines(results: Path) -> list[Line]:
    """Return the controls and all rows that were measured."""
    lines = [_line(name, title, [results / f"{name}.json"]) for name, title in CONTROLS.items()]
    for row in ROWS:
        lines.append(_line(row.name, row.title, sorted(results.glob(f"{row.name}-[0-9]*.json"))))
    return [line for line in lines if line is not None]


def _line(name: str, title: str, paths: list[Path]) -> Line | None:
    values: dict[str, list[Value]] = {}
    paths = [path for path in paths if path.is_file()]
    seeds = tuple(path.stem.removeprefix(name).removeprefix("-") for path in paths)
    for path, seed in zip(paths, seeds, strict=True):
        for item in json.loads(path.read_text())["items"]:
            for measure, value in item["measures"].items():
                values.setdefault(measure, []).append(Value(value, item["identity"], seed))
    return Line(name, title, seeds, values) if paths else None


def differences(line: Line, full: Line, measure: str) -> IntervalEstimate | None:
    """Return row minus full of the same seeds, paired by identity.

    Trainings of one seed see the same samples with the same noise, so that much of what differs
    between people, and between seeds, cancels.
    """
    mine, theirs = line.means(measure), full.means(measure)
    both = sorted(mine.keys() & theirs.keys())
    return estimate([mine[key] - theirs[key] for key in both], [who for _, who in both])


def seeds_apart(full: Line, measure: str) -> IntervalEstimate | None:
    """Return the last seed minus the first of the full row, paired by identity."""
    if len(full.seeds) < 2:
        return None
    means, first, last = full.means(measure), full.seeds[0], full.seeds[-1]
    both = sorted(who for seed, who in means if seed == first and (last, who) in means)
    return estimate([means[last, who] - means[first, who] for who in both], both)


def write_table(results: Path, folder: Path) -> str:
    """Write table.md and table.json, and return the former."""
    lines = read_lines(results)
    parts = [means_table(lines, COLUMNS), means_table(lines, SAMPLED), differences_table(lines)]
    text = "\n\n".join(parts) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(text)
    told = {
        line.name: {
            measure: vars(found)
            for measure in line.values
            if (found := line.estimate(measure)) is not None
        }
        for line in lines
    }
    (folder / "table.json").write_text(json.dumps(told, indent=1))
    return text


def means_table(lines: list[Line], columns: dict[str, tuple[str, int]]) -> str:
    """Return means with half the width of their 95 % intervals."""

    def cell(line: Line, measure: str) -> str:
        return shown(line.estimate(measure), columns[measure][1])

    headings = [heading for heading, _ in columns.values()]
    return _markdown(["", "seeds", *headings], lines, list(columns), cell, seeds=True)


def differences_table(lines: list[Line]) -> str:
    """Return every row's difference to the full one; bold where the interval leaves out 0."""
    full = next((line for line in lines if line.name == "full"), None)
    if full is None:
        return "The full row was not measured yet: there is nothing to compare with."

    def cell(line: Line, measure: str) -> str:
        same = line.name == full.name
        found = seeds_apart(line, measure) if same else differences(line, full, measure)
        if found is None or found.low is None or found.high is None:
            return "–"
        shown = f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        return f"**{shown}**" if found.low > 0 or found.high < 0 else shown

    rest = [line for line in lines if line.name not in CONTROLS]
    if len(full.seeds) < 2:
        rest.remove(full)
    rest = [replace(line, title="full, another seed") if line is full else line for line in rest]
    headings = [(COLUMNS | SAMPLED)[measure][0] for measure in COMPARED[:-1]]
    headings.append("sampled right colour")
    return _markdown(["minus full", *headings], rest, list(COMPARED), cell)


def shown(found: IntervalEstimate | None, decimals: int) -> str:
    """Return a mean with half the width of its interval, a dash for nothing."""
    if found is None:
        return "–"
    mean = f"{found.mean:.{decimals}f}"
    if found.low is None or found.high is None:
        return mean
    return f"{mean} ±{(found.high - found.low) / 2:.{decimals}f}"


def _markdown(
    headings: list[str],
    lines: list[Line],
    measures: list[str],
    cell: Callable[[Line, str], str],
    seeds: bool = False,
) -> str:
    rows = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    for line in lines:
        cells = [line.title, *([str(len(line.seeds))] if seeds else [])]
        rows.append(f"| {' | '.join([*cells, *(cell(line, one) for one in measures)])} |")
    return "\n".join(rows)
