"""What finding shots and cutting clips costs, and how well it finds cuts.

    python benchmarks/shots_and_clips.py VIDEO_OR_FOLDER...          cost, with two yardsticks
    python benchmarks/shots_and_clips.py --cuts MEDIA_FOLDER...      cuts found and missed

Cost is CPU seconds (user and system) of the whole process tree. The yardsticks are one plain
decode plus one plain encode of the same frames at the training format, and PySceneDetect's own
`scenedetect detect-content split-video` with the same preset and quality of x264, without sound.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

import numpy as np  # noqa: E402
from cut_truth import Score, labelled_videos, shot_of_frames, small_pictures  # noqa: E402

from pipeline.dataset.units import VideoPart  # noqa: E402
from pipeline.execution.stage import Rejected  # noqa: E402
from pipeline.media.colours import BT709  # noqa: E402
from pipeline.media.encode import ClipEncoder, EncodingConfig  # noqa: E402
from pipeline.media.fit import Fitter, fit_picture  # noqa: E402
from pipeline.media.limits import ProbeConfig  # noqa: E402
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
    arguments.add_argument(
        "--detectors",
        nargs="+",
        choices=_RIVALS,
        default=["scenedetect", "adaptive"],
        help="what to compare by --cuts; transnetv2 wants the extra `shots`",
    )
    arguments.add_argument("--task", choices=["start", "ours", "plain"], help="one measured run")
    given = arguments.parse_args()
    if given.task:
        for path in given.paths:
            _TASKS[given.task](str(path))
    elif given.cuts:
        compare_detectors(given.paths, given.detectors)
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
    """Split a video by PySceneDetect, with the settings of x264 that our clips have."""
    import imageio_ffmpeg

    preset, crf = EncodingConfig.preset, EncodingConfig.crf

    with tempfile.TemporaryDirectory() as folder:
        os.symlink(imageio_ffmpeg.get_ffmpeg_exe(), f"{folder}/ffmpeg")
        command = [sys.executable, "-m", "scenedetect", "-i", str(path), "-o", f"{folder}/out"]
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        split = ["split-video", "-a", f"-an -c:v libx264 -preset {preset} -crf {crf}"]
        return _cpu_seconds([*command, "detect-content", *split], environment)


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
    ShotDetector(ShotsConfig(), 25.0)  # loads the shot detector


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


_RIVALS = ("scenedetect", "adaptive", "transnetv2")


def compare_detectors(folders: list[Path], rivals: list[str]) -> None:
    """Print what each detector finds of the labelled cuts, for every file that is there."""
    scores: dict[tuple[str, str], Score] = {}
    absent = []
    for truth in labelled_videos():
        path = next((found for folder in folders if (found := folder / truth.name).exists()), None)
        if path is None:
            absent.append(truth.name)
            continue
        for rival in rivals:
            own = Score()
            fps, pictures = small_pictures(path)
            shots = shot_of_frames(pictures, fps, ShotsConfig(detector=rival))
            for score in (own, scores.setdefault((truth.half, rival), Score())):
                score.add(truth, shots, fps)
            if truth.cuts or own.false:
                _print_score(truth.name, rival, own)
    for (half, rival), score in sorted(scores.items()):
        _print_score(f"all {half}", rival, score)
    if absent:
        print(f"{len(absent)} labelled files are absent: {', '.join(absent)}")


def _print_score(name: str, rival: str, score: Score) -> None:
    parted = score.gradual - len(score.spanned)
    print(
        f"{name:40} {rival:12} recall {score.recall:.3f} precision {score.precision:.3f}"
        f"  {score.cuts} cuts, {len(score.missed)} missed, {len(score.false)} false"
        f"  {parted}/{score.gradual} gradual",
        flush=True,
    )


if __name__ == "__main__":
    main()
