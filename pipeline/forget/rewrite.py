"""Write a version without what is erased; every other row keeps its bytes and its id."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace

import pyarrow as pa

from pipeline.dataset.commit import (
    digest_of,
    publish,
    read_manifest,
    settle,
    stage_file,
    sweep,
    table_path,
)
from pipeline.dataset.edited import edits_path
from pipeline.dataset.parquet import encode_table
from pipeline.dataset.store import Store
from pipeline.dataset.tables import light_rows, open_table
from pipeline.forget.erasure import Erasure, count_again
from schemas.latents import LATENTS_INDEX, LatentIndex
from schemas.manifest import DataFile, FunnelRow, Manifest, manifest_path
from schemas.reasons import Reason, Split
from schemas.tombstones import FORGET

_REASON = ("stage", "level", "reason", "failed")


@dataclass
class _Remainder:
    """What a version without the erased rows is made of."""

    files: list[DataFile] = field(default_factory=list)
    splits: Counter[str] = field(default_factory=Counter)
    removed: int = 0  # samples
    changed: bool = False
    rejects: Counter[tuple] = field(default_factory=Counter)  # stage, level, reason, failed


def publish_without(erasure: Erasure, store: Store) -> Manifest:
    """Publish a version without what is erased, if the current one holds any; sweep other files."""
    current = read_manifest(store)
    assert current is not None, "a dataset was read before something of it is forgotten"
    manifest, digest = current
    erasure = replace(erasure, counts=count_again(erasure, manifest, store))
    left = _stage_remainder(erasure, manifest, store)
    if not left.changed:
        settle(store)
        sweep(store, only=manifest)
        return manifest
    known = {str(split): 0 for split in Split} | manifest.splits
    following = replace(
        manifest,
        version=manifest.version + 1,
        parent=digest,
        inputs_digest=digest_of([FORGET, manifest.inputs_digest]),  # no inputs alone make this
        funnel=_funnel(manifest, left),
        splits={name: left.splits.get(name, 0) for name in known},
        files=sorted(left.files, key=lambda file: file.path),
    )
    publish(following, store)
    sweep(store, only=following)
    return following


def _stage_remainder(erasure: Erasure, manifest: Manifest, store: Store) -> _Remainder:
    left = _Remainder()
    numbers: Counter[str] = Counter()
    for file in manifest.files:
        table = file.path.split("/")[0]
        numbers[table] += 1
        if not erasure.affects(file.path, store):
            left.files.append(file)
            if table == "samples":
                left.splits.update(row["split"] for row in light_rows(file.path, ("split",), store))
            continue
        left.changed = True
        data = open_table(file.path, store).read()
        kept = erasure.without(data)
        if table == "samples":
            left.removed += len(data) - len(kept)
            left.splits.update(kept["split"].to_pylist())
        if table == "rejects":
            left.rejects += _reasons(data) - _reasons(kept)
        if len(kept) or table != "samples":
            path = table_path(table, manifest.version + 1, numbers[table] - 1)
            left.files.append(stage_file(path, encode_table(kept), len(kept), store))
    return left


def _reasons(rejects: pa.Table) -> Counter[tuple]:
    names = [name for name in (*_REASON, "number") if name in rejects.column_names]
    counts: Counter[tuple] = Counter()
    for row in rejects.select(names).to_pylist():
        counts[tuple(row[name] for name in _REASON)] += row.get("number", 1)
    return counts


def _funnel(manifest: Manifest, left: _Remainder) -> list[FunnelRow]:
    """Take the lines that left the reject ledger out of the funnel, and add what was forgotten."""
    rows = []
    for row in manifest.funnel:
        reasons, rejected, failed = dict(row.reasons), row.rejected, row.failed
        for (stage, level, reason, died), number in left.rejects.items():
            if (stage, level) == (row.stage, row.level):
                reasons[reason] = reasons.get(reason, 0) - number
                rejected, failed = rejected - number * (not died), failed - number * died
        reasons = {reason: number for reason, number in reasons.items() if number}
        entered = row.kept + rejected + failed
        rows.append(FunnelRow(row.stage, row.level, entered, row.kept, rejected, failed, reasons))
    entered = left.splits.total() + left.removed
    reasons = {str(Reason.FORGOTTEN): left.removed} if left.removed else {}
    rows.append(FunnelRow(FORGET, "sample", entered, left.splits.total(), left.removed, 0, reasons))
    return rows


def rewrite_latents(erasure: Erasure, before: str, store: Store) -> int:
    """Publish `latents/` without the forgotten; returns how many rows went.

    `before` is the SHA-256 of the manifest that the dataset had: latents of that version belong to
    the current one now, latents of another stay as outdated as they were.
    """
    if not store.exists(LATENTS_INDEX):
        for path in store.list("latents"):  # of an encoder that was killed; nobody reads them
            store.delete(path)
        return 0
    index = LatentIndex.from_json(store.read(LATENTS_INDEX))
    current = read_manifest(store)
    assert current is not None, "a dataset was read before its latents"
    files, removed = [], 0
    samples: dict[str, set[str]] = {}
    for file in index.files:
        kept = file
        if erasure.affects(file.path, store):
            left = erasure.without(open_table(file.path, store).read())
            kept = _write_latents(left, store) if len(left) else None
            removed += file.rows - len(left)
        if kept:
            files.append(kept)
            for row in light_rows(kept.path, ("split", "sample_id"), store):
                samples.setdefault(row["split"], set()).add(row["sample_id"])
    origin = {}
    if index.manifest_sha256 == before:
        origin = {"manifest_path": manifest_path(current[0].version), "manifest_sha256": current[1]}
    splits = {split: len(ids) for split, ids in sorted(samples.items())}
    written = replace(index, files=files, splits=splits, **origin).to_json()
    if written != store.read(LATENTS_INDEX):
        store.write(LATENTS_INDEX, written)
    listed = {file.path for file in files} | {LATENTS_INDEX}
    for path in store.list("latents"):
        if path not in listed and not _is_receipt_of(path, listed, erasure, store):
            store.delete(path)
    return removed


def _is_receipt_of(path: str, listed: set[str], erasure: Erasure, store: Store) -> bool:
    """Whether this receipt is of a file that stays, so that the encoder need not make it again."""
    if not path.endswith(".json") or f"{path.removesuffix('.json')}.parquet" not in listed:
        return False
    receipt = store.read(path)  # it names samples that could not be read
    return not any(id.encode() in receipt for id in erasure.ids)


def rewrite_edits(erasure: Erasure, store: Store) -> None:
    """Take the edits of forgotten pictures out of `edits/`; the others need not be made again."""
    for path in store.list("edits"):
        if path.endswith(".parquet") and erasure.affects(path, store):
            left = erasure.without(open_table(path, store).read())
            if len(left):
                store.write(edits_path(left["edit_id"].to_pylist()), encode_table(left))
            store.delete(path)


def _write_latents(data: pa.Table, store: Store) -> DataFile:
    """Write the rows that stay under a name that says what they are, so that a rerun writes it."""
    content = encode_table(data)
    digest = hashlib.sha256(content).hexdigest()
    target = f"latents/{digest[:24]}.parquet"
    store.write(target, content)
    return DataFile(target, len(data), len(content), digest)
