"""What `jobs/models.py` prints: the registry, what lies here, what a choice of engines needs."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.engines.engines_config import EngineSet
from pipeline.engines.fetch import Opener, fetch, open_https
from pipeline.engines.registry import engine_infos, missing_weights
from pipeline.engines.weights import (
    WeightsEntry,
    check_licences,
    entry,
    folders,
    locate,
    pin,
    registry,
    verified,
)

OK, INCOMPLETE = 0, 1


def list_weights() -> int:
    """Print every entry: licence, commercial use, size, and whether it is here and right."""
    print(f"{'name':22}{'task':18}{'MB':>8}  {'commercial':12}{'here':10}licence")
    for weights in registry().values():
        size = f"{weights.size / 1e6:.1f}" if weights.size else "?"
        use = "yes" if weights.commercial else "NO"
        print(
            f"{weights.name:22}{weights.task:18}{size:>8}  {use:12}{_state(weights):10}"
            f"{weights.licence}"
        )
    print(f"looked for in: {', '.join(map(str, folders()))}")
    return OK


def _state(weights: WeightsEntry) -> str:
    path = locate(weights)
    if path is None:
        return "fetch" if weights.url else "by hand"
    try:
        verified(weights, path)
    except ValueError:
        return "WRONG"
    return "yes"


def fetch_weights(
    names: Sequence[str], folder: Path | None, trust: bool, opener: Opener = open_https
) -> int:
    """Fetch by name into `folder`, or into the first folder that is looked in."""
    target = folder or folders()[0]
    for weights in [entry(name) for name in names]:
        use = "commercial use allowed" if weights.commercial else "NO commercial use"
        print(f"{weights.name}: {weights.licence} ({use}), from {weights.source}", flush=True)
        path, sha256 = fetch(weights, target, opener, trust)
        print(f"  {path} ({path.stat().st_size / 1e6:.1f} MB, SHA-256 {sha256})")
    return OK


def check_engines(engines: EngineSet, policy: str) -> int:
    """Check every file that the engines read, then load them; say what is wrong."""
    wrong = missing_weights(engines.chosen)
    for text in wrong:
        print(text)
    if wrong:
        return INCOMPLETE
    infos = engine_infos(engines.chosen)
    for info in infos:
        use = "commercial use allowed" if info.commercial else "NO commercial use"
        print(f"{info.task:17} {info.id:44} {info.licence} ({use})")
    check_licences(infos, policy)
    return OK


def trust_weights(name: str) -> int:
    """Pin the file that lies here under this name: its user vouches for it."""
    weights = entry(name)
    path = locate(weights)
    if path is None:
        raise ValueError(f"{weights.file} is in none of {', '.join(map(str, folders()))}")
    if weights.sha256:
        print(f"{path}: SHA-256 {verified(weights, path)}, as the registry says")
    else:
        print(f"{path}: SHA-256 {pin(path)}, pinned")
    return OK
