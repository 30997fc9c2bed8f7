"""Checks of the user's own, named as module:Class."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from pipeline.audit.finding_store import FindingStore
from pipeline.audit.findings import Check, Finding
from pipeline.audit.index import AuditIndex
from pipeline.execution.plugins import load_own


class AuditCheck(Protocol):
    """A check of your own, run by `jobs/audit.py dataset/ --check module:Class`.

    The class is built without arguments. Its findings are counted, shown, waived and repaired as
    all others are.

    Attributes:
        check: id, title, why and remedy; made by `warning`, `error` or `note` of
            `pipeline.audit.findings`. The id must be new.
        needs: the "table.column"s that it reads; without one of them it is said to be unchecked.
            The first names the table whose rows are counted as checked.
    """

    check: Check
    needs: Sequence[str]

    def find(self, index: AuditIndex) -> Iterable[Finding]:
        """Yield findings, made by `found`; `index.rows(sql)` asks the light tables in DuckDB."""
        ...


def load_checks(names: Iterable[str]) -> tuple[AuditCheck, ...]:
    """Import and build checks. Raises ValueError naming the one that cannot be used."""
    return tuple(load_own("--check", name, ("check", "needs", "find")) for name in names)


def run_own_checks(index: AuditIndex, findings: FindingStore, own: Iterable[AuditCheck]) -> None:
    """Run the user's checks. Raises ValueError when an id is taken."""
    for each in own:
        if each.check.id in findings.checks:
            raise ValueError(f"--check: the id {each.check.id!r} is taken; give the check another")
        missing = findings.missing(each.needs)
        if missing:
            findings.skip([each.check], missing)
        else:
            rows = index.count(each.needs[0].split(".")[0])
            findings.record([each.check], each.find(index), rows)
