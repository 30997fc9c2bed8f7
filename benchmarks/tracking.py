"""How our tracker follows people beside those of a kept library, on the same boxes.

    pip install -e ".[faces,tracking]"
    python benchmarks/tracking.py DATASET --models WEIGHTS

DATASET was made of the videos of tests/golden/people_truth.json (`benchmarks/people.py --keep`).
Its clips are looked at again with the detector of `auto`, and every choice of
`observe.tracks.tracker` gets the same boxes. CPU seconds are those of joining boxes and of flow
between looks, per second of clip.
"""

import argparse
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.people import GOLDEN, bars_of, read_dataset  # noqa: E402
from benchmarks.people_metrics import Place, Score, Truth, load_truth, score_clip  # noqa: E402
from pipeline.dataset.media_rows import read_clip_bytes  # noqa: E402
from pipeline.dataset.observed import read_observed  # noqa: E402
from pipeline.dataset.store import open_store  # noqa: E402
from pipeline.dataset.units import read_receipts  # noqa: E402
from pipeline.engines.people.library_trackers import TrackerName  # noqa: E402
from pipeline.engines.registry import load_engine  # noqa: E402
from pipeline.observing.tracks import TrackPeople, TracksConfig  # noqa: E402


@dataclass
class Line:
    """What one tracker makes of all clips."""

    tuned: Score = field(default_factory=Score)
    others: Score = field(default_factory=Score)
    used_s: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--models", type=Path, required=True, help="folder with the weights")
    arguments = parser.parse_args()
    os.environ["CONTEXTANYONE_MODELS"] = str(arguments.models)
    lines, duration_s = measure(arguments.dataset, load_truth(GOLDEN))
    columns = "recall | precision | switches"
    print(f"| tracker | tuned on: {columns} | others: {columns} | CPU s a second |")
    print("|---" * 8 + "|")
    for name, line in lines.items():
        cells = [
            f"{score.recall:.3f} | {score.precision:.3f} | {score.switches}"
            for score in (line.tuned, line.others)
        ]
        print(f"| `{name}` | {' | '.join(cells)} | {line.used_s / duration_s:.3f} |")


def measure(folder: Path, truths: dict[str, Truth]) -> tuple[dict[str, Line], float]:
    """Follow the people of every clip once with each tracker; return also the clips' seconds."""
    dataset, store = read_dataset(folder), open_store(str(folder))
    unit_of = read_observed(read_receipts(store).values(), store).unit_of_clip
    bars = {video_id: bars_of(video) for video_id, video in dataset.videos.items()}
    lines: defaultdict[str, Line] = defaultdict(Line)
    engine, usual, duration_s = load_engine("people", "yolox"), TracksConfig(), 0.0
    dense = replace(usual, detect_fps=usual.follow_fps)
    for clip in dataset.clips.values():
        video, truth = dataset.videos[clip.video_id], truths[dataset.file_of(clip.video_id)]
        place = Place(clip, video.width, video.height, bars[clip.video_id])
        config = dense if clip.reference_only else usual
        looks = TrackPeople(engine, config).look(
            read_clip_bytes(clip.clip_id, unit_of[clip.clip_id], store)
        )
        duration_s += clip.num_frames / clip.fps
        for name in get_args(TrackerName):
            people, line = TrackPeople(engine, replace(config, tracker=name)), lines[name]
            started = time.process_time()
            paths = people.follow(looks)
            line.used_s += time.process_time() - started
            tracks = [people.as_track(clip, path, looks) for path in paths]
            (line.tuned if truth.tuned_on else line.others).add(score_clip(place, tracks, truth))
    return lines, duration_s


if __name__ == "__main__":
    main()
