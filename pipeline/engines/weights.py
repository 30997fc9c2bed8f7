"""Weights by name: where a file lies, whether it is the file that is meant, who may use it.

Every file is looked for in the folders of CONTEXTANYONE_MODELS, then in ~/.cache. Nothing here
opens a connection: `pipeline.engines.fetch` does, when it is asked to.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.engines.interfaces import EngineInfo, SimilarityWindows

FOLDERS = "CONTEXTANYONE_MODELS"  # environment: folders, separated as in PATH
LOCK = "models.lock.json"  # beside the weights: sha256 of files whose hash the registry lacks
PICKLED = (".pt", ".pth", ".bin", ".ckpt")  # loading one can run code
POLICIES = ("commercial", "research")
_BLOCK = 1 << 20
_REGISTRY = Path(__file__).with_name("models.yaml")

# What to choose where a task's engine is missing or its licence does not fit.
EMBEDDED = {
    "person_detection": "observe.engines.people: opencv",
    "face_detection": "observe.engines.faces: opencv",
    "face_pose": "observe.engines.faces: scrfd (yaw from five points) or opencv",
    "recognition": "observe.engines.recogniser: appearance",
    "face_recognition": "observe.engines.recogniser: appearance",
    "body_recognition": "observe.engines.recogniser: arcface (faces only) or appearance",
    "segmentation": "observe.engines.masks: grabcut",
    "captioning": "pair.engines.captions: attributes",
}
PERMISSIVE = EMBEDDED | {
    "person_detection": "observe.engines.people: yolox (Apache-2.0) or opencv",
    "face_detection": "observe.engines.faces: yunet (MIT) or opencv",
    "recognition": "observe.engines.recogniser: dlib_appearance (CC0), sface_appearance "
    "(Apache-2.0) or appearance",
    "segmentation": "observe.engines.masks: selfie_pose or selfie (Apache-2.0), matting (MIT) "
    "or grabcut",
}


@dataclass(frozen=True)
class WeightsEntry:
    """One entry of the registry."""

    name: str
    task: str
    engine: str
    source: str
    file: str  # relative to a folder of weights
    licence: str
    commercial: bool
    url: str = ""
    member: str = ""  # of the zip file at `url`
    sha256: str = ""
    size: int = 0  # bytes, 0 where unknown
    windows: Mapping[str, Any] = field(default_factory=dict)  # cosines by name
    note: str = ""

    def __post_init__(self) -> None:
        if PurePosixPath(self.file).is_absolute() or ".." in PurePosixPath(self.file).parts:
            raise ValueError(f"{self.name}: file must lie in the folder of weights: {self.file!r}")
        if self.url and not self.url.startswith("https://"):
            raise ValueError(f"{self.name}: url must begin with https://, got {self.url!r}")
        if self.sha256 and (len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef")):
            raise ValueError(f"{self.name}: sha256 must be 64 hex digits, got {self.sha256!r}")

    @property
    def pickled(self) -> bool:
        return self.file.endswith(PICKLED)


@dataclass(frozen=True)
class Found:
    """Weights that lie here and are what they should be."""

    weights: WeightsEntry
    path: Path
    sha256: str

    @property
    def windows(self) -> SimilarityWindows:
        """The similarity windows of these weights."""
        if not self.weights.windows:
            raise ValueError(f"{self.weights.name} is no recogniser: models.yaml has no windows")
        return SimilarityWindows(**self.weights.windows)


@cache
def registry() -> Mapping[str, WeightsEntry]:
    """Return every entry by name, in the order of preference."""
    import yaml

    rows = yaml.safe_load(_REGISTRY.read_text(encoding="utf-8"))
    return {name: WeightsEntry(name=name, **row) for name, row in rows.items()}


def entry(name: str) -> WeightsEntry:
    """Return one entry. Raises ValueError naming those that exist."""
    if name not in registry():
        raise ValueError(f"no weights {name!r}; the registry has {', '.join(registry())}")
    return registry()[name]


def folders() -> list[Path]:
    """Return where weights are looked for, first come first served."""
    named = [part for part in os.environ.get(FOLDERS, "").split(os.pathsep) if part]
    return [Path(part).expanduser() for part in named] + [default_folder()]


def use_folder(folder: str | os.PathLike) -> None:
    """Look into this folder first, here and in the workers. ValueError when there is none."""
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise ValueError(f"the folder of weights {str(folder)!r} does not exist")
    others = os.environ.get(FOLDERS, "")
    os.environ[FOLDERS] = os.pathsep.join(part for part in (str(path), others) if part)


def default_folder() -> Path:
    cache_home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache_home).expanduser() / "contextanyone" / "models"


def locate(weights: WeightsEntry) -> Path | None:
    """Return the first file of that name, unchecked."""
    for folder in folders():
        path = folder / weights.file
        if path.is_file():
            return path
    return None


def find(name: str) -> Found:
    """Return checked weights by name. Raises ValueError that says what to do."""
    return _checked([entry(name)], EMBEDDED.get(entry(name).task, "another engine"))


def find_for(engine: str, task: str) -> Found:
    """Return the first weights that `engine` reads for `task` and that lie here, checked.

    Raises ValueError saying which would do, where they come from, and what works without.
    """
    wanted = [each for each in registry().values() if (each.engine, each.task) == (engine, task)]
    if not wanted:
        raise ValueError(f"the registry has no weights for {engine} ({task})")
    return _checked(wanted, EMBEDDED.get(task, "another engine"))


def _checked(wanted: list[WeightsEntry], instead: str) -> Found:
    for weights in wanted:
        path = locate(weights)
        if path is not None:
            return Found(weights, path, verified(weights, path))
    places = ", ".join(map(str, folders()))
    lines = [f"weights are missing: none of the files below is in {places}"]
    lines += [f"  {_describe(each)}" for each in wanted]
    lines.append(f"put one there ({FOLDERS} names further folders), or choose {instead}")
    raise ValueError("\n".join(lines))


def _describe(weights: WeightsEntry) -> str:
    use = "commercial use allowed" if weights.commercial else "no commercial use"
    get = (
        f"jobs/models.py fetch {weights.name}" if weights.url else f"by hand from {weights.source}"
    )
    return f"{weights.file}: {weights.licence} ({use}), {get}"


def verified(weights: WeightsEntry, path: Path) -> str:
    """Return the SHA-256 of the file; raises ValueError unless it is the one that is meant.

    Without a hash in the registry the lock file beside the weights decides. Pickled weights that
    neither knows are refused; others hold data only, and their own hash names them.
    """
    seen = digest_of_file(path)
    expected = weights.sha256 or read_lock(path.parent).get(path.name, "")
    if expected and seen != expected:
        raise ValueError(
            f"{path} is not {weights.name}: its SHA-256 is {seen}, expected {expected}; "
            f"remove it and get it again from {weights.source}"
        )
    if not expected and weights.pickled:
        raise ValueError(
            f"{path} is pickled, which can run code, and nothing vouches for its SHA-256 {seen}; "
            f"compare it with {weights.source}, then: jobs/models.py check --trust {weights.name}"
        )
    return seen


def digest_of_file(path: Path) -> str:
    """Return the SHA-256, in hex; a file is read once per process while it does not change."""
    found = path.stat()
    return _digest(str(path), found.st_size, found.st_mtime_ns)


@cache
def _digest(path: str, size: int, changed_ns: int) -> str:
    del size, changed_ns  # part of the cache's key only
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_lock(folder: Path) -> dict[str, str]:
    """Return SHA-256 by file name. Raises ValueError for a lock file that is none."""
    path = folder / LOCK
    if not path.is_file():
        return {}
    try:
        rows: Any = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(row["sha256"]) for name, row in rows.items()}
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove it and pin again") from error


def pin(path: Path) -> str:
    """Record the file's SHA-256 in the lock file beside it; return it."""
    seen = digest_of_file(path)
    rows = {name: {"sha256": sha256} for name, sha256 in read_lock(path.parent).items()}
    rows[path.name] = {"sha256": seen}
    written = path.parent / f".{LOCK}.{os.getpid()}"
    written.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    written.replace(path.parent / LOCK)
    return seen


def check_licences(infos: Iterable[EngineInfo], policy: str) -> None:
    """Refuse engines whose licence does not fit the policy, commercial or research."""
    if policy not in POLICIES:
        raise ValueError(f"licence policy must be one of {', '.join(POLICIES)}, got {policy!r}")
    if policy == "research":
        return
    refused = [info for info in infos if not info.commercial]
    if refused:
        lines = [f"{len(refused)} engines may not be used commercially:"]
        for info in refused:
            instead = PERMISSIVE.get(info.task, "an engine with a permissive licence")
            lines.append(f"  {info.task} by {info.id} ({info.licence}); use {instead}")
        lines.append("or set the licence policy to research, if that is what you do")
        raise ValueError("\n".join(lines))
