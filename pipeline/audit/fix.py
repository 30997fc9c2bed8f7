"""Repair a dataset: leave out what failed, mark what is doubtful, mend the splits.

A repair is planned from the audit's findings and shown; written, it is a new version of the
dataset whose parent is the audited one. Nothing else is invented: bytes that differ from the
manifest are never blessed, and a sample that is dropped becomes a line in rejects/.
"""

from collections import Counter
from collections.abc import Sequence

from pipeline.audit import file_findings as files
from pipeline.audit.checks.leakage import hashed_clips
from pipeline.audit.checks.pairs import OTHER_CHARACTER
from pipeline.audit.checks.rows import DUPLICATE_KEY
from pipeline.audit.findings import Action, Severity
from pipeline.audit.index import AuditIndex
from pipeline.audit.obey import Obeyed, obey, summary
from pipeline.audit.run import Audit
from pipeline.audit.write_repair import Repair, write_repair
from pipeline.dataset.corrections import read_corrections
from pipeline.dataset.tags import VETO, read_tag_file
from pipeline.pairing.splits import split_groups
from schemas.corrections import Correction
from schemas.manifest import Manifest
from schemas.reasons import Reason, Split
from schemas.tables import Tag

_BROKEN = (
    files.MANIFEST_DAMAGED, files.FILE_MISSING, files.FILE_HASH, files.FILE_UNREADABLE,
    files.SCHEMA_FOREIGN,
)  # fmt: skip
_WHOSE = {  # level of a finding -> the samples that it concerns, by the finding's id
    "clip": "clip_id", "track": "track_id", "vector": "track_id", "video": "video_id",
    "character": "character_id", "sample": "sample_id",
}  # fmt: skip


def fix(
    audit: Audit, tags: str | None, drop_warnings: Sequence[str], write: bool, workers: int
) -> Manifest | None:
    """Show the repair; with `write`, also publish it as the next version and return it.

    Raises ValueError when the audited version is not the current one, or has no manifest.
    """
    _check_repairable(audit)
    repair = plan_repair(audit, read_tag_file(tags) if tags else [], drop_warnings)
    show(repair, audit)
    if not repair:
        return None
    if not write:
        print("nothing was written; add --yes to publish this as the next version")
        return None
    _check_whole(audit)
    with audit.dataset.store.lock():
        manifest = write_repair(repair, audit)
    print(
        f"wrote version {manifest.version} of {audit.dataset.store.url}: "
        f"{sum(manifest.splits.values())} samples"
    )
    return manifest


def _check_repairable(audit: Audit) -> None:
    if audit.dataset.manifest is None:
        raise ValueError(
            f"--fix writes a new version on top of a manifest, and {audit.dataset.store.url} has "
            "none that can be read; curate again"
        )
    if not audit.dataset.current:
        raise ValueError(
            "--fix repairs the current version only; name the dataset's folder, not an older "
            "manifest"
        )


def _check_whole(audit: Audit) -> None:
    """Refuse to publish on top of lost or changed files: that would hide what happened."""
    counts = audit.findings.counts()
    broken = [check.id for check in _BROKEN if counts.get(check.id)]
    if broken:
        raise ValueError(
            f"{audit.dataset.store.url} has files that are lost or changed ({', '.join(broken)}); "
            "restore them first, or curate again: nothing was written"
        )


def plan_repair(audit: Audit, tags: Sequence[Tag], drop_warnings: Sequence[str] = ()) -> Repair:
    """Decide what happens to every sample, by the findings that are not waived and by tags."""
    _check_names(drop_warnings, audit)
    obeyed = obey(_corrections(audit), audit.dataset, audit.index)
    dropped: dict[str, tuple[Reason, str]] = {}
    marks: dict[tuple[str, str], str] = {}
    remaining: Counter[str] = Counter()
    for check_id, severity, level, id, sample_id, evidence in _open_findings(audit.index):
        check = audit.findings.checks[check_id]
        samples = _concerned(audit.index, level, id, sample_id)
        drops = severity == Severity.ERROR or check_id in drop_warnings
        if check is DUPLICATE_KEY and level == "sample":
            continue  # one row of it stays
        if check is OTHER_CHARACTER and obeyed.agreed >= set(samples):
            continue  # a person said that it is the same one
        if check.action is Action.SPLIT:
            continue
        if drops and check.action is not Action.NONE and samples:
            why = f"{check_id}: {evidence}"[:300]
            dropped = dict.fromkeys(samples, (Reason.AUDIT_ERROR, why)) | dropped
        elif severity == Severity.ERROR:
            remaining[check_id] += 1
        elif check.action is Action.TAG:
            marks |= {(sample_id, check_id): evidence[:300] for sample_id in samples}
    dropped = dict(obeyed.dropped) | dropped
    known = {row[0] for row in audit.index.rows("SELECT sample_id FROM samples")}
    for tag in tags:
        if tag.tag == VETO and tag.sample_id in known:
            dropped[tag.sample_id] = (Reason.VETOED, tag.note)
        elif tag.sample_id in known:
            marks[tag.sample_id, tag.tag] = tag.note
    kept = (Tag(id, tag, note) for (id, tag), note in sorted(marks.items()) if id not in dropped)
    return Repair(
        dropped, _moves(audit, set(dropped), obeyed), tuple(kept), _repeats(audit.index),
        dict(remaining), tuple(sorted({tag.sample_id for tag in tags} - known)), obeyed,
    )  # fmt: skip


def _corrections(audit: Audit) -> tuple[Correction, ...]:
    """Return what people corrected; a file that cannot be read is a finding, and stays undone."""
    try:
        return read_corrections(audit.dataset.store)
    except ValueError:
        return ()


def _check_names(names: Sequence[str], audit: Audit) -> None:
    unknown = sorted(set(names) - audit.findings.checks.keys())
    if unknown:
        raise ValueError(f"--drop-warnings names no check of this audit: {', '.join(unknown)}")


def _open_findings(index: AuditIndex) -> list[tuple]:
    return index.fetch(
        'SELECT "check", severity, level, id, sample_id, evidence FROM findings'
        " WHERE waived = '' AND severity <> 'note' ORDER BY 1, 4, 5"
    )


def _concerned(index: AuditIndex, level: str, id: str, sample_id: str) -> list[str]:
    """Return the samples that a finding is about."""
    if sample_id:
        return [sample_id]
    column = _WHOSE.get(level)
    if column is None or level == "character":
        return []
    sql = f"SELECT sample_id FROM samples WHERE {column} = ? ORDER BY 1"
    return [row[0] for row in index.rows(sql, [id])]


def _repeats(index: AuditIndex) -> int:
    sql = "SELECT count(*) - count(DISTINCT sample_id) FROM samples"
    return int(index.value(sql) or 0)


def _moves(audit: Audit, dropped: set[str], obeyed: Obeyed) -> dict[str, str]:
    """Give every connected group that lies in several splits one split: that of most samples.

    Groups in one split stay where they are; ties go to train. What a person wished for one of its
    tracks goes before.
    """
    index = audit.index
    sql = (
        "SELECT s.sample_id, s.split, s.clip_id, s.character_id, s.video_id,"
        " list(DISTINCT r.video_id), s.track_id FROM samples s LEFT JOIN refs r USING (sample_id)"
        " GROUP BY ALL ORDER BY 1"
    )
    rows = [row for row in index.rows(sql) if row[0] not in dropped]
    rows = [(*row[:3], obeyed.characters.get(row[6], row[3]), *row[4:]) for row in rows]
    links = [[id for id in (*row[2:5], *(row[5] or ())) if id] for row in rows]
    clips = list({clip.clip_id: clip for clip in hashed_clips(index)}.values())
    links += _same_bytes(index)
    groups = split_groups([link for link in links if link], clips, audit.limits.splits.copies)
    members: dict[str, list[tuple[str, str]]] = {}
    for row, link in zip(rows, links, strict=False):
        if link:
            members.setdefault(groups[link[0]], []).append((row[0], row[1]))
    group_of = {row[6]: groups[link[0]] for row, link in zip(rows, links, strict=False) if link}
    wished = {group_of[id]: split for id, split in obeyed.splits.items() if id in group_of}
    moves = {}
    for group, pairs in members.items():
        counted = Counter(split for _, split in pairs if split in set(Split))
        order = [str(split) for split in Split]
        home = max(order, key=lambda split: (counted[split], -order.index(split)))
        home = wished.get(group, home)
        moves |= {sample_id: home for sample_id, split in pairs if split != home}
    return moves


def _same_bytes(index: AuditIndex) -> list[list[str]]:
    """Return the clips that are byte for byte the same, as links."""
    sql = (
        "SELECT list(DISTINCT clip_id) FROM clips SEMI JOIN samples USING (clip_id)"
        " WHERE sha256 <> '' GROUP BY sha256 HAVING count(DISTINCT clip_id) > 1"
    )
    return [list(row[0]) for row in index.rows(sql)]


def show(repair: Repair, audit: Audit) -> None:
    """Print what would be dropped, moved and marked, and what no repair can mend."""
    reasons = Counter(why.split(":")[0] or str(reason) for reason, why in repair.dropped.values())
    for line in summary(repair.obeyed):
        print(line)
    total = int(audit.facts.totals["samples"])
    print(f"repair: {len(repair.dropped)} of {total} samples are left out")
    for why, count in reasons.most_common():
        print(f"  {count:6} {why}")
    if repair.repeated:
        print(f"        {repair.repeated} repeated rows are left out, one of each stays")
    print(f"repair: {len(repair.moved)} samples change split, whole groups at a time")
    marks = Counter(tag.tag for tag in repair.tags)
    print(f"repair: {len(repair.tags)} tags are written to tags/")
    for tag, count in marks.most_common():
        print(f"  {count:6} {tag}")
    for check, count in repair.remaining.items():
        print(f"not repaired: {count} x {check}: {audit.findings.checks[check].remedy}")
    if repair.unknown:
        print(f"not found: {len(repair.unknown)} tagged samples, the first {repair.unknown[0]}")
