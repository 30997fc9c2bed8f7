"""Corrections as a person would write them, a second apart."""

from dataclasses import replace
from typing import Any

from schemas.corrections import Correction

_FIRST = 1_000


def decision(kind: str, *people: str, after_s: int = 0, **fields: Any) -> Correction:
    """Return a correction; each of `people` holds track ids separated by spaces."""
    at = _FIRST + after_s
    when = f"2026-11-26T{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}Z"
    lists = tuple(tuple(tracks.split()) for tracks in people)
    return Correction(kind, lists, "ana", when, **fields)


def in_turn(*corrections: Correction) -> list[Correction]:
    """Return the corrections as if one was made a second after the other."""
    times = (decision("merge", "a b", after_s=after_s).at for after_s in range(len(corrections)))
    return [replace(each, at=at) for each, at in zip(corrections, times, strict=True)]
