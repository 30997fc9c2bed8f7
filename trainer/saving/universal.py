"""Continues a DeepSpeed checkpoint on another number of processes or with ZeRO 2 instead of 1."""

import argparse
import contextlib
import io
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from trainer.distributed.zero import load_parameters
from trainer.saving.safe_load import plain_path, restricted_reader

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

_TIMEOUT = timedelta(hours=6)  # one process reads and writes all states of the model


def load_universal(engine: "DeepSpeedEngine", folder: Path) -> None:
    """Convert the checkpoint beside it into DeepSpeed's universal format, and load that.

    The first process converts, which needs as much disk again for a while. Raises ValueError on
    all when it fails.
    """
    beside = folder.with_name(f".{folder.name}.universal")
    group = dist.new_group(backend="gloo", timeout=_TIMEOUT)
    assert isinstance(group, dist.ProcessGroup), "every process is in it"
    problem = [""]
    if dist.get_rank() == 0:
        try:
            _convert(folder, beside / "universal")
        except Exception as error:  # whatever: the others wait
            problem = [f"{folder} cannot be converted: {type(error).__name__}: {error}"]
    dist.broadcast_object_list(problem, src=0, group=group)
    try:
        if problem[0]:
            raise ValueError(problem[0])
        _load(engine, beside)
        assert isinstance(engine.module, torch.nn.Module), "the engine is initialised"
        _load_frozen(engine.module, folder)
    finally:
        dist.barrier(group)
        dist.destroy_process_group(group)
        if dist.get_rank() == 0:
            shutil.rmtree(beside, ignore_errors=True)


def _convert(folder: Path, target: Path) -> None:
    from deepspeed.checkpoint import ds_to_universal

    shutil.rmtree(target.parent, ignore_errors=True)
    target.mkdir(parents=True)
    silent = io.StringIO()
    with (
        restricted_reader(),
        contextlib.redirect_stdout(silent),
        contextlib.redirect_stderr(silent),
        plain_path(folder) as source,
        plain_path(target.parent) as beside,
    ):
        options = argparse.Namespace(
            input_folder=str(source),
            output_folder=str(beside / target.name),
            num_extract_workers=1,  # in this process, whose reader is restricted
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=True,  # ours has no tensor-parallel layout to describe
        )
        ds_to_universal.main(options)


def _load(engine: "DeepSpeedEngine", beside: Path) -> None:
    config = engine._config
    assert config is not None, "the engine is initialised"
    config.load_universal_checkpoint = True
    try:
        with restricted_reader(), plain_path(beside) as path:
            engine.load_checkpoint(str(path), tag="universal")
    finally:
        config.load_universal_checkpoint = False


def _load_frozen(model: torch.nn.Module, folder: Path) -> None:
    """Restore what is not trained, which the universal format leaves out."""
    names = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if not names:
        return
    with restricted_reader():
        saved = [
            torch.load(path, map_location="cpu", mmap=True, weights_only=True)
            for path in sorted(folder.glob("*model_states.pt"), key=_rank_of)
        ]
    parts = {name: _joined(saved, name) for name in sorted(names)}
    load_parameters(model, {name: part for name, part in parts.items() if part is not None})


def _rank_of(path: Path) -> int:
    """Return the process in the name of a file of model states: (zero_pp_rank_7_)mp_rank_00_…"""
    found = re.match(r"zero_pp_rank_(\d+)_", path.name)
    return int(found[1]) if found else 0


def _joined(saved: list[dict[str, Any]], name: str) -> torch.Tensor | None:
    """Return a parameter that is not trained, None where it was not saved."""
    whole = saved[0]["module"].get(name)
    shape = (saved[0]["frozen_param_shapes"] or {}).get(name)
    if whole is not None and (shape is None or whole.shape == shape):
        return whole
    if shape is None:
        return None
    flat = torch.cat([state["frozen_param_fragments"][name].flatten() for state in saved])
    return flat[: shape.numel()].view(shape)  # the last share is padded
