"""How much memory does a curation take that is long, wide or packed?

    python benchmarks/memory.py --minutes 1 10      # of one video of 3840 x 2160, --fps 24
    python benchmarks/memory.py --inputs 100 10000  # small videos in one folder
    python benchmarks/memory.py --packed 10 1000    # the same, in one zip

Drawn videos, engines that cost nothing, one process that curates and its children that decode.
Printed are, of the largest of each kind, the peak of all memory and of what is not a file's (the
kernel takes back pages of files when it needs them). Neither may grow with what an archive holds,
and with the length of a video no further than to a part of it (`observe.part_s`).
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import av  # noqa: E402
from runs import command, environment  # noqa: E402
from synthetic import moving_shapes, write_video  # noqa: E402
from victims import DRIVER, job_processes  # noqa: E402

_SIZE, _FPS, _LOOP_S = (3840, 2160), 24, 10
_LOOK_S = 0.2  # between two looks at all processes


def write_long_video(path: Path, minutes: float, fps: int) -> None:
    """Write two shots of 4K over and over: they are encoded once, their packets repeated."""
    loop = path.with_name("loop.mp4")
    if not loop.exists():
        numbers = range(fps * _LOOP_S // 2)
        frames = (moving_shapes(1, _SIZE, shot, n)[0] for shot in (0, 1) for n in numbers)
        write_video(loop, frames, fps, options={"preset": "ultrafast"})
    with av.open(str(path), "w") as long, av.open(str(loop)) as source:
        stream = long.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        length = round(_LOOP_S / (source.streams.video[0].time_base or 1))
        times = [(packet.pts or 0, packet.dts or 0) for packet in packets]
        for repeat in range(max(1, round(60 * minutes / _LOOP_S))):
            for packet, (pts, dts) in zip(packets, times, strict=True):
                packet.stream = stream
                packet.pts, packet.dts = pts + repeat * length, dts + repeat * length
                long.mux(packet)


def write_inputs(folder: Path, number: int) -> None:
    """Write videos of which no two have the same bytes; the first is long enough for a clip."""
    folder.mkdir()
    drawn = folder.with_name("drawn.mp4")
    for index in range(number):
        if index in (0, 1):
            frames = 10 if index else 4 * _FPS
            write_video(drawn, moving_shapes(frames, (320, 192), index), _FPS)
        comment = f"{index:08}".encode()
        box = (8 + len(comment)).to_bytes(4, "big") + b"free" + comment
        (folder / f"{index:06}.mp4").write_bytes(drawn.read_bytes() + box)


def write_packed(path: Path, number: int) -> None:
    """Pack such videos."""
    with tempfile.TemporaryDirectory() as work:
        write_inputs(Path(work) / "in", number)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
            for video in sorted((Path(work) / "in").iterdir()):
                packed.write(video, video.name)


def _settings(fps: int) -> list[str]:
    """Let a video of few frames pass, and its clips have no more: an hour of them is affordable."""
    return ["--set", "observe.probe.min_fps=1", "--set", f"observe.clips.fps={min(fps, 16)}"]


@dataclass
class Peak:
    """The most memory that a process has held, in KiB."""

    whole: int = 0
    own: int = 0  # without pages of files


def peaks_of(
    output: Path, *inputs: Path | str, settings: Sequence[str] = ()
) -> tuple[dict[str, Peak], float]:
    """Curate; return the peaks of the driver and of its largest child, and the seconds it took."""
    started = time.monotonic()
    log, kinds, peaks = output.with_suffix(".txt"), {}, defaultdict[int, Peak](Peak)
    words = command(output, *inputs, extra=settings)
    with log.open("w") as text:
        job = subprocess.Popen(words, env=environment(), stdout=text, stderr=subprocess.STDOUT)
        while job.poll() is None:
            for pid, kind in job_processes(job.pid).items():
                kinds[pid] = kind if kind == DRIVER else "child"
                _look_at(pid, peaks[pid])
            time.sleep(_LOOK_S)
    assert job.returncode == 0, log.read_text()[-3000:]
    largest = {
        kind: max((peaks[pid] for pid in kinds if kinds[pid] == kind), key=lambda peak: peak.whole)
        for kind in sorted(set(kinds.values()))
    }
    return largest, time.monotonic() - started


def _look_at(pid: int, peak: Peak) -> None:
    """Note what a process holds, if it lives."""
    with contextlib.suppress(OSError, KeyError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        sizes = {
            line.split()[0]: line.split()[1] for line in lines if line.startswith(("Vm", "Rss"))
        }
        peak.whole = max(peak.whole, int(sizes["VmHWM:"]))
        peak.own = max(peak.own, int(sizes["RssAnon:"]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--minutes", nargs="+", type=float, default=[])
    parser.add_argument("--fps", type=int, default=_FPS, help="of the long videos")
    parser.add_argument("--inputs", nargs="+", type=int, default=[])
    parser.add_argument("--packed", nargs="+", type=int, default=[])
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for minutes in chosen.minutes:
            long = work / f"{minutes:g}-minutes.mp4"
            write_long_video(long, minutes, chosen.fps)
            peaks = peaks_of(work / f"long-{minutes:g}", long, settings=_settings(chosen.fps))
            _print(f"4K, {minutes:g} minutes", *peaks)
        for number in chosen.inputs:
            write_inputs(work / f"in-{number}", number)
            _print(f"{number} inputs", *peaks_of(work / f"out-{number}", work / f"in-{number}"))
        for number in chosen.packed:
            write_packed(work / f"{number}.zip", number)
            location = f"zip://*.mp4::{work}/{number}.zip"
            _print(f"{number} in a zip", *peaks_of(work / f"zip-{number}", location))
    return 0


def _print(what: str, peaks: dict[str, Peak], seconds: float) -> None:
    sizes = (
        f"{kind} {peak.whole / 1024:5.0f} MiB ({peak.own / 1024:.0f} its own)"
        for kind, peak in peaks.items()
    )
    print(f"{what:20} {'  '.join(sizes)}  {seconds:6.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
