"""What the engines without weights cost, what they find, and how well they tell people apart.

    python benchmarks/embedded_engines.py MEDIA_FOLDER [--only NAME...]

MEDIA_FOLDER holds the files that tests/golden/people.json names: how many people are in them,
by eye. Printed are, per video: CPU seconds per second of clip for each stage, clips, people
expected and tracks that pass the gate; then cosines of the recogniser for one and for two people.
"""

import argparse
import itertools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from pipeline.dataset.units import VideoPart  # noqa: E402
from pipeline.engines.faces.opencv_faces import OpencvFaces  # noqa: E402
from pipeline.engines.identity.appearance import Appearance  # noqa: E402
from pipeline.engines.masks.grabcut import GrabCut  # noqa: E402
from pipeline.engines.people.opencv_people import OpencvPeople  # noqa: E402
from pipeline.execution.stage import ClipRow  # noqa: E402
from pipeline.media.limits import ProbeConfig  # noqa: E402
from pipeline.media.probe import probe  # noqa: E402
from pipeline.observing.candidates import ProposeReferences  # noqa: E402
from pipeline.observing.clips import ClipsConfig, cut_video  # noqa: E402
from pipeline.observing.faces import FindFaces  # noqa: E402
from pipeline.observing.shots import ShotsConfig  # noqa: E402
from pipeline.observing.tracks import PeopleConfig, TrackPeople  # noqa: E402
from schemas.tables import Video  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "people.json"
STAGES = ("tracks", "faces", "candidates")


@dataclass(frozen=True)
class Config:
    """The settings that cutting reads, all at their defaults."""

    probe: ProbeConfig = field(default_factory=ProbeConfig)
    shots: ShotsConfig = field(default_factory=ShotsConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("media", type=Path)
    arguments.add_argument("--only", nargs="+", default=[], help="parts of file names")
    given = arguments.parse_args()
    cv2.setNumThreads(1)
    vectors: dict[str, list[tuple[str, float, np.ndarray]]] = defaultdict(list)
    cost, seconds = defaultdict(float), 0.0
    print(f"{'file':44} {'clips':>5} {'tracks':>7} {'faces':>6} {'cands':>6}  found")
    for name, truth in json.loads(GOLDEN.read_text()).items():
        if given.only and not any(part in name for part in given.only):
            continue
        rows, spent = observe(given.media / name)
        length = sum(row.clip.num_frames / row.clip.fps for row in rows)
        _print_video(name, rows, spent, length, truth)
        for stage in STAGES:
            cost[stage] += spent[stage]
        seconds += length
        if _has_one_person(truth):
            _collect(Path(name).stem, rows, vectors)
    rates = ", ".join(f"{stage} {cost[stage] / max(seconds, 1e-9):.2f}" for stage in STAGES)
    print(f"\nCPU seconds per second of clip, {seconds:.0f} s: {rates}")
    _print_similarities(vectors)


def observe(path: Path) -> tuple[list[ClipRow], dict[str, float]]:
    """Return the clips of a video after the stages, and CPU seconds per stage."""
    config = Config()
    video = probe(str(path), path.name, config.probe)
    if not isinstance(video, Video):
        return [], dict.fromkeys(STAGES, 0.0)
    rows = list(cut_video(str(path), video, VideoPart(), config).clips)
    stages: tuple[Any, ...] = (
        TrackPeople(OpencvPeople()),
        FindFaces(OpencvFaces(), Appearance()),
        ProposeReferences(GrabCut(), Appearance()),
    )
    spent = {}
    for name, stage in zip(STAGES, stages, strict=True):
        start = time.process_time()
        rows = [stage.process(row) for row in rows]
        spent[name] = time.process_time() - start
    return sorted(rows, key=lambda row: row.clip.start_s), spent


def _print_video(
    name: str,
    rows: Sequence[ClipRow],
    spent: dict[str, float],
    length: float,
    truth: dict[str, Any],
) -> None:
    rates = " ".join(f"{spent[stage] / length if length else 0:6.2f}" for stage in STAGES)
    found = []
    for row in rows:
        middle = (row.clip.start_s + row.clip.end_s) / 2
        expected = [n for start, end, n in truth["people"] if start <= middle < end]
        passed = _passing(row)
        there = expected[0] if expected else "?"
        found.append(
            f"{len(passed)}/{there}" + (" missed" if _missed(truth, there, passed) else "")
        )
    print(f"{name[:44]:44} {len(rows):5} {rates}  {', '.join(found)}")


def _passing(row: ClipRow) -> list[str]:
    gate = PeopleConfig()
    return [track.track_id for track in row.tracks if gate.check(track, row.clip) is None]


def _missed(truth: dict[str, Any], there: Any, passed: Sequence[str]) -> bool:
    return (there == 0 and bool(passed)) or (truth["follow"] and there == 1 and len(passed) != 1)


def _has_one_person(truth: dict[str, Any]) -> bool:
    return truth["follow"] and all(number <= 1 for *_, number in truth["people"])


def _collect(
    name: str, rows: Sequence[ClipRow], vectors: dict[str, list[tuple[str, float, np.ndarray]]]
) -> None:
    """Keep the vectors of candidates of passing tracks, by person; the intercut has two."""
    for row in rows:
        passed = set(_passing(row))
        times = {c.reference_id: c.time_s for c in row.candidates}
        for embedding in row.embeddings:
            if embedding.track_id in passed and embedding.reference_id:
                person = _person(name, times[embedding.reference_id])
                entry = (name, times[embedding.reference_id], np.array(embedding.vector))
                vectors[person].append(entry)


def _person(name: str, time_s: float) -> str:
    """Name the person of a video: derived-intercut shows those of d3 and d9."""
    if name != "derived-intercut-two-people":
        return name
    second = 3.0 <= time_s < 5.4 or 7.4 <= time_s < 10.0
    return "lp-driving-d9" if second else "lp-driving-d3"


def _print_similarities(vectors: dict[str, list[tuple[str, float, np.ndarray]]]) -> None:
    same, across, different = [], [], []
    for entries in vectors.values():
        for (video, time_s, one), (other_video, other_s, other) in itertools.combinations(
            entries, 2
        ):
            if video != other_video:
                across.append(float(one @ other))
            elif abs(time_s - other_s) >= 1:
                same.append(float(one @ other))
    for first, second in itertools.combinations(sorted(vectors), 2):
        for _, _, one in vectors[first]:
            different += [float(one @ other) for _, _, other in vectors[second]]
    print(
        f"\n{'images of':44} {'pairs':>6} {'min':>6} {'5 %':>6} {'50 %':>6} {'95 %':>6} {'max':>6}"
    )
    _print_line("one person, one video, 1 s apart or more", same)
    _print_line("one person, same footage in two videos", across)
    _print_line("two people", different)
    print(f"windows: {Appearance().windows}")


def _print_line(label: str, cosines: Sequence[float]) -> None:
    if cosines:
        levels = np.percentile(cosines, [0, 5, 50, 95, 100])
        print(f"{label:44} {len(cosines):6} " + " ".join(f"{level:6.3f}" for level in levels))


if __name__ == "__main__":
    main()
