"""The table of two people: right colours beside those of one person, and figures swapped."""

import json
from pathlib import Path

from benchmarks.characters.table import shown
from pipeline.evaluate.bootstrap import IntervalEstimate, estimate

LINES = {
    ("two", "real"): "real clip through the codec",
    ("two", "exchanged"): "drawn with the two exchanged",
    ("one", "noise_words"): "one person, one step from noise alone",
    ("two", "noise_words"): "two, one step from noise alone, words",
    ("two", "noise_boxes"): "the same, with boxes",
    ("two", "noise_exchanged"): "the same, references exchanged",
    ("one", "step_words"): "one person, one step, σ = 0.9",
    ("two", "step_words"): "two, one step, σ = 0.9, words",
    ("two", "step_boxes"): "the same, with boxes",
    ("one", "sampled_words"): "one person, sampled",
    ("two", "sampled_words"): "two, sampled, words",
    ("two", "sampled_boxes"): "the same, with boxes",
    ("two", "sampled_exchanged"): "the same, references exchanged",
}
_HEADINGS = ("", "right colour", "of one person's", "colour error", "swapped figures", "figures")


def write_pair_table(results: Path, folder: Path) -> str:
    """Write two.md of the rows that are there, and return it."""
    told = {
        row: json.loads(path.read_text())
        for row in ("one", "two")
        if (path := results / f"{row}.json").is_file()
    }
    lines = [f"| {' | '.join(_HEADINGS)} |", f"|{'---|' * len(_HEADINGS)}"]
    for (row, way), title in LINES.items():
        if way in told.get(row, {}):
            alone = told.get("one", {}).get(f"{way.split('_')[0]}_words")
            cells = _cells(told[row][way], alone if row == "two" else None)
            lines.append(f"| {' | '.join([title, *cells])} |")
    text = "\n".join(lines) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "two.md").write_text(text)
    return text


def estimate_of(figures: list[dict], measure: str) -> IntervalEstimate | None:
    """Return the mean of a measure over figures, with its interval over films."""
    found = [one for one in figures if measure in one["measures"]]
    return estimate([one["measures"][measure] for one in found], [one["film"] for one in found])


def _cells(figures: list[dict], alone: list[dict] | None) -> list[str]:
    right, error, swaps = (estimate_of(figures, of) for of in ("correct", "error", "swapped"))
    of_one = estimate_of(alone, "correct") if alone else None
    ratio = f"{right.mean / of_one.mean:.0%}" if right and of_one and of_one.mean else "–"
    return [shown(right, 2), ratio, shown(error, 3), shown(swaps, 3), str(len(figures))]
