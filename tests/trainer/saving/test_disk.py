"""Whatever a library makes of a full disk is said in one form, with the path."""

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from safetensors import SafetensorError

from trainer.saving.disk import named_faults

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    "raised",
    [
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
        RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 704 vs 598"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "weights"),
    ],
)
def test_a_full_disk_is_an_error_with_a_path(tmp_path, monkeypatch, raised):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 10, 0))
    with pytest.raises(OSError, match="disk full") as caught, named_faults(tmp_path / "weights"):
        raise raised
    assert Path(str(caught.value.filename)).name == "weights"


@pytest.mark.parametrize("raised", [ValueError("mine"), FileNotFoundError(2, "none", "a")])
def test_other_errors_stay_as_they_are(tmp_path, raised):
    with pytest.raises(type(raised)) as caught, named_faults(tmp_path):
        raise raised
    assert caught.value is raised
