"""The truth on a GPU, in minutes: is it right there, how fast is it, does it take what we say.

    python benchmarks/gpu.py --minutes 5 --output gpu/    # writes gpu.json and gpu.md as it goes
    python benchmarks/gpu.py --tiny --output gpu/         # the same stages in tiny sizes, on a CPU

Needs no network and no weights: 1.3B is made with random ones, from its configuration. Which wheels
it needs beside a PyTorch image is in docs/gpu.md. Stages come in the order of their worth, each
within its share of the time; what there was no time for says so.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import diffusers  # noqa: E402
import torch  # noqa: E402
from gpu_stages import STAGES, Setting  # noqa: E402

Row = dict[str, Any]


@dataclass
class Report:
    """Rows of every stage, on the disk as soon as they are there."""

    folder: Path
    machine: dict[str, Any]
    stages: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, stage: str, row: Row) -> None:
        self.stages.setdefault(stage, []).append(row)
        print(f"{stage}: {'  '.join(f'{name} {shown(value)}' for name, value in row.items())}")
        sys.stdout.flush()
        self.write()

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"machine": self.machine, "stages": self.stages}
        for name, text in (
            ("gpu.json", json.dumps(content, indent=1) + "\n"),
            ("gpu.md", self.markdown()),
        ):
            staged = self.folder / f".{name}"
            staged.write_text(text, encoding="utf-8")
            os.replace(staged, self.folder / name)

    def markdown(self) -> str:
        """Return one table for each stage."""
        parts = [", ".join(f"{name} {value}" for name, value in self.machine.items()), ""]
        for stage, rows in self.stages.items():
            columns = list(dict.fromkeys(name for row in rows for name in row))
            parts += [f"## {stage}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
            parts += [
                f"| {' | '.join(shown(row.get(name, '')) for name in columns)} |" for row in rows
            ]
            parts.append("")
        return "\n".join(parts)


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def machine_of(device: torch.device) -> dict[str, Any]:
    """Return card, driver and versions."""
    found: dict[str, Any] = {"device": platform.processor() or platform.machine()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found = {"device": properties.name, "memory GiB": round(properties.total_memory / 2**30, 1)}
        found["driver"] = _driver()
        found["CUDA"] = torch.version.cuda
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    return found | versions | {"python": platform.python_version()}


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told.stdout.splitlines()[0].strip()


def measure(report: Report, setting: Setting, minutes: float) -> None:
    """Run every stage within its share of the minutes; an item that fails says why."""
    began = time.monotonic()
    shares = [share for _, share, _ in STAGES]
    for number, (name, _, items) in enumerate(STAGES):
        # Time that earlier stages left over is the later ones'.
        until = began + 60 * minutes * sum(shares[: number + 1]) / sum(shares)
        for item, run in items(setting):
            if time.monotonic() > until:
                report.add(name, {"what": item, "note": "no time left"})
                continue
            report.add(name, {"what": item, **_outcome(run)})


def _outcome(run: Callable[[], Row]) -> Row:
    try:
        return run()
    except torch.OutOfMemoryError:
        return {"note": "out of memory"}
    except Exception as error:  # the other items are worth having
        return {"note": f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"}
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def failures(report: Report) -> Iterator[str]:
    """Yield what was found to be wrong."""
    for name, rows in report.stages.items():
        for row in rows:
            if row.get("holds") is False:
                yield f"{name}: {row['what']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--output", type=Path, required=True, help="folder for gpu.json and gpu.md")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, also on a CPU")
    arguments = parser.parse_args()
    if not (torch.cuda.is_available() or arguments.tiny):
        parser.error("torch finds no GPU; --tiny runs the same stages on a CPU")
    warnings.simplefilter("ignore")
    diffusers.utils.logging.set_verbosity_error()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = {"sizes": "tiny" if arguments.tiny else "1.3B at 480x832"}
    report = Report(arguments.output, machine_of(device) | sizes)
    measure(report, Setting(device, arguments.tiny), arguments.minutes)
    wrong = list(failures(report))
    print("\n".join(["does not hold:", *wrong]) if wrong else f"written: {arguments.output}/gpu.md")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
