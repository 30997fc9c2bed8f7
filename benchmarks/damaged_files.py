"""How many damaged frames get into clips: truncations and mutations of a good film.

    python benchmarks/damaged_files.py [--truncations 200] [--mutations 1000] [--suffix mp4 …]

A film of 96 frames is written into each container, then cut off at even distances, and changed at
random (1, 4 or 32 bytes, fixed seeds). A file is `kept` when clips of it are. `reported` counts
kept files of which FFmpeg's decoder says that a packet or a frame is corrupt; `short` those whose
clips lack more than one frame in a hundred; `wrong` those with a picture that differs from the
undamaged film's, which no decoder reports.
"""

import argparse
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

import av  # noqa: E402
import numpy as np  # noqa: E402
from av.error import FFmpegError  # noqa: E402
from synthetic import moving_shapes, write_video  # noqa: E402

from pipeline.dataset.units import VideoPart  # noqa: E402
from pipeline.media.clip_frames import read_clip  # noqa: E402
from pipeline.media.limits import ProbeConfig  # noqa: E402
from pipeline.media.probe import probe  # noqa: E402
from pipeline.media.sandbox import Child, Died, SandboxConfig  # noqa: E402
from pipeline.observing.clips import ClipsConfig, cut_video  # noqa: E402
from pipeline.observing.shots import ShotsConfig  # noqa: E402
from schemas.tables import Video  # noqa: E402

OUTCOMES = ("files", "kept", "reported", "short", "wrong", "died")
FRAMES, SIZE, FPS = 96, (320, 192), 24
KINDS = {
    "mp4": ("libx264", {"g": "24", "bf": "2", "movflags": "+faststart"}),
    "mkv": ("libx264", {"g": "24", "bf": "2"}),
    "webm": ("libvpx", {"g": "24"}),
    "avi": ("mpeg4", {"g": "24"}),
    "ts": ("libx264", {"g": "24", "bf": "2"}),
    "flv": ("libx264", {"g": "24", "bf": "2"}),
    "wmv": ("wmv2", {"g": "24"}),
    "mpg": ("mpeg2video", {"g": "12", "bf": "2"}),
}


@dataclass(frozen=True)
class Config:
    """The settings that cutting reads."""

    probe: ProbeConfig = field(default_factory=ProbeConfig)
    shots: ShotsConfig = field(default_factory=ShotsConfig)
    clips: ClipsConfig = field(default_factory=lambda: ClipsConfig(min_s=0.5))


def make_cutter():
    """Made in a child: returns the clips' pictures, small and grey, by time; None if refused."""

    def cutter(path: str, announce) -> tuple[float, dict[int, np.ndarray]] | None:
        config = Config()
        video = probe(path, "x", config.probe)
        if not isinstance(video, Video):
            return None
        row = cut_video(path, video, VideoPart(), config)
        if row.video is None or not row.clips:
            return None
        shown = {}
        for made in row.clips:
            first = round(made.clip.start_s * made.clip.fps)
            for number, picture in zip(*read_clip(made.mp4), strict=True):
                shown[first + number] = picture[::8, ::8].mean(axis=2)
        return row.video.duration_s, shown

    return cutter


def is_reported(path: str) -> bool:
    """Tell whether FFmpeg's decoder says that something of the film is corrupt."""
    try:
        with av.open(path, metadata_errors="ignore") as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.is_corrupt or any(frame.is_corrupt for frame in packet.decode()):
                    return True
    except FFmpegError:
        return True
    return False


def damaged(content: bytes, truncations: int, mutations: int):
    """Yield damaged contents and what was done to them."""
    for number in range(truncations):
        yield "cut off", content[: max(1, len(content) * (number + 1) // (truncations + 1))]
    draw = random.Random(7)
    for _ in range(mutations):
        changed = bytearray(content)
        for _ in range(draw.choice((1, 4, 32))):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        yield "changed", bytes(changed)


def measure(
    suffix: str, folder: Path, truncations: int, mutations: int
) -> dict[str, dict[str, int]]:
    """Damage a film in many ways; return, by kind of damage, how many files came to what."""
    codec, options = KINDS[suffix]
    whole = write_video(
        folder / f"whole.{suffix}", moving_shapes(FRAMES, SIZE), FPS, codec, options
    )
    child = Child(_cutter_maker(), SandboxConfig())
    truth = child.call(str(whole))
    assert isinstance(truth, tuple), f"the good {suffix} was refused: {truth}"
    counts: dict[str, dict[str, int]] = {
        kind: dict.fromkeys(OUTCOMES, 0) for kind in ("cut off", "changed")
    }
    path = folder / f"damaged.{suffix}"
    for kind, content in damaged(whole.read_bytes(), truncations, mutations):
        count = counts[kind]
        count["files"] += 1
        path.write_bytes(content)
        found = child.call(str(path))
        count["died"] += isinstance(found, Died)
        if not isinstance(found, tuple):
            continue
        count["kept"] += 1
        count["reported"] += is_reported(str(path))
        count["short"] += len(found[1]) < 0.99 * len(truth[1])
        count["wrong"] += _differs(found[1], truth[1])
    child.close()
    return counts


def _cutter_maker():
    """Return make_cutter under a name that a child finds, which it does not in `__main__`."""
    if __name__ != "__main__":
        return make_cutter
    from damaged_files import make_cutter as importable

    return importable


def _differs(found: dict[int, np.ndarray], truth: dict[int, np.ndarray]) -> bool:
    """Tell whether a picture is not that of its time, nor of the tick before or after."""
    near = ([truth[t] for t in (tick - 1, tick, tick + 1) if t in truth] for tick in found)
    return any(
        all(one.shape != shown.shape or np.abs(one - shown).max() > 40 for one in likes)
        for likes, shown in zip(near, found.values(), strict=True)
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description="Count damaged frames in clips")
    arguments.add_argument("--truncations", type=int, default=200)
    arguments.add_argument("--mutations", type=int, default=1000)
    arguments.add_argument("--suffix", nargs="*", default=list(KINDS), choices=list(KINDS))
    chosen = arguments.parse_args()
    print(f"{'':6} {'':8} " + " ".join(f"{outcome:>8}" for outcome in OUTCOMES))
    with tempfile.TemporaryDirectory() as folder:
        for suffix in chosen.suffix:
            counts = measure(suffix, Path(folder), chosen.truncations, chosen.mutations)
            for kind, count in counts.items():
                print(f"{suffix:6} {kind:8} " + " ".join(f"{n:>8}" for n in count.values()))


if __name__ == "__main__":
    main()
