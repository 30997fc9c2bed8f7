"""Write a repair as the next version of a dataset."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from pipeline.audit.index import AuditIndex
from pipeline.audit.obey import Obeyed, corrected
from pipeline.audit.run import Audit
from pipeline.dataset.commit import publish, read_manifest, stage_file, table_path
from pipeline.dataset.parquet import encode_rows, encode_table, read_columns
from pipeline.dataset.store import Store
from schemas.bounded_parquet import BoundedParquet
from schemas.columns import from_table
from schemas.manifest import DataFile, FunnelRow, Manifest
from schemas.reasons import Reason, Split
from schemas.tables import Reject, Tag

STAGE, LEVEL = "audit", "sample"  # of the ledger
_REWRITTEN = ("samples", "tracks", "clips", "characters", "suspects")


@dataclass(frozen=True)
class Repair:
    """What would be done. Empty when there is nothing to do."""

    dropped: Mapping[str, tuple[Reason, str]] = field(default_factory=dict)  # sample -> why
    moved: Mapping[str, str] = field(default_factory=dict)  # sample -> its new split
    tags: tuple[Tag, ...] = ()
    repeated: int = 0  # further rows of a sample_id that is there already
    remaining: Mapping[str, int] = field(default_factory=dict)  # check -> errors that stay
    unknown: tuple[str, ...] = ()  # tagged sample ids that are not in the dataset
    obeyed: Obeyed = field(default_factory=Obeyed)  # what people corrected

    @property
    def rewrites(self) -> bool:
        """Whether samples files must be written again."""
        return bool(self.dropped or self.moved or self.repeated or self.obeyed)

    def __bool__(self) -> bool:
        return self.rewrites or bool(self.tags)


def write_repair(repair: Repair, audit: Audit) -> Manifest:
    """Write the next version. The old manifest is its parent; files that do not change stay."""
    store = audit.dataset.store
    current = read_manifest(store)
    assert current is not None, "a repairable dataset has a manifest"
    old, digest = current
    if digest != audit.dataset.manifest_sha256:
        raise ValueError(f"{store.url} has a newer version than the audited one; audit it again")
    version = old.version + 1
    written = list(_rewrite(repair, old, version, audit.index, store))
    written += [*_rejects(repair, audit.index, version, store), *_tags(repair, old, version, store)]
    splits = {str(split): 0 for split in Split}
    for split, count in _kept_splits(repair, audit.index).items():
        splits[split] = count
    manifest = replace(
        old, version=version, parent=digest, splits=splits,
        funnel=[*_other_rows(old), *_funnel_row(repair, old, audit)],
        files=sorted(written, key=lambda file: file.path),
    )  # fmt: skip
    publish(manifest, store)
    return manifest


def _rewrite(
    repair: Repair, old: Manifest, version: int, index: AuditIndex, store: Store
) -> Iterator[DataFile]:
    """Yield the files of the new version but for what the repair adds."""
    seen: set[str] = set()
    numbers: Counter[str] = Counter()
    for file in old.files:
        name = file.path.split("/")[0]
        if name not in _REWRITTEN or not (repair.rewrites if name == "samples" else repair.obeyed):
            yield file
            continue
        with store.open(file.path) as source:
            if name == "samples":
                changed, table = _repaired(source, repair, index, seen)
            else:
                before = BoundedParquet(source).read()
                table = corrected(name, before, repair.obeyed, index)
                changed = not table.equals(before)
        if not changed:
            yield file
        elif table.num_rows or name != "samples":
            path = table_path(name, version, numbers[name])
            numbers[name] += 1
            yield stage_file(path, encode_table(table), table.num_rows, store)


def _repaired(
    source: object, repair: Repair, index: AuditIndex, seen: set[str]
) -> tuple[bool, pa.Table]:
    """Return whether a file changes, and its rows as they shall be."""
    parquet = BoundedParquet(source)
    groups, changed = [], False
    for number in range(parquet.num_row_groups):
        group = parquet.read_row_group(number)
        ids, splits = group["sample_id"].to_pylist(), group["split"].to_pylist()
        kept = [id not in repair.dropped and not _again(id, seen) for id in ids]
        moved = [repair.moved.get(id, split) for id, split in zip(ids, splits, strict=True)]
        changed = changed or not all(kept) or moved != splits
        place = group.schema.get_field_index("split")
        group = group.set_column(place, group.schema.field(place), pa.array(moved, pa.string()))
        if repair.obeyed:
            mended = corrected("samples", group, repair.obeyed, index)
            changed, group = changed or _differs(mended, group), mended
        groups.append(group.filter(pa.array(kept, pa.bool_())))
    return changed, pa.concat_tables(groups) if groups else parquet.schema_arrow.empty_table()


def _differs(mended: pa.Table, group: pa.Table) -> bool:
    """Whether a correction changed a row; media are not compared."""
    names = {"character_id", "caption", "others"} & set(group.column_names)
    return any(not mended[name].equals(group[name]) for name in names)


def _again(sample_id: str, seen: set[str]) -> bool:
    """Whether the id was seen before; remembers it."""
    if sample_id in seen:
        return True
    seen.add(sample_id)
    return False


def _rejects(repair: Repair, index: AuditIndex, version: int, store: Store) -> Iterator[DataFile]:
    if not repair.dropped:
        return
    videos = dict(index.rows("SELECT sample_id, min(video_id) FROM samples GROUP BY 1"))
    rows = [
        Reject(
            stage=STAGE, level=LEVEL, id=sample_id, video_id=videos.get(sample_id) or "",
            reason=str(reason), failed=False, detail=why,
        )
        for sample_id, (reason, why) in sorted(repair.dropped.items())
    ]  # fmt: skip
    path = table_path("rejects", version, 0)
    yield stage_file(path, encode_rows(rows, Reject), len(rows), store)


def _tags(repair: Repair, old: Manifest, version: int, store: Store) -> Iterator[DataFile]:
    """Write the tags that are not there yet; earlier tag files stay."""
    there: set[tuple[str, str]] = set()
    for file in old.files:
        if file.path.startswith("tags/"):
            with store.open(file.path) as source:
                tags = from_table(read_columns(source, ["sample_id", "tag"]), Tag)
            there |= {(tag.sample_id, tag.tag) for tag in tags}
    new = [tag for tag in repair.tags if (tag.sample_id, tag.tag) not in there]
    if new:
        path = table_path("tags", version, 0)
        yield stage_file(path, encode_rows(new, Tag), len(new), store)


def _kept_splits(repair: Repair, index: AuditIndex) -> Counter[str]:
    sql = "SELECT sample_id, min(split) FROM samples GROUP BY 1"
    return Counter(
        repair.moved.get(sample_id, split)
        for sample_id, split in index.rows(sql)
        if sample_id not in repair.dropped
    )


def _other_rows(old: Manifest) -> Iterable[FunnelRow]:
    return [row for row in old.funnel if (row.stage, row.level) != (STAGE, LEVEL)]


def _funnel_row(repair: Repair, old: Manifest, audit: Audit) -> Iterator[FunnelRow]:
    """Yield the audit's line of the funnel, earlier repairs included."""
    before = [row for row in old.funnel if (row.stage, row.level) == (STAGE, LEVEL)]
    reasons = Counter(str(reason) for reason, _ in repair.dropped.values())
    for row in before:
        reasons.update(row.reasons)
    dropped = sum(reasons.values())
    kept = len({*_ids(audit.index)} - repair.dropped.keys())
    if dropped:
        counted = dict(sorted(reasons.items()))
        yield FunnelRow(STAGE, LEVEL, kept + dropped, kept, dropped, 0, counted)


def _ids(index: AuditIndex) -> Iterator[str]:
    return (row[0] for row in index.rows("SELECT DISTINCT sample_id FROM samples"))
