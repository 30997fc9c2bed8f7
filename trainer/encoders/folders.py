"""Where weights come from: a folder or a hub repository, safetensors only, and no code."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WEIGHTS = "*.safetensors"
_PATTERNS = ("*.json", "*.txt", "*.model", WEIGHTS)  # of a hub repository; never code or pickles
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_INDEX = "model_index.json"  # of a whole repository: which experts it has
_TIMEOUT_S = 10.0


def find_folder(
    path: str,
    subfolders: Sequence[str],
    what: str,
    local_only: bool = False,
    setting: str = "encoders.path",
) -> Path:
    """Return the folder that holds `what`: the first of the subfolders, '' being `path` itself.

    A `path` that is no folder here is a hub repository; only data files are fetched from it.
    """
    names = " or ".join(f"{name}/config.json" if name else "config.json" for name in subfolders)
    advice = f"set {setting} to a folder or hub id with {names} and *.safetensors beside it"
    if not path:
        raise ValueError(f"{what} needs weights, and {setting} is ''; {advice}")
    root = Path(path).expanduser()
    for name in subfolders:
        if root.is_dir():
            folder = root / name
        else:
            folder = _fetch(path, name, f"{what} cannot be had from {path!r}", advice, local_only)
        if (folder / "config.json").is_file() or (folder / "tokenizer_config.json").is_file():
            return folder
    seen = "nothing there"
    if root.is_dir():
        seen = ", ".join(sorted(entry.name for entry in root.iterdir())[:10]) or "an empty folder"
    raise ValueError(f"{what} not found in {path}: saw {seen}; {advice}")


def _fetch(path: str, name: str, failed: str, advice: str, local_only: bool) -> Path:
    """Return the local copy of a hub repository's subfolder, fetching it when allowed."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    silence = ""
    try:
        silence = "encoders.local_files_only is set" if local_only else _silence(path)
        root = snapshot_download(
            path,
            allow_patterns=[_INDEX, *(f"{name}/{end}" if name else end for end in _PATTERNS)],
            ignore_patterns=None if name else ["*/*"],  # a * of the hub's crosses folders
            local_files_only=bool(silence),
        )
    except HFValidationError as error:
        raise ValueError(f"{failed}: there is no such folder; {advice}") from error
    except Exception as error:  # each transport of the hub's client fails with its own classes
        hub = f"not in the hub's cache and not fetched ({silence or type(error).__name__})"
        raise ValueError(f"{failed}: there is no such folder, and it is {hub}; {advice}") from error
    return Path(root) / name


def _silence(path: str) -> str:
    """Return why the hub cannot be reached, '' when it can.

    A hub that takes the connection and says nothing would hold snapshot_download for minutes.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        HfApi().repo_info(path, timeout=_TIMEOUT_S)
    except HFValidationError:
        raise
    except Exception as error:  # as above
        return type(error).__name__
    return ""


def check_folder(folder: Path, weights: bool = True) -> None:
    """Refuse a folder with code, and one whose weights are pickles."""
    code = sorted(file.name for file in folder.rglob("*.py"))
    if code:
        raise ValueError(
            f"{folder} holds code ({', '.join(code[:3])}); a folder of weights may hold only "
            f"*.json, *.txt, *.model and *.safetensors; remove the code, it is never run"
        )
    if weights and not any(folder.glob(WEIGHTS)):
        other = sorted(file.name for kind in _PICKLES for file in folder.glob(kind))
        seen = f"only {', '.join(other[:3])}" if other else "none"
        raise ValueError(
            f"{folder} must hold its weights as *.safetensors, it has {seen}; pickled weights can "
            f"run code when read: convert them with safetensors.torch.save_file in a sandbox"
        )


def load_weights(load: Callable[..., Any], folder: Path, **options: Any) -> Any:
    """Call a `from_pretrained` on a checked folder; every parameter must be in the file."""
    check_folder(folder)
    try:
        model, report = load(
            str(folder),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # whatever is wrong with the files, the folder is what to look at
        raise ValueError(
            f"weights of {folder} cannot be read ({type(error).__name__}: {str(error)[:300]}); "
            f"expected config.json and safetensors of one model; fetch the folder again"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"weights of {folder} lack {len(missing)} parameters ({', '.join(missing[:3])}); the "
            f"file must hold all that its config.json describes; fetch the folder again"
        )
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer's tables from a folder without code."""
    from transformers import AutoTokenizer

    check_folder(folder, weights=False)
    try:
        return AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # as above
        raise ValueError(
            f"tokenizer of {folder} cannot be read ({type(error).__name__}: {str(error)[:300]}); "
            f"expected tokenizer.json or spiece.model beside its config; fetch the folder again"
        ) from error


@functools.cache
def digest_of(folder: Path, kinds: tuple[str, ...] = ("config.json", WEIGHTS)) -> str:
    """Return a hash of the contents of the folder's files of these kinds, read as a stream."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted({file for kind in kinds for file in folder.glob(kind)}):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").digest()
        digest.update(file.name.encode() + b"\0" + content)
    return digest.hexdigest()
