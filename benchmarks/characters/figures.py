"""Pictures of the result: videos beside their references, curves, and what every part does."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.characters.cast import Shot
from benchmarks.characters.items import Case, through_codec
from benchmarks.characters.rows import ROWS, row_named
from benchmarks.characters.table import read_lines

STRIP_ROWS = ("full", "no_reference_loss", "no_reference", "in_clip", "in_clip_augmented")
_TILE, _GAP, _HEAD, _NAME = 96, 6, 26, 150  # pixels
_SHOWN = (0, 4, 8)  # frames of a video
_INK = (40, 40, 40)


def write_strips(
    cases: Sequence[Case], bands: Sequence[tuple[str, np.ndarray]], path: Path
) -> None:
    """Write one column per case: reference, the real clip, and the videos of every band."""
    column = len(_SHOWN) * _TILE + 2 * _GAP
    reals = np.stack([through_codec(case.truth) for case in cases])
    bands = [("real clip", reals), *bands]
    page = np.full(
        (_HEAD + (len(bands) + 1) * (_TILE + _GAP), _NAME + len(cases) * column, 3), 255, np.uint8
    )
    for number, case in enumerate(cases):
        left = _NAME + number * column
        _write(page, _short(case.shot), left, 17)
        page[_HEAD : _HEAD + _TILE, left : left + _TILE] = _framed(case.reference)
    _write(page, "reference", 4, _HEAD + 40)
    for number, (title, videos) in enumerate(bands, start=1):
        top = _HEAD + number * (_TILE + _GAP)
        for line, words in enumerate(_wrapped(title)):
            _write(page, words, 4, top + 40 + 16 * line)
        for place, video in enumerate(videos):
            for step, shown in enumerate(_SHOWN):
                x = _NAME + place * column + step * _TILE
                page[top : top + _TILE, x : x + _TILE] = _enlarged(video[shown])
    cv2.imwrite(str(path), page[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def _short(shot: Shot) -> str:
    moves = " to the right" if shot.end > shot.start else " to the left" * (shot.end < shot.start)
    return f"{shot.action}{moves}, {shot.light} light"


def _wrapped(title: str, length: int = 17) -> list[str]:
    lines = [""]
    for word in title.replace("λ", "lambda").split():
        if len(lines[-1]) + len(word) > length:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _write(page: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(page, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)


def _enlarged(tile: np.ndarray) -> np.ndarray:
    return cv2.resize(tile, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)


def _framed(picture: np.ndarray) -> np.ndarray:
    """Set a reference into a grey square."""
    height, width = picture.shape[:2]
    scale = _TILE / max(height, width)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)))
    square = np.full((_TILE, _TILE, 3), 128, np.uint8)
    top, left = (_TILE - small.shape[0]) // 2, (_TILE - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def write_effects(results: Path, path: Path) -> None:
    """Write how often colours are right and how much is copied, row by row, with intervals."""
    lines = read_lines(results)
    figure, axes = plt.subplots(1, 3, figsize=(11, 0.34 * len(lines) + 1.2), sharey=True)
    wanted = {
        "correct": "right colour (share of regions)",
        "copied_light": "copied light (0: as the prompt says)",
        "copied_ground": "copied ground (0.5: chance)",
    }
    for axis, (measure, title) in zip(axes, wanted.items(), strict=True):
        for place, line in enumerate(lines):
            found = line.estimate(measure)
            if found is None:
                continue
            low, high = found.low or found.mean, found.high or found.mean
            colour = "tab:grey" if place < 3 else "tab:blue"
            axis.plot([low, high], [-place, -place], color=colour)
            axis.plot([found.mean], [-place], "o", color=colour)
        axis.set_title(title, fontsize=9)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks([-place for place in range(len(lines))], [line.title for line in lines])
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def write_curves(runs: Path, path: Path) -> None:
    """Write the held-out losses of all rows while they trained."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for row in ROWS:
        told = _told(runs / f"{row.name}-0" / "metrics.jsonl")  # noise differs with the seed
        for axis, key in zip(axes, ("validation/loss_mean", "validation/reference"), strict=True):
            points = [(one["step"], one[key]) for one in told if key in one]
            if points:
                style = "--" if row.dataset != "cross_shot" else "-"
                axis.plot(*zip(*points, strict=True), style, label=row.title, linewidth=1)
    axes[0].set_title("held-out diffusion loss, mean of nine sigmas", fontsize=9)
    axes[1].set_title("held-out loss of the rebuilt reference", fontsize=9)
    axes[1].set_yscale("log")
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _told(metrics: Path) -> list[dict[str, float]]:
    if not metrics.is_file():
        return []
    return [json.loads(line) for line in metrics.read_text().splitlines()]


def choose(cases: Sequence[Case], number: int) -> list[int]:
    """Return cases of different tops and grounds, whose figures are large, in their order."""
    chosen: list[int] = []
    seen: set[str] = set()
    for place, case in enumerate(cases):
        if case.film.identity.top not in seen and case.shot.height > 0.8:
            seen.add(case.film.identity.top)
            chosen.append(place)
    return chosen[:number]


def write_figures(root: Path, cases: Sequence[Case], folder: Path) -> None:
    """Write all pictures of what was measured so far."""
    results = root / "results"
    chosen = choose(cases, 4)
    bands = []
    for name in STRIP_ROWS:
        kept = results / f"{name}-0.npz"
        if kept.is_file():
            with np.load(kept) as stored:
                title = row_named(name).title
                bands.append((f"{title}, one step", stored["shown"][chosen]))
                if name == "full":
                    bands.append((f"{title}, sampled", stored["frames"][chosen]))
    folder.mkdir(parents=True, exist_ok=True)
    write_strips([cases[place] for place in chosen], bands, folder / "characters_strips.jpg")
    write_effects(results, folder / "characters_effects.png")
    write_curves(root / "runs", folder / "characters_curves.png")
