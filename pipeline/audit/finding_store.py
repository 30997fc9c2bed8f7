"""All findings of an audit, in the index's own database: any number of them, in little memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pipeline.audit.findings import Check, Coverage, Finding, Severity, findings_table
from pipeline.audit.index import AuditIndex
from schemas.columns import schema_of

_BATCH = 5000
_COLUMNS = ", ".join(f'"{column.name}"' for column in fields(Finding))
_ERRORS_FIRST = "array_position(['error', 'warning', 'note'], severity), \"check\", id, sample_id"


@dataclass(frozen=True)
class Query:
    """A check in SQL. It selects id, sample_id, evidence, value, threshold; any may be NULL.

    `needs` names the "table.column"s without which it cannot run, and `over` the table whose
    rows it checks. Thresholds are DuckDB variables: getvariable('floor').
    """

    check: Check
    level: str
    sql: str
    needs: tuple[str, ...]
    over: str


@dataclass
class FindingStore:
    """The findings of one audit, the checks that were considered, and what each of them covered."""

    index: AuditIndex
    coverage: Coverage = field(default_factory=Coverage)
    checks: dict[str, Check] = field(default_factory=dict)  # every check that was considered
    _buffer: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.index.db.register("_none", schema_of(Finding).empty_table())
        self.index.db.execute("CREATE OR REPLACE TABLE findings AS SELECT * FROM _none")
        self.index.db.unregister("_none")

    def register(self, checks: Iterable[Check]) -> None:
        """Remember checks, so that the report can say that they were clean."""
        for check in checks:
            self.checks.setdefault(check.id, check)

    def record(self, checks: Sequence[Check], findings: Iterable[Finding], rows: int) -> None:
        """Add what checks found among so many rows."""
        self.register(checks)
        self.add(findings)
        self.coverage.ran(checks, rows)

    def skip(self, checks: Sequence[Check], because: str) -> None:
        """Note checks that cannot run."""
        self.register(checks)
        self.coverage.skip(checks, because)

    def add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._buffer.append(finding)
            if len(self._buffer) >= _BATCH:
                self.flush()
        self.flush()

    def flush(self) -> None:
        if self._buffer:
            self.index.insert("findings", findings_table(self._buffer))
            self._buffer.clear()

    def run_queries(self, queries: Iterable[Query], variables: Mapping[str, Any]) -> None:
        """Run every query whose columns are there; the others are noted as not checked."""
        for name, value in variables.items():
            self.index.db.execute(f"SET VARIABLE {name} = {_literal(value)}")
        for query in queries:
            self.register([query.check])
            missing = self.missing(query.needs)
            if missing:
                self.skip([query.check], missing)
                continue
            self.index.db.execute(
                "INSERT INTO findings BY NAME SELECT ? AS 'check', ? AS severity, ? AS level,"
                " coalesce(q.id, '') AS id, q.evidence AS evidence,"
                " coalesce(q.sample_id, '') AS sample_id, q.value::DOUBLE AS value,"
                f" q.threshold::DOUBLE AS threshold, '' AS waived FROM ({query.sql}) q",
                [query.check.id, str(query.check.severity), query.level],
            )
            self.coverage.ran([query.check], self.index.count(query.over))

    def missing(self, needs: Iterable[str]) -> str:
        """Say which "table.column"s the dataset lacks, '' when all are there."""
        missing = [name for name in needs if not self.index.has(name)]
        if len(missing) < 4:
            return f"the dataset has no {', '.join(missing)}" if missing else ""
        tables = sorted({name.split(".")[0] for name in missing})
        return f"the dataset has no table {', '.join(tables)}"

    def counts(self) -> dict[str, int]:
        """Return the number of findings per check, without the waived ones."""
        sql = "SELECT \"check\", count(*) FROM findings WHERE waived = '' GROUP BY 1 ORDER BY 1"
        return dict(self.index.rows(sql))

    def by_severity(self) -> dict[str, int]:
        sql = "SELECT severity, count(*) FROM findings WHERE waived = '' GROUP BY 1"
        counted = dict(self.index.rows(sql))
        return {str(severity): counted.get(str(severity), 0) for severity in Severity}

    def examples(self, check: str, limit: int) -> list[Finding]:
        """Return the first findings of a check: the worst value first, then by id."""
        sql = (
            f"SELECT {_COLUMNS} FROM findings WHERE \"check\" = ? AND waived = ''"
            " ORDER BY abs(coalesce(value - threshold, 0)) DESC, sample_id, id LIMIT ?"
        )
        return [Finding(*row) for row in self.index.rows(sql, [check, limit])]

    def all(self) -> Iterator[Finding]:
        """Yield every finding, errors first."""
        for row in self.index.rows(f"SELECT {_COLUMNS} FROM findings ORDER BY {_ERRORS_FIRST}"):
            yield Finding(*row)

    def write(self, path: Path) -> None:
        """Write `findings.parquet`, errors first."""
        target = str(path).replace("'", "''")
        self.index.db.execute(
            f"COPY (SELECT * FROM findings ORDER BY {_ERRORS_FIRST}) TO '{target}'"
            " (FORMAT parquet, COMPRESSION zstd)"
        )


def _literal(value: Any) -> str:
    if value is None:
        return "NULL::DOUBLE"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{float(value)!r}::DOUBLE"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_literal, value))}]::VARCHAR[]"
    return "'" + str(value).replace("'", "''") + "'"
