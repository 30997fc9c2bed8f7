"""What curating costs: whole pipeline by stage, and how cost and memory grow with the input.

    python benchmarks/curate.py stages videos/
    python benchmarks/curate.py scale --numbers 10 100 1000

`stages` leads every video through the pipeline in this process, with the engines of `auto` that
need no fetching, and prints CPU seconds per stage, share, and hours of video per core-hour. `scale`
runs the job on copies of one drawn video with altered bytes and cheap engines, and prints CPU
seconds of the whole process tree per clip, and the driver's peak memory: both should stay flat.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def measure_stages(folder: Path) -> None:
    from pipeline.dataset.inputs import list_inputs
    from pipeline.dataset.units import VideoPart
    from pipeline.engines.auto import settle
    from pipeline.engines.engines_config import EnginesConfig
    from pipeline.execution.stage import Rejected
    from pipeline.media.probe import probe
    from pipeline.observing.clips import cut_video
    from pipeline.observing.observe import observing_stages
    from pipeline.observing.observe_config import ObserveConfig

    config = ObserveConfig(engines=settle(EnginesConfig(), {}, offline=True))
    stages = observing_stages(config)
    spent: defaultdict[str, float] = defaultdict(float)
    seconds = 0.0
    for source in list_inputs([str(folder)]):
        started = time.process_time()
        video = probe(source.uri, "0" * 24, config.probe)
        spent["probe"] += time.process_time() - started
        if isinstance(video, Rejected):
            continue
        seconds += video.duration_s
        started = time.process_time()
        clips = cut_video(source.uri, video, VideoPart(), config).clips
        spent["shots, clips, quality"] += time.process_time() - started
        for stage in stages:
            started = time.process_time()
            done = [stage.process(row) for row in clips]
            clips = [row for row in done if not isinstance(row, Rejected)]
            spent[stage.name] += time.process_time() - started
    total = sum(spent.values())
    print(f"{seconds:.0f} s of video, {total:.0f} CPU s")
    for stage, used in spent.items():
        print(f"  {stage:22} {used:7.1f} s  {used / total:5.1%}  {used / seconds:.3f} s per s")
    print(f"hours of video per core-hour: {seconds / total:.2f}")


def measure_scale(numbers: list[int], workers: int) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    from runs import draw_video

    with tempfile.TemporaryDirectory() as work:
        original = Path(work) / "original.mp4"
        draw_video(original, seed=1)
        base = None
        for number in numbers:
            clips, used, peak_mib, wall = _run_copies(original, number, workers, Path(work))
            each = used / clips
            base = base or each
            print(
                f"{number:6} videos  {clips:6} clips  {wall:6.0f} s wall  {each:.3f} CPU s per clip"
                f"  ratio to the first {each / base:.2f}  driver's peak {peak_mib} MiB",
                flush=True,
            )


def _run_copies(original: Path, number: int, workers: int, work: Path) -> tuple:
    """Curate copies that differ in a byte after the last box, which players ignore."""
    folder, output = work / f"in{number}", work / f"out{number}"
    folder.mkdir()
    content = original.read_bytes()
    for copy in range(number):
        free = (16).to_bytes(4, "big") + b"free" + copy.to_bytes(8, "big")
        (folder / f"{copy:06}.mp4").write_bytes(content + free)
    import fast_engines

    command = [sys.executable, str(ROOT / "jobs" / "curate.py"), *fast_engines.SETTINGS]
    command += ["--input", str(folder), "--output", str(output)]
    command += [
        "--set",
        f"run.cluster.workers={workers}",
        "--set",
        "pair.duplicates.max_distance=null",
    ]
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "helpers")}
    job = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    used, peak = follow(job)
    assert job.wait() == 0
    version = json.loads((output / "manifests" / "0001.json").read_text())
    clips = next(row["kept"] for row in version["funnel"] if row["stage"] == "clips")
    return clips, used, peak, time.monotonic() - started


def follow(job: subprocess.Popen) -> tuple[float, int]:
    """Return CPU seconds of the job and all its descendants, and the driver's peak in MiB.

    Ray's workers are nobody's waited-for children, so the processes are read while they run.
    """
    ticks: dict[int, int] = {}
    peak = 0
    while job.poll() is None:
        ticks.update(_ticks_of_tree(job.pid))
        try:
            status = Path(f"/proc/{job.pid}/status").read_text()
        except OSError:
            break
        high = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        peak = max(peak, *(int(kib) // 1024 for kib in high), 0)
        time.sleep(0.3)
    return sum(ticks.values()) / os.sysconf("SC_CLK_TCK"), peak


def _ticks_of_tree(root: int) -> dict[int, int]:
    parents, ticks = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            ticks[int(entry.name)] = int(fields[11]) + int(fields[12])
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return {pid: ticks[pid] for pid in family if pid in ticks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parts = parser.add_subparsers(dest="part", required=True)
    stages = parts.add_parser("stages")
    stages.add_argument("folder", type=Path)
    scale = parts.add_parser("scale")
    scale.add_argument("--numbers", type=int, nargs="+", default=[10, 100, 1000])
    scale.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.part == "stages":
        measure_stages(arguments.folder)
    else:
        measure_scale(arguments.numbers, arguments.workers)


if __name__ == "__main__":
    main()
