"""Generate the evaluation set with a trained row, and measure it beside the controls."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.characters.denoise import denoise
from benchmarks.characters.draw import GROUND
from benchmarks.characters.items import EDGE, Case, through_codec
from benchmarks.characters.measures import (
    Measures,
    Seen,
    attributes,
    copied_light,
    drift,
    ground_of,
    motion,
    rank_of_own,
)
from pipeline.engines.identity.appearance import Appearance
from pipeline.engines.interfaces import PersonImage
from trainer.sampling.pipeline import ContextAnyonePipeline

_BATCH = 16


def generate(
    model: Path, cases: Sequence[Case], references: Sequence[np.ndarray] | None, seed: int
) -> np.ndarray:
    """Return the videos of all cases, (N, F, H, W, 3) uint8; the clips' captions are prompts."""
    pipeline = ContextAnyonePipeline.from_pretrained(model)
    made = []
    for first in range(0, len(cases), _BATCH):
        batch = cases[first : first + _BATCH]
        given = None
        if references is not None:
            given = [[Image.fromarray(one)] for one in references[first : first + _BATCH]]
        output = pipeline(
            [case.item.caption for case in batch],
            given,
            seed=seed,
            output_type="uint8",
        )
        made += list(np.asarray(output.frames))
    return np.stack(made)


def control_videos(cases: Sequence[Case]) -> dict[str, list[Seen]]:
    """Return what each control shows: the real clip, the reference's frame, somebody else."""
    real = [Seen(through_codec(case.truth), case.regions) for case in cases]
    return {
        "real": real,
        "still": [Seen(case.still, case.still_regions) for case in cases],
        "other": [real[stranger] for stranger in other_people(cases)],
    }


def measure_all(cases: Sequence[Case], videos: Sequence[Seen]) -> list[Measures]:
    """Measure a video of every case."""
    grounds = [ground_of(Seen(case.still, case.still_regions)) for case in cases]
    rows = []
    for place, (case, seen) in enumerate(zip(cases, videos, strict=True)):
        real = Seen(through_codec(case.truth), case.regions)
        reference = Seen(case.still, case.still_regions)
        others = [ground for other, ground in enumerate(grounds) if other != place]
        who = case.film.identity
        values: Mapping[str, float | None] = {
            **attributes(seen, real, who, case.shot),
            "drift": drift(seen, real, who),
            "copied_light": copied_light(seen, real, reference, who),
            "copied_ground": rank_of_own(ground_of(seen), grounds[place], others),
            "likeness": likeness(seen, real),
            "motion": motion(seen.frames),
        }
        rows.append({name: value for name, value in values.items() if value is not None})
    return rows


def likeness(seen: Seen, real: Seen) -> float:
    """Return the cosine of the embedded recogniser between a figure and that of the real clip."""
    mine, theirs = (Appearance().embed(_people(one)) for one in (seen, real))
    return float(mine.mean(axis=0) @ theirs.mean(axis=0) / _lengths(mine, theirs))


def _lengths(*vectors: np.ndarray) -> float:
    return max(float(np.prod([np.linalg.norm(one.mean(axis=0)) for one in vectors])), 1e-6)


def _people(seen: Seen) -> list[PersonImage]:
    people = []
    for number in range(0, len(seen.frames), 4):
        inside = (seen.regions[number] != GROUND) & (seen.regions[number] != EDGE)
        rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
        corners = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
        people.append(PersonImage(seen.frames[number], corners))
    return people


def measure_controls(cases: Sequence[Case], results: Callable[[str], Path]) -> None:
    """Write the results of the controls that are not there."""
    for name, videos in control_videos(cases).items():
        if not results(name).is_file():
            measured = measure_all(cases, videos)
            rows = [one | _sampled(one) for one in measured]
            write_result(results(name), rows, cases)


def measure_model(
    model: Path, cases: Sequence[Case], result: Path, frames: Path, blind: bool = False
) -> None:
    """Look through noise and generate with a model, measure both; write frames, then the result.

    Without a prefix stands what one step shows through the noise, with `sampled_` what comes out of
    sampling. `gain` is how much larger the error is with somebody else's reference. A `blind` model
    is given none.
    """
    references = None if blind else [case.reference for case in cases]
    shown = denoise(model, cases, references)
    made = generate(model, cases, references, seed=0)
    frames.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(frames, frames=made, shown=shown)
    own, sampled = (_measured(cases, videos) for videos in (shown, made))
    rows = [mine | _sampled(drawn) for mine, drawn in zip(own, sampled, strict=True)]
    if references is not None:
        strangers = [references[stranger] for stranger in other_people(cases)]
        other = _measured(cases, denoise(model, cases, strangers))
        gains = [theirs["error"] - mine["error"] for mine, theirs in zip(own, other, strict=True)]
        rows = [row | {"gain": gain} for row, gain in zip(rows, gains, strict=True)]
    write_result(result, rows, cases)


def _measured(cases: Sequence[Case], videos: np.ndarray) -> list[Measures]:
    seen = [Seen(video, case.regions) for video, case in zip(videos, cases, strict=True)]
    return measure_all(cases, seen)


def _sampled(measured: Measures) -> Measures:
    return {f"sampled_{name}": value for name, value in measured.items()}


def other_people(cases: Sequence[Case]) -> list[int]:
    """Return, for every case, the next one of another identity."""
    found = []
    for place, case in enumerate(cases):
        order = [(place + step) % len(cases) for step in range(1, len(cases))]
        found.append(next(at for at in order if cases[at].film.name != case.film.name))
    return found


def write_result(path: Path, measured: Sequence[Measures], cases: Sequence[Case]) -> None:
    """Write one line per item, whole or not at all."""
    items = [
        {"item": case.item.item_id, "identity": case.film.name, "measures": values}
        for case, values in zip(cases, measured, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"items": items}, indent=1))
    partial.replace(path)
