"""Reads DeepSpeed's checkpoints without running what they may contain.

A .pt file is a pickle, and a pickle is a program. DeepSpeed reads all its files as such. Here a
file is first scanned without being run, and then read by torch's restricted reader, which knows
tensors, plain containers and three small classes of DeepSpeed, whatever DeepSpeed itself asks.
"""

import os
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from trainer.distributed.zero import load_deepspeed

_MAX_PICKLE_BYTES = 256 * 2**20  # without the tensors; that of a 14B model has a few MB
_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_LOCK = threading.RLock()  # the environment belongs to the whole process


def known_classes() -> list[Any]:
    """Return what DeepSpeed's checkpoints hold besides tensors and plain containers."""
    load_deepspeed()
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [LossScaler, ZeroStageEnum, fragment_address]


def check_pickle(path: Path) -> None:
    """Raise ValueError unless the .pt file names known classes only. Runs nothing of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [entry for entry in archive.infolist() if entry.filename.endswith(".pkl")]
            size = sum(entry.file_size for entry in pickles)
        if not pickles or size > _MAX_PICKLE_BYTES:
            raise ValueError(f"{len(pickles)} pickles of {size} bytes")
        with torch.serialization.safe_globals(known_classes()):
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception as error:  # whatever a broken file makes the two readers raise
        raise ValueError(
            f"{path} is no checkpoint of this trainer ({type(error).__name__}: {error}); "
            "resume from another one"
        ) from error
    if unknown:
        raise ValueError(
            f"{path} contains {unknown[0]}, which no checkpoint of this trainer does: reading it "
            "could run code. Nothing was read. Resume from a checkpoint that you trust"
        )


@contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """Give a folder a path that DeepSpeed can take for a glob pattern and a regular expression."""
    with tempfile.TemporaryDirectory(prefix="contextanyone_") as temporary:
        link = Path(temporary) / folder.name
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


@contextmanager
def restricted_reader() -> Iterator[None]:
    """Let every torch.load inside build known classes only, also DeepSpeed's own calls."""
    with _LOCK, torch.serialization.safe_globals(known_classes()):
        before = os.environ.get(_FORCE)
        os.environ[_FORCE] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ[_FORCE]
            else:
                os.environ[_FORCE] = before
