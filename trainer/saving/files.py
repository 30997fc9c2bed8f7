"""The files of a checkpoint that a process writes: at once, or from a copy in the background."""

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainer.saving.complete import boundary, describe, sync
from trainer.saving.disk import follow_umask, named_faults, umask

_Write = Callable[[Any, Path], None]  # what, where


class Files:
    """Collects what is saved; `end` writes what is not written yet, and hashes all.

    in_background: copy to the host's memory what is saved, and write it in a thread that `end`
    starts. What goes wrong in it is raised by `result`.
    """

    def __init__(self, in_background: bool = False) -> None:
        self._in_background = in_background
        self._mask = umask()  # reading it changes it for a moment, for all threads
        self._paths: list[Path] = []
        self._waiting: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._described: dict[str, dict[str, Any]] = {}
        self._error: Exception | None = None

    def save(self, path: Path, content: Any, write: _Write, name: str = "") -> None:
        """Write a file, or copy its content to be written; `name` marks the point after it."""
        self._paths.append(path)
        if self._in_background:
            kept = on_host(content)
            self._waiting.append(lambda: _write_one(path, kept, write, name))
        else:
            _write_one(path, content, write, name)

    def end(self) -> None:
        """Nothing more is saved: wait for the disk, or let a thread do so."""
        if self._in_background:
            self._thread = threading.Thread(target=self._run, name="checkpoint")
            self._thread.start()
        else:
            self._run()

    @property
    def written(self) -> bool:
        """Whether `result` returns, or raises, at once."""
        return self._thread is None or not self._thread.is_alive()

    def result(self) -> dict[str, dict[str, Any]]:
        """Wait; return size and hash of every file. Raises what went wrong."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._described

    def _run(self) -> None:
        try:
            while self._waiting:
                self._waiting.pop(0)()  # and its copy is freed
            follow_umask(self._paths, self._mask)
            for path in self._paths:
                with named_faults(path):
                    sync(path)
                self._described[path.name] = describe(path)
        except Exception as error:  # whatever it is: raised where somebody waits for the result
            self._waiting.clear()
            self._error = error


def _write_one(path: Path, content: Any, write: _Write, name: str) -> None:
    with named_faults(path):
        write(content, path)
    if name:
        boundary(name)


def on_host(tree: Any, storages: dict[int, torch.UntypedStorage] | None = None) -> Any:
    """Return a copy in the host's memory of tensors in dicts, lists and tuples.

    What shares memory in the tree does so in the copy, and is written once.
    """
    storages = {} if storages is None else storages
    if isinstance(tree, torch.Tensor):
        return _tensor_on_host(tree, storages)
    if isinstance(tree, dict):
        copied = copy.copy(tree)  # of its own type, with its attributes
        for key, value in tree.items():
            copied[key] = on_host(value, storages)
        return copied
    if type(tree) in (list, tuple):
        return type(tree)(on_host(value, storages) for value in tree)
    return tree


def _tensor_on_host(
    tensor: torch.Tensor, storages: dict[int, torch.UntypedStorage]
) -> torch.Tensor:
    source = tensor.untyped_storage()
    if source.data_ptr() not in storages or not source.nbytes():
        storages[source.data_ptr()] = (
            source.cpu() if source.device.type != "cpu" else source.clone()
        )
    host = torch.empty(0, dtype=tensor.dtype)
    host.set_(storages[source.data_ptr()], tensor.storage_offset(), tensor.size(), tensor.stride())
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(host, tensor.requires_grad)
    return host
