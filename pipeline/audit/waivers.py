"""Known findings that somebody has accepted, with a reason and a day on which that ends.

A YAML file:

    - check: caption.*            # id of a check; * and ? match
      id: 3f2a*                   # optional: the finding's id or its sample's
      reason: captions are replaced before training
      expires: 2027-03-31
"""

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.audit.finding_store import FindingStore
from pipeline.audit.findings import Action, Finding, found, note, warning
from schemas.files import read_text

EXPIRED = warning(
    "waiver.expired", "A waiver has expired",
    "What was accepted for a time is no longer accepted: its findings count again.",
    "Mend what it waived, or renew it with a reason.", Action.NONE,
)  # fmt: skip
UNUSED = note(
    "waiver.unused", "A waiver covers nothing",
    "It may hide a finding that comes back.", "Delete it from the file.",
)  # fmt: skip
_KEYS = ("check", "id", "reason", "expires")


@dataclass(frozen=True)
class Waiver:
    """One entry of the file."""

    check: str
    reason: str
    expires: datetime.date
    id: str = "*"


def read_waivers(path: str | Path) -> list[Waiver]:
    """Read the file. Raises ValueError naming the entry and what it lacks."""
    import yaml

    try:
        entries = yaml.safe_load(read_text("--baseline", path, "a YAML file of waivers")) or []
    except yaml.YAMLError as problem:
        raise ValueError(f"{path} is not YAML: {' '.join(str(problem).split())[:200]}") from None
    if not isinstance(entries, list):
        raise ValueError(f"{path} must hold a list of waivers, got {type(entries).__name__}")
    return [_waiver(entry, f"{path}, waiver {n}") for n, entry in enumerate(entries, start=1)]


def _waiver(entry: Any, where: str) -> Waiver:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} must be check, reason and expires, got {entry!r:.80}")
    unknown = sorted(set(map(str, entry)) - set(_KEYS))
    if unknown:
        raise ValueError(f"{where} has unknown keys {unknown}; allowed are {', '.join(_KEYS)}")
    for name in ("check", "reason", "expires"):
        if not entry.get(name):
            raise ValueError(f"{where} lacks {name!r}; check, reason and expires are needed")
    expires = entry["expires"]
    if not isinstance(expires, datetime.date):
        try:
            expires = datetime.date.fromisoformat(str(expires))
        except ValueError:
            raise ValueError(
                f"{where}: expires must be a day such as 2027-03-31, got {expires!r:.40}"
            ) from None
    return Waiver(str(entry["check"]), str(entry["reason"]), expires, str(entry.get("id", "*")))


def apply_waivers(findings: FindingStore, waivers: list[Waiver], today: datetime.date) -> None:
    """Mark the findings that a waiver in force covers; say which waivers are over or unused."""
    findings.register([EXPIRED, UNUSED])
    findings.coverage.ran([EXPIRED, UNUSED], len(waivers))
    findings.add(list(_apply(findings, waivers, today)))


def _apply(
    findings: FindingStore, waivers: list[Waiver], today: datetime.date
) -> Iterator[Finding]:
    covered = '"check" GLOB ? AND (id GLOB ? OR sample_id GLOB ?)'
    for waiver in waivers:
        matched = [waiver.check, waiver.id, waiver.id]
        number = findings.index.value(f"SELECT count(*) FROM findings WHERE {covered}", matched)
        if not number:
            yield found(UNUSED, "waiver", f"{waiver.check} {waiver.id}", waiver.reason)
        elif waiver.expires < today:
            evidence = f"on {waiver.expires}: {waiver.reason}; {number} findings count again"
            yield found(EXPIRED, "waiver", f"{waiver.check} {waiver.id}", evidence)
        else:
            findings.index.db.execute(
                f"UPDATE findings SET waived = ? WHERE {covered} AND waived = ''",
                [f"{waiver.reason} (until {waiver.expires})", *matched],
            )
