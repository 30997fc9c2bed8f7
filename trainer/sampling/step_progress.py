"""How far the sampling of a video is, shown on a terminal, and the time of a step."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class StepProgress:
    """Shows how far a video is, and measures the time of a step."""

    def __init__(self, what: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress, TimeElapsedColumn

        columns = (*Progress.get_default_columns(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task(what, total=total)
        self._times: list[float] = []

    def __enter__(self) -> "StepProgress":
        self._times = [time.monotonic()]
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, _step: int, _sigma: float, latents: "torch.Tensor") -> None:
        """Count a finished step."""
        if latents.is_cuda:
            import torch

            torch.cuda.synchronize()
        self._times.append(time.monotonic())
        self._bar.advance(self._task)

    @property
    def seconds(self) -> float:
        """Seconds of a step; the first, which also encodes and warms up, only where it is alone."""
        times = self._times[1:] if len(self._times) > 2 else self._times
        return (times[-1] - times[0]) / (len(times) - 1)
