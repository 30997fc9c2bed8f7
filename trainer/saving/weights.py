"""Published weights: safetensors only, whose header is checked before anything is believed."""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

MAX_HEADER_BYTES = 8 * 2**20  # that of a 14B model has 0.2 MB
MAX_TENSORS = 50_000
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_INDEX = ".safetensors.index.json"
_SIZES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}


class WeightsFile(Mapping[str, torch.Tensor]):
    """The tensors of a .safetensors file or of a diffusers folder, each read when asked for."""

    def __init__(self, path: Path) -> None:
        self._file_of: dict[str, Path] = {}
        for file in _files(path):
            for name in check_header(file):
                if name in self._file_of:
                    raise ValueError(f"{path} holds {name} twice; keep one set of weights in it")
                self._file_of[name] = file

    def __getitem__(self, name: str) -> torch.Tensor:
        with safe_open(self._file_of[name], "pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a .safetensors file or of a diffusers folder into memory.

    Raises ValueError for pickled weights, a folder with code, and a file that is not as its
    header says.
    """
    return dict(WeightsFile(path))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return _files_of_folder(path)
    if path.suffix.lower() in _PICKLES:
        raise ValueError(_pickle_advice(path))
    if path.suffix != ".safetensors" or not path.is_file():
        raise ValueError(
            f"weights must be a .safetensors file or a folder with such files, got {path}; a run "
            "of ours becomes one with trainer/export.py"
        )
    return [path]


def _files_of_folder(folder: Path) -> list[Path]:
    code = sorted(folder.rglob("*.py"))
    if code:
        raise ValueError(
            f"{folder} holds code ({code[0].name}); a folder of weights holds data only: remove "
            "it, no code from such a folder is ever run"
        )
    indexes = sorted(folder.glob(f"*{_INDEX}"))
    files = sorted(folder.glob("*.safetensors"))
    if len(indexes) > 1 or (not indexes and len(files) > 1):
        raise ValueError(f"{folder} holds several sets of weights; give the file that is meant")
    if indexes:
        return [folder / name for name in _listed(indexes[0])]
    if not files:
        pickled = sorted(file for file in folder.iterdir() if file.suffix.lower() in _PICKLES)
        raise ValueError(
            _pickle_advice(pickled[0]) if pickled else f"{folder} holds no .safetensors file"
        )
    return files


def _listed(index: Path) -> list[str]:
    """Return the files that an index names, all of them beside it."""
    if index.stat().st_size > MAX_HEADER_BYTES:
        raise ValueError(f"{index} has {index.stat().st_size} bytes, {MAX_HEADER_BYTES} allowed")
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{index} is no index of safetensors files: {error!r}") from error
    for name in names:
        file = index.parent / str(name)
        plain = isinstance(name, str) and Path(name).name == name
        if not plain or file.suffix != ".safetensors" or not file.is_file():
            raise ValueError(f"{index} names {name!r}, which is no .safetensors file beside it")
    return sorted(names)


def _pickle_advice(path: Path) -> str:
    return (
        f"{path} is a pickle, which can run any code when it is read, so it is refused; convert it "
        "where that does no harm: safetensors.torch.save_file(torch.load(path, weights_only=True), "
        "'model.safetensors')"
    )


def check_header(path: Path) -> list[str]:
    """Return the names of the tensors of a safetensors file, whose sizes must fill it exactly.

    Raises ValueError, before a large header is read, for anything that safetensors does not mean.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise ValueError(
                f"{path} is no safetensors file of ours: a header of {length} bytes in a file of "
                f"{size}, at most {MAX_HEADER_BYTES} are allowed; fetch it again"
            )
        raw = file.read(length)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        if len(header) > MAX_TENSORS:
            raise ValueError(f"{len(header)} tensors, {MAX_TENSORS} allowed")
        _check_layout(header, size - 8 - length)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} has a wrong header ({error}); fetch it again") from error
    return list(header)


def _check_layout(header: dict[str, Any], num_bytes: int) -> None:
    """Check that the tensors follow each other without gap or overlap to the end of the file."""
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        shape = entry["shape"]
        if not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError(f"{name} has shape {shape}")
        wanted = torch.Size(shape).numel() * _SIZES[entry["dtype"]]
        if begin != end or stop - begin != wanted:
            raise ValueError(f"{name} takes bytes {begin} to {stop}, {end} to {end + wanted} meant")
        end = stop
    if end != num_bytes:
        raise ValueError(f"tensors end at {end}, the file at {num_bytes}")
