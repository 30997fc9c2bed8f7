"""What finding shots and cutting clips costs, and how well it finds cuts.

    python benchmarks/shots_and_clips.py VIDEO_OR_FOLDER...          cost, with two yardsticks
    python benchmarks/shots_and_clips.py --cuts MEDIA_FOLDER         cuts found by candidates

Cost is CPU seconds (user and system) of the whole process tree. The yardsticks are one plain
decode plus one plain encode of the same frames at the training format, and PySceneDetect's own
`scenedetect detect-content split-video`.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from pipeline.dataset.units import VideoPart  # noqa: E402
from pipeline.execution.stage import Rejected  # noqa: E402
from pipeline.media.colours import BT709  # noqa: E402
from pipeline.media.encode import ClipEncoder, EncodingConfig  # noqa: E402
from pipeline.media.fit import Fitter, fit_picture  # noqa: E402
from pipeline.media.limits import ProbeConfig  # noqa: E402
from pipeline.media.pixels import Scaler  # noqa: E402
from pipeline.media.probe import probe  # noqa: E402
from pipeline.media.reader import VideoReader  # noqa: E402
from pipeline.observing.clips import ClipsConfig, cut_video  # noqa: E402
from pipeline.observing.shots import ShotDetector, ShotsConfig  # noqa: E402
from schemas.tables import Video  # noqa: E402


@dataclass(frozen=True)
class Config:
    """The settings that cutting reads, all at their defaults."""

    probe: ProbeConfig = field(default_factory=ProbeConfig)
    shots: ShotsConfig = field(default_factory=ShotsConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Measure cutting: cost, and cuts")
    arguments.add_argument("paths", nargs="+", type=Path)
    arguments.add_argument("--cuts", action="store_true", help="measure precision and recall")
    arguments.add_argument("--task", choices=["start", "ours", "plain"], help="one measured run")
    given = arguments.parse_args()
    if given.task:
        for path in given.paths:
            _TASKS[given.task](str(path))
    elif given.cuts:
        compare_detectors(given.paths[0])
    else:
        compare_costs(_videos_in(given.paths))


def _videos_in(paths: list[Path]) -> list[Path]:
    kinds = {".mp4", ".mkv", ".mov", ".avi", ".webm"}
    found = [p for path in paths for p in ([path] if path.is_file() else sorted(path.iterdir()))]
    return [path for path in found if path.suffix in kinds]


# --- cost -------------------------------------------------------------------------------------


def compare_costs(paths: list[Path]) -> None:
    """Measure each way once per file and print seconds and ratios."""
    print(f"{'file':44} {'ours':>7} {'plain':>7} {'ratio':>6} {'scenedetect':>12} {'ratio':>6}")
    start = _task("start", Path(os.devnull))
    total = np.zeros(3)
    for path in paths:
        ours, plain = _task("ours", path) - start, _task("plain", path) - start
        seconds = np.array([ours, plain, _scenedetect(path)])
        total += seconds
        _print_costs(path.name, seconds)
    _print_costs("all", total)
    print(f"imports, paid once per worker, subtracted from ours and plain: {start:.2f} s")


def _print_costs(name: str, seconds: np.ndarray) -> None:
    ours, plain, other = seconds
    print(
        f"{name[:44]:44} {ours:7.2f} {plain:7.2f} {ours / plain:6.2f}"
        f" {other:12.2f} {other / ours:6.2f}",
        flush=True,
    )


def _task(name: str, path: Path) -> float:
    return _cpu_seconds([sys.executable, __file__, "--task", name, str(path)])


def _scenedetect(path: Path) -> float:
    import imageio_ffmpeg

    with tempfile.TemporaryDirectory() as folder:
        os.symlink(imageio_ffmpeg.get_ffmpeg_exe(), f"{folder}/ffmpeg")
        command = [sys.executable, "-m", "scenedetect", "-i", str(path), "-o", f"{folder}/out"]
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        return _cpu_seconds([*command, "detect-content", "split-video"], environment)


def _cpu_seconds(command: list[str], environment: dict | None = None) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_ours(path: str) -> None:
    config = Config()
    video = probe(path, "benchmark", config.probe)
    if isinstance(video, Video):
        cut_video(path, video, VideoPart(), config)


def run_start(_: str) -> None:
    ShotDetector(ShotsConfig(), 25.0)  # imports PySceneDetect


def run_plain(path: str) -> None:
    """Decode once, plainly; scale and encode the frames that a clip may show; nothing else."""
    config = Config()
    video = probe(path, "benchmark", config.probe)
    if isinstance(video, Rejected):
        return
    fit = fit_picture(video, config.clips.size_classes, config.clips.max_upscale)
    if isinstance(fit, Rejected):
        return
    fitter, fps, encoder = Fitter(fit), config.clips.fps, None
    with VideoReader(path, config.probe) as reader:
        for frame in reader.frames():
            first, end = (
                -(-pts * reader.timebase * fps // 1)
                for pts in (frame.pts, frame.pts + frame.duration)
            )
            for _ in range(int(first), int(end)):
                encoder = encoder or ClipEncoder(
                    fit.width, fit.height, fps, EncodingConfig(), BT709
                )
                encoder.write(fitter(frame.picture))
    if encoder:
        encoder.close()


_TASKS = {"start": run_start, "ours": run_ours, "plain": run_plain}


# --- cuts -------------------------------------------------------------------------------------


def compare_detectors(media: Path) -> None:
    """Print found, missed and false cuts of candidate settings, on real and on spliced video."""
    truth = json.loads((ROOT / "tests/golden/cuts.json").read_text())
    for width in (160, 256):
        films = {name: _small_pictures(media / name, width) for name in truth}
        for title, shots in _candidates(width):
            real = _score_real(films, truth, shots)
            spliced = _score_spliced(films, truth, shots)
            print(f"width {width} {title:28} known cuts {real}   spliced {spliced}", flush=True)


def _candidates(width: int) -> Iterator[tuple[str, ShotsConfig]]:
    base = ShotsConfig(picture_width=width)
    for threshold, window in ((3.0, 2), (3.5, 3), (3.0, 3), (4.0, 3)):
        for fade in ((), ("fade",)):
            title = f"adaptive {threshold}/{window} {' '.join(fade)}"
            yield (
                title,
                replace(
                    base,
                    detectors=("adaptive", *fade),
                    adaptive_threshold=threshold,
                    adaptive_window=window,
                ),
            )
    for threshold in (27.0, 31.0):
        title = f"content {threshold} fade"
        yield title, replace(base, detectors=("content", "fade"), content_threshold=threshold)
    both = ("adaptive", "content", "fade")
    yield "adaptive 3.5/3 content 31 fade", replace(base, detectors=both, content_threshold=31.0)


def _small_pictures(path: Path, width: int) -> list[np.ndarray]:
    with VideoReader(str(path), ProbeConfig()) as reader:
        codec = reader.stream.codec_context
        scale = width / max(codec.width, codec.height)
        size = (round(codec.width * scale), round(codec.height * scale))
        scaler = Scaler(*size, "bgr24", exact=False)
        return [scaler(frame.picture).to_ndarray() for frame in reader.frames()][:700]


def _starts(pictures: list[np.ndarray], shots: ShotsConfig) -> tuple[set[int], list[bool]]:
    """Return the frames at which a shot starts or ends, and which frames are in a shot."""
    detector = ShotDetector(shots, 25.0)
    verdicts = [v for i, p in enumerate(pictures) for v in detector.add(i, i, p)]
    verdicts += detector.finish()
    inside = [verdict.inside for verdict in verdicts]
    edges = {v.index for v in verdicts if v.opened_by}
    edges |= {i for i in range(1, len(inside)) if inside[i - 1] and not inside[i]}
    return edges - {0}, inside


@dataclass
class _Score:
    found: int = 0
    missed: int = 0
    false: int = 0
    blended: int = 0  # frames of a dissolve or fade that were taken for a shot

    def __str__(self) -> str:
        precision = self.found / max(1, self.found + self.false)
        recall = self.found / max(1, self.found + self.missed)
        return (
            f"recall {recall:.3f} precision {precision:.3f} ({self.found} found, {self.missed}"
            f" missed, {self.false} false), {self.blended} blended frames kept"
        )

    def add(self, edges: set[int], inside: list[bool], cuts: list[int], soft: list) -> None:
        hits = {cut for cut in cuts if any(abs(cut - edge) <= 1 for edge in edges)}
        known = [range(cut - 1, cut + 2) for cut in cuts]
        known += [range(first - 25, end + 26) for first, end in soft]
        self.found += len(hits)
        self.missed += len(cuts) - len(hits)
        self.false += sum(not any(edge in span for span in known) for edge in edges)
        self.blended += sum(inside[i] for first, end in soft for i in range(first + 2, end - 2))


def _score_real(films: dict, truth: dict, shots: ShotsConfig) -> _Score:
    score = _Score()
    for name, pictures in films.items():
        known = truth[name]
        soft = [(cut, cut) for cut in known.get("breaks", [])] + known.get("gradual", [])
        score.add(*_starts(pictures, shots), known["cuts"], soft)
    return score


def _score_spliced(films: dict, truth: dict, shots: ShotsConfig, splices: int = 300) -> _Score:
    """Splice stretches of uncut films hard or by dissolves; every second splice dissolves."""
    draw = random.Random(7)
    uncut = sorted(name for name in films if truth[name] == {"cuts": []} and len(films[name]) > 90)
    score = _Score()
    for _ in range(splices // 10):
        pictures, cuts, soft = _splice([films[name] for name in draw.sample(uncut, 11)], draw)
        score.add(*_starts(pictures, shots), cuts, soft)
    return score


def _splice(films: list, draw: random.Random) -> tuple[list, list[int], list]:
    import cv2

    size = (256, 144)
    pictures: list[np.ndarray] = []
    cuts, soft = [], []
    for number, film in enumerate(films):
        length = draw.randrange(30, 75)
        first = draw.randrange(len(film) - length)
        piece = [cv2.resize(p, size) for p in film[first : first + length]]
        if number % 2 and pictures:
            blend = draw.choice((8, 12, 16, 24))
            start = len(pictures) - blend
            for i in range(blend):
                share = (i + 1) / (blend + 1)
                pictures[start + i] = cv2.addWeighted(
                    pictures[start + i], 1 - share, piece[i], share, 0
                )
            soft.append((start, len(pictures)))
            piece = piece[blend:]
        elif pictures:
            cuts.append(len(pictures))
        pictures += piece
    return pictures, cuts, soft


if __name__ == "__main__":
    main()
