"""What a run tells about itself: curves, a line per step, and a readable log.

Only rank 0 writes. Nothing that looks like a secret is written anywhere.
"""

import importlib
import json
import os
import re
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemas.settings import check_settings, setting

_SECRET = re.compile(
    r"(token|secret|passw(or)?d|credentials?|api_?key|access_?key|authorization)$", re.IGNORECASE
)
_USER_OF_URL = re.compile(r"(\w+://)[^/\s@]+@")
_QUERY_OF_URL = re.compile(r"(\w+://[^\s?]+)\?\S+")
_TOKEN = re.compile(r"\b(hf_|sk-|AKIA|ghp_)[A-Za-z0-9_-]{8,}")


@dataclass(frozen=True)
class LogConfig:
    """What is logged, how often, and where.

    Attributes:
        every: steps between two lines of metrics; the device is synchronised only then.
        wandb_project: Weights & Biases project that is logged to as well; none by default.
        wandb_name: name of the run there; that of the run folder by default.
        peak_tflops: dense bf16 TFLOP/s of a device whose name is not known, for MFU.
    """

    every: int = setting(10, low=1, high=10**9)
    wandb_project: str | None = None
    wandb_name: str | None = None
    peak_tflops: float | None = setting(None, above=0, high=10**6, unit="TFLOP/s")

    def __post_init__(self) -> None:
        check_settings(self, "log")


def scrub(text: str) -> str:
    """Take user names, queries and known kinds of tokens out of a text."""
    text = _QUERY_OF_URL.sub(r"\1", _USER_OF_URL.sub(r"\1", text))
    return _TOKEN.sub("***", text)


def scrubbed(settings: Any) -> Any:
    """Return settings fit for a log: values of secret-like keys are gone, texts are scrubbed."""
    if isinstance(settings, Mapping):
        return {
            key: "***" if value and _SECRET.search(str(key)) else scrubbed(value)
            for key, value in settings.items()
        }
    if isinstance(settings, (list, tuple)):
        return [scrubbed(value) for value in settings]
    return scrub(settings) if isinstance(settings, str) else settings


def held_out_scalars(losses: Mapping[float, float], prefix: str = "validation") -> dict[str, float]:
    """Name the held-out loss of each fixed sigma, and their mean."""
    named = {f"{prefix}/loss_sigma_{sigma:g}": loss for sigma, loss in losses.items()}
    return {**named, f"{prefix}/loss_mean": sum(losses.values()) / len(losses)}


class RunLog:
    """Writes tensorboard/, metrics.jsonl and train.log of a run folder, and to W&B when asked.

    Steps count from 1. `step` is the last finished one when a run resumes: what was logged after
    it is taken back, so that no step is there twice. On another rank than 0 nothing happens.
    """

    def __init__(
        self,
        folder: Path,
        config: LogConfig,
        *,
        step: int = 0,
        rank: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._active = rank == 0
        self._every = config.every
        self._held: list[tuple[int, dict[str, Any]]] = []
        self._wandb: Any = None
        if not self._active:
            return
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        truncate_metrics(folder / "metrics.jsonl", step)
        self._lines = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._text = (folder / "train.log").open("a", encoding="utf-8")
        if config.wandb_project is not None:
            self._wandb = _start_wandb(folder, config, settings or {})
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else 0)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_due(self, step: int) -> bool:
        """Say whether the step is one of those at which the device is waited for."""
        return step % self._every == 0

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Log numbers of a step, as one line. Tensors on a device are held until a due step."""
        if not self._active:
            return
        self._held.append((step, {name: _detached(value) for name, value in values.items()}))
        waits = any(_on_device(value) for _, held in self._held for value in held.values())
        if self.is_due(step) or not waits:
            self.flush()

    def flush(self) -> None:
        """Fetch what is held in one transfer, and bring all to the disk."""
        if not self._active:
            return
        tensors = [v for _, held in self._held for v in held.values() if _on_device(v)]
        fetched = iter(torch.stack(tensors).tolist() if tensors else [])
        for step, held in self._held:
            row = {k: next(fetched) if _on_device(v) else float(v) for k, v in held.items()}
            self._write(step, row)
        self._held.clear()
        self._lines.flush()
        self._board.flush()

    def _write(self, step: int, row: dict[str, float]) -> None:
        # A number that JSON lacks (NaN of a skipped step) is written as null, and drawn as it is.
        finite = {name: value if np.isfinite(value) else None for name, value in row.items()}
        self._lines.write(json.dumps({"step": step, **finite}) + "\n")
        for name, value in row.items():
            self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(row, step=step)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Log an (H, W, 3) uint8 picture; videos stay files of the run folder."""
        if not self._active:
            return
        self._board.add_image(name, image, step, dataformats="HWC")
        self._board.flush()
        if self._wandb is not None:
            wandb = importlib.import_module("wandb")
            self._wandb.log({name: wandb.Image(image)}, step=step)

    def message(self, text: str) -> None:
        """Add a line to train.log and show it."""
        if not self._active:
            return
        text = scrub(text)
        self._text.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z  {text}\n")
        self._text.flush()
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Write what is held and close all files; closing twice is no mistake."""
        if not self._active:
            return
        self.flush()
        self._active = False
        self._board.close()
        self._lines.close()
        self._text.close()
        if self._wandb is not None:
            self._wandb.finish()


def truncate_metrics(path: Path, step: int) -> None:
    """Keep the whole lines up to a step, none for 0; a line cut short by a crash is dropped.

    Those of later steps, which will be trained again, go to `metrics.taken-back.jsonl`.
    """
    if not path.exists():
        return
    kept, later = [], []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            stays = json.loads(line)["step"] <= step and step > 0
        except (ValueError, KeyError, TypeError):
            continue
        (kept if stays else later).append(line + "\n")
    if later:
        with path.with_suffix(".taken-back.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(later)
    staged = path.with_suffix(".jsonl.part")
    with staged.open("w", encoding="utf-8") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def _detached(value: Any) -> Any:
    # A copy: an accumulator that the loop goes on adding to must not change what was logged.
    return value.detach().float().reshape(()).clone() if torch.is_tensor(value) else value


def _on_device(value: Any) -> bool:
    return torch.is_tensor(value) and value.device.type != "cpu"


def _start_wandb(folder: Path, config: LogConfig, settings: Mapping[str, Any]) -> Any:
    try:
        wandb = importlib.import_module("wandb")
    except ImportError as error:
        raise ValueError(
            f"log.wandb_project is '{config.wandb_project}' but wandb is not installed; run "
            "`pip install wandb`, or leave log.wandb_project out (TensorBoard is always written)"
        ) from error
    remembered = folder / "wandb_run_id.txt"
    if not remembered.exists():
        remembered.write_text(uuid.uuid4().hex[:8])
    return wandb.init(
        project=config.wandb_project,
        name=config.wandb_name or folder.name,
        id=remembered.read_text().strip(),
        resume="allow",
        dir=str(folder),
        config=scrubbed(dict(settings)),
    )
