"""Find folders of models on this machine, refuse those that could run code, and digest them.

Nothing is fetched: a name of a hub is looked up in the hub's cache only.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.engines.weights import FOLDERS, digest_of_file, folders

MAX_HEADER_BYTES = 16 << 20  # of a safetensors file; real ones have below 1 MB
# Licence, and whether it allows commercial use, of models by the beginnings of their hub's names.
_LICENCES = {
    "PekingU/rtdetr": ("Apache-2.0", True),
    "ustc-community/dfine": ("Apache-2.0", True),
    "facebook/sam2": ("Apache-2.0", True),
}
_PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")


def find_model_folder(name: str, purpose: str) -> Path:
    """Return the checked folder of a model given by path, by name in the models' folder, or by hub.

    `purpose` ends the message when there is none, e.g. "captions=attributes needs no weights".
    """
    places = [Path(name).expanduser(), *(folder / name for folder in folders())]
    for place in places:
        if place.is_dir():
            return check_model_folder(place)
    cached = _from_hub_cache(name)
    if cached is not None:
        return check_model_folder(cached)
    looked = ", ".join(str(place) for place in places)
    raise ValueError(
        f"model {name!r} was not found: no folder {looked}, and not in the hub's cache. Fetch it "
        f"first (for example `hf download {name}`) or set {FOLDERS}. {purpose}"
    )


def licence_of(name: str) -> tuple[str, bool]:
    """Return a model's licence, and whether it allows commercial use, by its hub's name."""
    known = (terms for start, terms in _LICENCES.items() if name.startswith(start))
    return next(known, ("not stated", False))


def _from_hub_cache(name: str) -> Path | None:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, HFValidationError):  # LocalEntryNotFoundError is a FileNotFoundError
        return None


def check_model_folder(folder: Path) -> Path:
    """Refuse a folder with code, with pickled weights, or without sound safetensors."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    code = [path for path in files if path.suffix == ".py"]
    if code:
        raise ValueError(f"{code[0]} is code beside a model, which is never run; use a clean copy")
    pickled = [path for path in files if path.suffix in _PICKLED]
    if pickled:
        raise ValueError(
            f"{pickled[0]} is a pickle, which can run code; keep only safetensors in {folder}"
        )
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights:
        raise ValueError(f"{folder} holds no .safetensors; other kinds of weights are not read")
    for path in weights:
        _check_header(path)
    for path in files:
        if path.suffix == ".json":
            _check_settings(path)
    return folder


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, path.stat().st_size - 8):
        raise ValueError(
            f"{path} is damaged or hostile: its header says {length} bytes, at most "
            f"{MAX_HEADER_BYTES} and the file's size are allowed"
        )


def _check_settings(path: Path) -> None:
    """Refuse settings that name code to be fetched, anywhere in any JSON file but an index."""
    if path.name.endswith(".index.json") or path.stat().st_size > MAX_HEADER_BYTES:
        return
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if any(part.get("auto_map") for part in _objects(settings)):
        raise ValueError(f"{path} has auto_map, which names code to run; such models are not used")


def _objects(settings: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON value, however deep: parts of a model have settings too."""
    if isinstance(settings, dict):
        yield settings
    if isinstance(settings, dict | list):
        for part in settings.values() if isinstance(settings, dict) else settings:
            yield from _objects(part)


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 over names and bytes of all weights and settings, in order of names."""
    total = hashlib.sha256()
    kinds = (".safetensors", ".json", ".txt", ".model", ".jinja")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in kinds:
            total.update(f"{path.relative_to(folder)}\0{digest_of_file(path)}\n".encode())
    return total.hexdigest()
