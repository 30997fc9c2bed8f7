"""Corrections: does the dataset obey what people decided, and what does each still speak of?"""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from pipeline.audit.dataset import Dataset
from pipeline.audit.finding_store import FindingStore
from pipeline.audit.findings import Action, Finding, error, found, note, warning
from pipeline.audit.index import AuditIndex
from pipeline.dataset.correction_states import State, standings
from pipeline.dataset.corrections import CORRECTIONS, read_corrections
from pipeline.dataset.decided import Decided
from schemas.corrections import IDENTITY, Correction

WAITING = warning(
    "correction.waiting", "A correction is not obeyed yet",
    "What a person saw to be wrong is still trained on.",
    "Curate again, which decodes nothing, or let --fix obey it.", Action.NONE,
)  # fmt: skip
STALE = note(
    "correction.stale", "A correction no longer applies",
    "What it speaks of is gone, or a later decision says otherwise.",
    "Look at it in jobs/browse.py, #/corrections, and decide again or take it back.",
)  # fmt: skip
UNREADABLE = error(
    "correction.unreadable", "corrections.jsonl cannot be read",
    "Nothing of it is obeyed, and curation stops at it.",
    "Mend or delete the line.", Action.NONE,
)  # fmt: skip
CHECKS = (WAITING, STALE, UNREADABLE)
_DAMAGE = (pa.ArrowException, OSError, ValueError)


def read_decisions(dataset: Dataset, findings: FindingStore) -> tuple[Correction, ...]:
    """Return the corrections of a dataset; none, and a finding, where they cannot be read."""
    findings.register(CHECKS)
    try:
        return read_corrections(dataset.store)
    except ValueError as problem:
        findings.add([found(UNREADABLE, "file", CORRECTIONS, str(problem)[:200])])
        return ()


def check_corrections(
    dataset: Dataset, corrections: Sequence[Correction], findings: FindingStore
) -> None:
    """Find the corrections that this version does not obey."""
    if corrections and dataset.manifest is None:
        findings.skip(CHECKS, "there is no manifest, so no version that could obey")
        return
    try:
        rows = list(_unobeyed(dataset, corrections))
    except _DAMAGE as problem:
        findings.skip(CHECKS, f"files are damaged: {' '.join(str(problem).split())[:120]}")
        return
    findings.record(CHECKS, rows, len(corrections))


def _unobeyed(dataset: Dataset, corrections: Sequence[Correction]) -> Iterator[Finding]:
    if dataset.manifest is None:
        return
    for each in standings(corrections, dataset.manifest, dataset.store):
        if each.state == State.HOLDS:
            continue
        made = each.correction
        level, id = "track", made.tracks[0]
        if made.reference_id:
            level, id = "reference", made.reference_id
        check = WAITING if each.state == State.WAITS else STALE
        what = "who is who" if made.kind in IDENTITY else made.kind
        yield found(check, level, id, f"{what}, {made.kind} by {made.by}, {made.at}: {each.detail}")


# Whether a person decided that a reference shows the one of its sample: no cosine is asked then.
SAME_BY_DECISION = (
    "EXISTS (SELECT 1 FROM decided a JOIN decided b USING (person)"
    " WHERE a.track_id = {0} AND b.track_id = {1})"
)


def store_decided(decided: Decided, index: AuditIndex) -> None:
    """Make the tables `decided` (track_id, person, confirmed) and `told_apart` (one, other)."""
    people = [
        (id, number, id in decided.confirmed)
        for number, ids in enumerate(decided.people)
        for id in ids
    ]
    pairs = [pair for a, b in decided.apart for pair in ((a, b), (b, a))]
    tables = {
        "decided": (
            {"track_id": pa.string(), "person": pa.int64(), "confirmed": pa.bool_()},
            people,
        ),
        "told_apart": ({"one": pa.int64(), "other": pa.int64()}, pairs),
    }
    for name, (types, rows) in tables.items():
        columns = list(zip(*rows, strict=True)) or [()] * len(types)
        arrays = [
            pa.array(values, type_) for values, type_ in zip(columns, types.values(), strict=True)
        ]
        index.db.register("_rows", pa.table(arrays, names=list(types)))
        index.db.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM _rows")
        index.db.unregister("_rows")
