"""How fast a run is: tokens, FLOP/s, waiting for data, peak memory, and the time that is left."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

GIB = 2**30
# Dense bf16 TFLOP/s by the vendors' datasheets (4090: with fp32 accumulation); first match wins.
PEAK_TFLOPS = {
    "B200": 2250.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "4090": 165.0,
}


def peak_flops(device: torch.device, override_tflops: float | None = None) -> float | None:
    """Return FLOP/s of dense bf16 products on the device, None where that is not known."""
    if override_tflops is not None:
        return override_tflops * 1e12
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    found = (peak for part, peak in PEAK_TFLOPS.items() if part.lower() in name.lower())
    peak = next(found, None)
    return None if peak is None else peak * 1e12


def peak_memory_gib(device: torch.device) -> float:
    """Return the most memory ever held: allocated on a GPU, resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


class Meter:
    """Measures speed, and separates waiting for data from computing.

    On a GPU a wait counts only while the device has nothing else to do (events around it), and
    the host waits for the device only in `read`.
    """

    def __init__(self, device: torch.device, peak_tflops: float | None = None) -> None:
        self._device = device
        self._peak = peak_flops(device, peak_tflops)
        self._reset()

    def _reset(self) -> None:
        self._steps, self._tokens, self._flops, self._waited_s = 0, 0, 0.0, 0.0
        self._waits: list[tuple[Any, Any]] = []
        self._started = time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for data."""
        if self._device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._waits.append((start, end))
        else:
            started = time.perf_counter()
            yield
            self._waited_s += time.perf_counter() - started

    def step(self, tokens: int, flops: float) -> None:
        """Count a step: video tokens of all processes, model FLOPs of this one (forward x 3)."""
        self._steps += 1
        self._tokens += tokens
        self._flops += flops

    def read(self) -> dict[str, float]:
        """Return the scalars since the last reading, and start anew; {} without a step."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            self._waited_s += sum(start.elapsed_time(end) for start, end in self._waits) / 1000
        if not self._steps:
            return {}
        elapsed = max(time.perf_counter() - self._started, 1e-9)
        rate = self._flops / elapsed
        scalars = {
            "speed/step_s": elapsed / self._steps,
            "speed/tokens_per_s": self._tokens / elapsed,
            "speed/tflops": rate / 1e12,
            "speed/data_wait": min(1.0, self._waited_s / elapsed),
            "memory/peak_gib": peak_memory_gib(self._device),
        }
        if self._peak is not None:
            scalars["speed/mfu"] = rate / self._peak
        self._reset()
        return scalars

    def pause(self) -> None:
        """Forget what was not read yet: after validation or a save, which are no training."""
        self._reset()


class ProgressBar:
    """Shows how far training is: a bar on a terminal, a line every few steps elsewhere.

    Only rank 0 shows anything.
    """

    def __init__(self, total: int, *, step: int = 0, every: int = 10, rank: int = 0) -> None:
        self._total, self._step, self._every = total, step, every
        self._active = rank == 0
        self._loss, self._step_s = Smoothed(0.98), Smoothed(0.9)
        self._last = time.perf_counter()
        self._bar: Any = None

    def __enter__(self) -> "ProgressBar":
        self._last = time.perf_counter()
        if self._active and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.add_task("", total=self._total, completed=self._step)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, loss: float | None = None) -> None:
        """Count a finished step; give its loss where it is on the host anyway."""
        now = time.perf_counter()
        self._step_s.add(now - self._last)
        self._last = now
        self._step += 1
        if loss is not None:
            self._loss.add(loss)
        if self._bar is not None:
            self._bar.update(0, completed=self._step, description=self.summary())
        elif self._active and (self._step % self._every == 0 or self._step == self._total):
            print(f"step {self._step}/{self._total}  {self.summary()}", file=sys.stderr, flush=True)

    def pause(self) -> None:
        """Start the step's clock anew: after validation or a save."""
        self._last = time.perf_counter()

    def summary(self) -> str:
        """Return smoothed loss, seconds per step and the time left."""
        step_s = self._step_s.value or 0.0
        left = round(step_s * max(0, self._total - self._step))
        clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        loss = "" if self._loss.value is None else f"loss {self._loss.value:.4f}  "
        return f"{loss}{step_s:.3g} s/step  {clock}"


class Smoothed:
    """An exponential mean without the bias of its start; a NaN is passed over."""

    def __init__(self, decay: float) -> None:
        self._decay, self._sum, self._weight = decay, 0.0, 0.0

    def add(self, value: float) -> None:
        """Take in the next value."""
        if value == value:
            self._sum = self._decay * self._sum + (1 - self._decay) * value
            self._weight = self._decay * self._weight + (1 - self._decay)

    @property
    def value(self) -> float | None:
        """The mean, None before the first value."""
        return self._sum / self._weight if self._weight else None
