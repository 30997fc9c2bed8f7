"""What each engine costs, alone and in a batch, and what observing costs beside the bare detector.

    python benchmarks/engines.py VIDEO… [--engines production] [--models FOLDER] [--repeat 3]

CPU seconds of this process, so that a busy machine changes little; with a GPU, wall seconds. The
bare detector is the engine's own loop over the very pictures that observing showed it, already
decoded; "every frame" is the same over all frames of the clips, as a script without tracking does.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402

from pipeline.dataset.units import VideoPart  # noqa: E402
from pipeline.engines.engines_config import engines_preset  # noqa: E402
from pipeline.engines.registry import LoadedEngines, load_engines  # noqa: E402
from pipeline.engines.weights import use_folder  # noqa: E402
from pipeline.execution.stage import ClipRow, Rejected  # noqa: E402
from pipeline.media.probe import probe  # noqa: E402
from pipeline.observing.clips import cut_video  # noqa: E402
from pipeline.observing.observe import stages_with  # noqa: E402
from pipeline.observing.observe_config import ObserveConfig  # noqa: E402
from schemas.tables import Video  # noqa: E402

_METHODS = {"people": "detect", "faces": "detect", "recogniser": "embed", "masks": "segment"}
_SAMPLE = 24  # inputs of the comparison of batch and single


@dataclass
class Meter:
    """Stands before an engine: counts what goes through, and what it costs."""

    engine: Any
    method: str
    clock: Callable[[], float]
    seconds: float = 0.0
    inputs: list[Any] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.engine, name)
        return self._timed if name == self.method else value

    def _timed(self, inputs: Sequence[Any]) -> Any:
        start = self.clock()
        result = getattr(self.engine, self.method)(inputs)
        self.seconds += self.clock() - start
        self.inputs += inputs
        return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("videos", nargs="+", type=Path)
    arguments.add_argument("--engines", default="production")
    arguments.add_argument("--models", type=Path)
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--instead", help="time this YOLO, untrained, in the detector's place")
    given = arguments.parse_args()
    if given.models:
        use_folder(given.models)
    cv2.setNumThreads(1)
    clock = _clock()
    config = ObserveConfig(engines=engines_preset(given.engines).observing)
    loaded = load_engines(config.engines)
    meters = {task: Meter(getattr(loaded, task), how, clock) for task, how in _METHODS.items()}
    _warm(meters)
    spent, rows = observe(given.videos, meters, config, clock)
    _print_shares(meters, spent, rows)
    _print_batches(meters, given.repeat, clock)
    _print_bare(meters["people"], spent, rows, given, clock)


def _clock() -> Callable[[], float]:
    try:
        import torch

        return time.perf_counter if torch.cuda.is_available() else time.process_time
    except ImportError:
        return time.process_time


def _warm(meters: dict[str, Meter]) -> None:
    """Run every engine once: the first call builds graphs and caches."""
    import numpy as np

    from pipeline.engines.interfaces import PersonImage

    picture = np.full((480, 832, 3), 90, np.uint8)
    person = PersonImage(picture, np.array([200, 20, 500, 470], np.float32))
    for task, meter in meters.items():
        one = picture if meter.method == "detect" else person
        getattr(meter.engine, _METHODS[task])([one])


def observe(
    videos: Sequence[Path],
    meters: dict[str, Meter],
    config: ObserveConfig,
    clock: Callable[[], float],
) -> tuple[dict[str, float], list[ClipRow]]:
    """Observe videos as a worker does; return seconds per stage, cutting first, and the clips."""
    stages = stages_with(LoadedEngines(**meters), config)  # pyright: ignore[reportArgumentType]
    spent: dict[str, float] = defaultdict(float)
    rows: list[ClipRow] = []
    for path in videos:
        start = clock()
        video = probe(str(path), path.name, config.probe)
        if not isinstance(video, Video):
            sys.exit(f"{path}: {video}")
        clips = list(cut_video(str(path), video, VideoPart(), config).clips)
        spent["cut"] += clock() - start
        for stage in stages:
            start = clock()
            done = [stage.process(clip) for clip in clips]
            clips = [clip for clip in done if not isinstance(clip, Rejected)]
            spent[stage.name] += clock() - start
        rows += clips
    return dict(spent), rows


def _print_shares(meters: dict[str, Meter], spent: dict[str, float], rows: list[ClipRow]) -> None:
    whole = sum(spent.values())
    length = sum(row.clip.num_frames / row.clip.fps for row in rows)
    print(f"{len(rows)} clips of {length:.1f} s: {whole:.1f} s, {whole / length:.2f} a second")
    print(f"\n{'stage':12}{'s':>8}{'share':>8}")
    for stage, seconds in spent.items():
        print(f"{stage:12}{seconds:8.2f}{seconds / whole:8.0%}")
    print(f"\n{'engine':56}{'inputs':>8}{'s':>8}{'share':>8}{'inputs/s':>10}")
    for meter in meters.values():
        rate = len(meter.inputs) / meter.seconds if meter.seconds else 0
        print(
            f"{meter.engine.info.id:56}{len(meter.inputs):8}{meter.seconds:8.2f}"
            f"{meter.seconds / whole:8.0%}{rate:10.1f}"
        )


def _print_batches(meters: dict[str, Meter], repeat: int, clock: Callable[[], float]) -> None:
    print(f"\n{'engine':56}{'single/s':>10}{'batch/s':>10}{'gain':>8}")
    for meter in meters.values():
        sample = meter.inputs[:: max(1, len(meter.inputs) // _SAMPLE)][:_SAMPLE]
        if sample:
            call = getattr(meter.engine, meter.method)
            single = _best(partial(_one_by_one, call, sample), repeat, clock)
            batch = _best(partial(call, sample), repeat, clock)
            rates = f"{len(sample) / single:10.1f}{len(sample) / batch:10.1f}{single / batch:8.2f}"
            print(f"{meter.engine.info.id:56}{rates}")


def _one_by_one(call: Callable[[Sequence[Any]], Any], inputs: Sequence[Any]) -> None:
    for one in inputs:
        call([one])


def _print_bare(
    people: Meter,
    spent: dict[str, float],
    rows: Sequence[ClipRow],
    given: argparse.Namespace,
    clock: Callable[[], float],
) -> None:
    shown, whole = people.inputs, sum(spent.values())
    frames = sum(row.clip.num_frames for row in rows)
    bare = {people.engine.info.id: partial(_one_by_one, people.engine.detect, shown)}
    if given.instead:
        bare[f"{given.instead} untrained"] = partial(_one_by_one, _untrained(given.instead), shown)
    for name, loop in bare.items():
        seconds = _best(loop, given.repeat, clock)
        own = name == people.engine.info.id
        with_it = whole if own else whole - people.seconds + seconds
        each = seconds / max(len(shown), 1)
        print(f"\nbare {name}: {len(shown)} pictures in {seconds:.2f} s, {1000 * each:.0f} ms each")
        for what, cost in (("looking", with_it - spent["cut"]), ("cutting and looking", with_it)):
            print(
                f"  {what:20} {cost:7.2f} s = {cost / seconds:.2f} x the same pictures, "
                f"{cost / (each * frames):.2f} x all {frames} frames of the clips"
            )


def _untrained(name: str) -> Callable[[Sequence[Any]], Any]:
    """Return a detector of the library with random weights: what it finds is nothing, what it
    costs is right."""
    from pipeline.engines.people.ultralytics_yolo import quietly

    model = quietly()(f"{name}.yaml", task="detect")
    return lambda pictures: model.predict(pictures, imgsz=640, verbose=False, save=False)


def _best(call: Callable[[], Any], repeat: int, clock: Callable[[], float]) -> float:
    found = []
    for _ in range(repeat):
        start = clock()
        call()
        found.append(clock() - start)
    return max(min(found), 1e-9)


if __name__ == "__main__":
    main()
