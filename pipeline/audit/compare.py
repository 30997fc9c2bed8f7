"""What changed since an older version: rows, identities, distributions, settings, engines."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.audit.dataset import open_dataset
from pipeline.audit.facts import Histogram, histogram
from pipeline.audit.finding_store import FindingStore, Query
from pipeline.audit.findings import Action, Finding, error, found, note, warning
from pipeline.audit.index import AuditIndex, load
from pipeline.audit.run import Audit
from pipeline.dataset.settings_digest import differing_keys
from schemas.manifest import Manifest
from schemas.old_settings import current_settings

STILL_PRESENT = error(
    "change.removed-still-present", "A removed video is still in a table",
    "What was taken out, perhaps because somebody asked, is still used.",
    "Drop the rows; remove a person or video with jobs/forget.py.",
)  # fmt: skip
DRIFT = warning(
    "change.drift", "A distribution has moved",
    "Models trained on the two versions differ for a reason nobody decided on.",
    "Look at the histograms; the settings that changed are listed.", Action.NONE,
)  # fmt: skip
RECOGNISER = warning(
    "change.recogniser", "The recogniser has changed",
    "Similarities and thresholds of the two versions do not compare.",
    "Compare identities by pictures, not by scores.", Action.NONE,
)  # fmt: skip
MERGED = note(
    "change.identity-merged", "Characters were merged", "One of the versions is wrong.",
    "Compare the pictures.",
)  # fmt: skip
DIVIDED = note(
    "change.identity-split", "A character was split", "One of the versions is wrong.",
    "Compare the pictures.",
)  # fmt: skip
CHECKS = (STILL_PRESENT, DRIFT, RECOGNISER, MERGED, DIVIDED)
MOVED = 0.25  # population stability index from which credit scoring calls a shift major
LEAST_ROWS = 50  # of both versions; below, chance alone moves a histogram
_DRIFTING = (
    ("duration_s", "num_frames / nullif(fps, 0)", "samples"), ("motion", "motion", "samples"),
    ("sharpness", "sharpness", "samples"), ("brightness", "brightness", "samples"),
    ("area", "area", "samples"), ("similarity", "similarity", "refs"),
    ("quality", "quality", "refs"),
)  # fmt: skip
_COMPARED = (
    "clip_id", "track_id", "character_id", "split", "caption", "num_frames", "num_references",
)  # fmt: skip
_MOST = 200  # ids listed


@dataclass(frozen=True)
class VersionChange:
    """The difference between two versions; counts are (then, now)."""

    against: str
    totals: dict[str, tuple[int, int]]
    splits: dict[str, tuple[int, int]]
    added: list[str] = field(default_factory=list)  # sample ids, the first of them
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  # "sample: columns"
    counts: dict[str, int] = field(default_factory=dict)  # added, removed, changed samples
    identities: list[str] = field(default_factory=list)
    drift: dict[str, float] = field(default_factory=dict)  # column -> PSI
    settings: list[str] = field(default_factory=list)
    engines: list[str] = field(default_factory=list)
    funnel: list[str] = field(default_factory=list)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[tuple[str, str, str]]:
        """Return what is shown as a table: what, then, now."""
        rows = [(name, f"{a:,}", f"{b:,}") for name, (a, b) in self.totals.items()]
        return rows + [(f"samples in {n}", f"{a:,}", f"{b:,}") for n, (a, b) in self.splits.items()]

    def lists(self) -> list[tuple[str, list[str]]]:
        """Return what is shown as lists: title, lines."""
        drift = [
            f"{name}: stability index {psi:.2f}" + (" (moved)" if psi > MOVED else "")
            for name, psi in sorted(self.drift.items(), key=lambda pair: -pair[1])
        ]
        number = self.counts
        return [
            ("Note", [self.note] if self.note else []),
            (f"Samples added ({number.get('added', 0):,})", self.added),
            (f"Samples removed ({number.get('removed', 0):,})", self.removed),
            (f"Samples changed ({number.get('changed', 0):,})", self.changed),
            ("Identities", self.identities),
            ("Settings", self.settings),
            ("Engines", self.engines),
            ("Funnel", self.funnel),
            ("Distributions", drift),
        ]


def compare(audit: Audit, target: str) -> VersionChange:
    """Compare with an older dataset, or with one version named by its manifest file.

    Files of a version that were swept are not read: the comparison is then one of manifests.
    Raises ValueError when there is nothing at `target`.
    """
    older = open_dataset(target)
    index, findings = audit.index, audit.findings
    load(older, index, prefix="old_")
    findings.register(CHECKS)
    findings.coverage.ran(CHECKS, index.count("samples"))
    then, now = older.manifest, audit.dataset.manifest
    change = VersionChange(
        against=f"{older.name}, version {then.version}" if then else older.name,
        totals=_totals(index, then, now),
        splits=_splits(then, now),
        settings=_settings(then, now),
        engines=_engines(then, now),
        funnel=_funnel(then, now),
    )
    if not index.count("old_samples"):
        note_ = "the older version's samples are gone; manifests were compared"
        change = replace(change, note=note_)
        findings.add(_recogniser(then, now))
        return change
    change = _with_rows(change, index)
    findings.add(_recogniser(then, now))
    findings.add(_drifted(change))
    findings.run_queries(_queries(), {})
    return replace(change, identities=_identity_lines(findings))


def _settings(then: Manifest | None, now: Manifest | None) -> list[str]:
    if then is None or now is None:
        return []
    return differing_keys(current_settings(now.config), current_settings(then.config))


def _totals(
    index: AuditIndex, then: Manifest | None, now: Manifest | None
) -> dict[str, tuple[int, int]]:
    totals = {}
    for table in ("samples", "videos", "clips", "tracks", "embeddings", "rejects"):
        counts = [index.count(f"old_{table}"), index.count(table)]
        if not counts[0] and then:
            counts[0] = _rows(then, table)
        totals[table] = (counts[0], counts[1] if counts[1] or not now else _rows(now, table))
    if index.count("old_samples"):
        sql = "SELECT count(DISTINCT character_id) FROM "
        totals["characters"] = (
            int(index.value(f"{sql} old_samples")), int(index.value(f"{sql} samples"))
        )  # fmt: skip
    return totals


def _rows(manifest: Manifest, table: str) -> int:
    return sum(file.rows for file in manifest.files if file.path.startswith(f"{table}/"))


def _splits(then: Manifest | None, now: Manifest | None) -> dict[str, tuple[int, int]]:
    before, after = (manifest.splits if manifest else {} for manifest in (then, now))
    return {name: (before.get(name, 0), after.get(name, 0)) for name in sorted({*before, *after})}


def _engines(then: Manifest | None, now: Manifest | None) -> list[str]:
    before, after = (
        {
            str(e.get("task")): f"{e.get('id')} {str(e.get('weights_digest'))[:12]}"
            for e in m.engines
        }
        if m
        else {}
        for m in (then, now)
    )
    return [
        f"{task}: then {before.get(task, 'none')}, now {after.get(task, 'none')}"
        for task in sorted({*before, *after})
        if before.get(task) != after.get(task)
    ]


def _funnel(then: Manifest | None, now: Manifest | None) -> list[str]:
    before, after = (
        {f"{r.stage} {r.level}": (r.entered, r.kept) for r in m.funnel} if m else {}
        for m in (then, now)
    )
    none = (0, 0)
    return [
        f"{name}: then {before.get(name, none)[1]} of {before.get(name, none)[0]} kept, "
        f"now {after.get(name, none)[1]} of {after.get(name, none)[0]}"
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]


def _with_rows(change: VersionChange, index: AuditIndex) -> VersionChange:
    gone = "SELECT sample_id FROM {0} a ANTI JOIN {1} b USING (sample_id)"
    added = gone.format("samples", "old_samples")
    removed = gone.format("old_samples", "samples")
    parts = [
        f"CASE WHEN a.{name} IS DISTINCT FROM b.{name} THEN '{name}' END" for name in _COMPARED
    ]
    changed = (
        f"SELECT a.sample_id, concat_ws(', ', {', '.join(parts)}) AS what FROM samples a"
        " JOIN old_samples b USING (sample_id) WHERE concat_ws(', ', "
        f"{', '.join(parts)}) <> ''"
    )
    lists = {
        name: [row[0] for row in index.fetch(f"{sql} ORDER BY 1 LIMIT {_MOST}")]
        for name, sql in (("added", added), ("removed", removed))
    }
    lists["changed"] = [
        f"{sample_id}: {what}"
        for sample_id, what in index.fetch(f"{changed} ORDER BY 1 LIMIT {_MOST}")
    ]
    queries = {"added": added, "removed": removed, "changed": changed}
    counts = {
        name: int(index.value(f"SELECT count(*) FROM ({sql})")) for name, sql in queries.items()
    }
    return replace(change, **lists, counts=counts, drift=_drift(index))


def _drift(index: AuditIndex) -> dict[str, float]:
    found_: dict[str, float] = {}
    if min(index.count("samples"), index.count("old_samples")) < LEAST_ROWS:
        return found_
    for name, sql, table in _DRIFTING:
        then = histogram(index, name, name, sql, f"old_{table}")
        if then is None:
            continue
        now = histogram(index, name, name, sql, table, span=(then.low, then.high))
        if now is not None:
            found_[name] = round(stability(then, now), 4)
    return found_


def stability(then: Histogram, now: Histogram) -> float:
    """Return the population stability index of two histograms with the same bins."""
    total = 0.0
    for count_then, count_now in zip(then.counts, now.counts, strict=True):
        share_then = (count_then + 0.5) / (sum(then.counts) + 0.5 * len(then.counts))
        share_now = (count_now + 0.5) / (sum(now.counts) + 0.5 * len(now.counts))
        total += (share_now - share_then) * math.log(share_now / share_then)
    return total


def _drifted(change: VersionChange) -> Iterator[Finding]:
    for name, psi in change.drift.items():
        if psi > MOVED:
            yield found(DRIFT, "column", name, f"stability index {psi:.2f}", "", psi, MOVED)


def _recogniser(then: Manifest | None, now: Manifest | None) -> Iterator[Finding]:
    for line in _engines(then, now):
        if line.startswith("recognition:"):
            yield found(RECOGNISER, "dataset", "recognition", line)


def _queries() -> Iterator[Query]:
    for table, key in (("clips", "clip_id"), ("tracks", "track_id"), ("embeddings", "track_id")):
        yield Query(
            STILL_PRESENT, table.removesuffix("s"),
            f"SELECT min(t.{key}) AS id, '' AS sample_id, 'video ' || t.video_id ||"
            f" ' was removed; {table}/ holds ' || count(*) || ' rows of it' AS evidence,"
            f" count(*) AS value, 0 AS threshold FROM {table} t"
            " JOIN old_videos o USING (video_id) ANTI JOIN videos v USING (video_id)"
            " GROUP BY t.video_id",
            (f"{table}.video_id", "videos.video_id", "old_videos.video_id"), table,
        )  # fmt: skip
    yield Query(
        STILL_PRESENT, "sample",
        "SELECT sample_id AS id, sample_id, 'video ' || video_id || ' was removed' AS evidence,"
        " NULL AS value, NULL AS threshold FROM samples JOIN old_videos USING (video_id)"
        " ANTI JOIN videos USING (video_id)",
        ("samples.video_id", "videos.video_id", "old_videos.video_id"), "samples",
    )  # fmt: skip
    for check, table, other_table in (
        (DIVIDED, "old_tracks", "tracks"),
        (MERGED, "tracks", "old_tracks"),
    ):
        word = "became" if check is DIVIDED else "was"
        yield Query(
            check, "character",
            f"SELECT a.character_id AS id, '' AS sample_id, '{word} ' ||"
            " string_agg(DISTINCT b.character_id, ' and ' ORDER BY b.character_id) AS evidence,"
            " count(DISTINCT b.character_id) AS value, 1 AS threshold"
            f" FROM {table} a JOIN {other_table} b USING (track_id)"
            " WHERE a.character_id <> '' AND b.character_id <> '' GROUP BY 1"
            " HAVING count(DISTINCT b.character_id) > 1",
            ("tracks.character_id", "old_tracks.character_id"), "tracks",
        )  # fmt: skip


def _identity_lines(findings: FindingStore) -> list[str]:
    lines = []
    for check in (MERGED, DIVIDED):
        lines += [
            f"{finding.id} {finding.evidence}" for finding in findings.examples(check.id, _MOST)
        ]
    return lines
