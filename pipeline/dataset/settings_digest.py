"""Settings as a dataset records them: their digest, and how two differ."""

from typing import Any

from pipeline.dataset.commit import digest_of


def settings_digest(settings: dict[str, Any]) -> str:
    return digest_of([settings])


def differing_keys(ours: Any, theirs: Any, prefix: str = "") -> list[str]:
    """Return dotted names whose values differ, each with both values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key in sorted({*ours, *theirs}):
            found += differing_keys(ours.get(key), theirs.get(key), f"{prefix}{key}.")
        return found
    ours, theirs = (list(one) if isinstance(one, tuple) else one for one in (ours, theirs))
    return [] if ours == theirs else [f"{prefix[:-1]}: now {ours!r}, then {theirs!r}"]
