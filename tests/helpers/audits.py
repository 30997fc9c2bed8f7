"""Audit a dataset in a test, and look at what came out."""

from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from faults import Copy

from pipeline.audit.findings import Finding
from pipeline.audit.run import AuditConfig, audit, read_lists


@contextmanager
def audited(folder: Path | str, *, media: bool = False, **settings):
    """Audit a folder; columns only unless `media`."""
    with audit(str(folder), AuditConfig(media=media, **settings)) as done:
        yield done


def findings(folder: Path | str, *, media: bool = False, **settings) -> list[Finding]:
    with audited(folder, media=media, **settings) as done:
        return list(done.findings.all())


def counted(rows: list[Finding], *severities: str) -> Counter[str]:
    """Count findings per check, of all severities or of some."""
    return Counter(row.check for row in rows if not severities or row.severity in severities)


def of_copy(copy: Copy, *, media: bool) -> list[Finding]:
    """Audit a dataset with a planted fault, with the lists that the fault needs."""
    names = ("opt_out", "held_out", "known_bad")
    lists = read_lists(**{name: copy.extra.get(name, []) for name in names})
    return findings(copy.folder, media=media, lists=lists)
