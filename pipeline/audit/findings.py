"""What a check is, what it found, and what it could not look at."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import pyarrow as pa

from schemas.columns import column, to_table


class Severity(StrEnum):
    """How bad a finding is. Errors make the audit fail; notes are for information."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Action(StrEnum):
    """What `--fix` does about a finding."""

    DROP = "drop"  # the sample is left out
    TAG = "tag"  # the sample stays and is marked
    SPLIT = "split"  # whole connected groups are put into one split
    NONE = ""  # nothing that a program should do


@dataclass(frozen=True)
class Check:
    """One thing that is checked. The id is stable: waivers and other tools refer to it."""

    id: str  # group.name
    severity: Severity
    title: str
    why: str  # what goes wrong when it is ignored
    remedy: str  # what to do
    action: Action = Action.NONE

    @property
    def group(self) -> str:
        return self.id.split(".", 1)[0]


def error(id: str, title: str, why: str, remedy: str, action: Action = Action.DROP) -> Check:
    """Return a check whose findings must not be trained on."""
    return Check(id, Severity.ERROR, title, why, remedy, action)


def warning(id: str, title: str, why: str, remedy: str, action: Action = Action.TAG) -> Check:
    """Return a check whose findings a person should look at."""
    return Check(id, Severity.WARNING, title, why, remedy, action)


def note(id: str, title: str, why: str, remedy: str) -> Check:
    """Return a check that is for information only."""
    return Check(id, Severity.NOTE, title, why, remedy, Action.NONE)


_TEXT = pa.string()


@dataclass(frozen=True)
class Finding:
    """One row of `findings.parquet`."""

    check: str = column(_TEXT, "id of the check")
    severity: str = column(_TEXT, "error | warning | note")
    level: str = column(_TEXT, "dataset | file | video | clip | track | character | reference | …")
    id: str = column(_TEXT, "id at that level, or a path")
    evidence: str = column(_TEXT, "what was seen, in one line")
    sample_id: str = column(_TEXT, "the sample concerned, '' when it is not one", default="")
    value: float | None = column(pa.float64(), "what was measured", default=None)
    threshold: float | None = column(pa.float64(), "what is allowed", default=None)
    waived: str = column(_TEXT, "reason of the waiver that covers it, '' without", default="")


def found(
    check: Check,
    level: str,
    id: str,
    evidence: str,
    sample_id: str = "",
    value: float | None = None,
    threshold: float | None = None,
) -> Finding:
    """Return a finding of a check."""
    own = id if level == "sample" and not sample_id else sample_id
    return Finding(check.id, str(check.severity), level, id, evidence, own, value, threshold)


def findings_table(rows: Iterable[Finding]) -> pa.Table:
    return to_table(rows, Finding)


@dataclass
class Coverage:
    """Which checks ran, over how many rows, and which did not, because of what."""

    checked: dict[str, int] = field(default_factory=dict)  # check id -> rows
    not_checked: dict[str, str] = field(default_factory=dict)  # check id or topic -> because

    def ran(self, checks: Iterable[Check], rows: int) -> None:
        for check in checks:
            self.checked[check.id] = self.checked.get(check.id, 0) + rows

    def skip(self, checks: Iterable[Check], because: str) -> None:
        for check in checks:
            if check.id not in self.checked:
                self.not_checked[check.id] = because
