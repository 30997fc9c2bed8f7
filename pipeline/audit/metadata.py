"""Every check that needs no pixels, in the order in which the report shows them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.audit import file_findings
from pipeline.audit.checks import (
    captions,
    clips,
    corrections,
    files,
    identity,
    latents,
    leakage,
    pairs,
    rights,
    rows,
    vectors,
)
from pipeline.audit.dataset import Dataset
from pipeline.audit.finding_store import FindingStore, Query
from pipeline.audit.index import AuditIndex
from pipeline.audit.limits import Limits
from pipeline.dataset.decided import Decided, decide
from schemas.tombstones import TOMBSTONES

_BY_WINDOWS = (
    pairs.LOW_SIMILARITY, pairs.COPY, vectors.WRONG_IDENTITY, *identity.VECTOR_CHECKS,
)  # fmt: skip


@dataclass(frozen=True)
class Lists:
    """What the user knows and the dataset does not: who opted out, what is held out or illegal."""

    opt_out: tuple[str, ...] = ()
    held_out: tuple[int, ...] = ()  # 64-bit difference hashes
    known_bad: tuple[str, ...] = ()  # SHA-256 of media, or 16 hex digits of a difference hash


def check_metadata(
    dataset: Dataset,
    index: AuditIndex,
    findings: FindingStore,
    limits: Limits,
    lists: Lists,
    workers: int,
) -> None:
    """Run every check that needs files and light columns only."""
    findings.register(file_findings.CHECKS)
    findings.add(dataset.problems)
    findings.coverage.ran(
        (file_findings.SCHEMA_FOREIGN, file_findings.FILE_UNREADABLE), dataset.num_files
    )
    _files(dataset, findings, workers)
    decisions = corrections.read_decisions(dataset, findings)
    decided = decide(decisions)
    corrections.store_decided(decided, index)
    corrections.check_corrections(dataset, decisions, findings)
    findings.register(rows.COUNTS)
    findings.add(rows.check_counts(dataset, index))
    variables = limits.variables() | {"opt_out": list(lists.opt_out)}
    findings.run_queries(rows.queries(), variables)
    findings.run_queries(_known(limits, pairs.queries(), findings), {})
    findings.run_queries(identity.queries(), {})
    has = {name.split(".")[1]: True for name in index.present if name.startswith("clips.")}
    findings.run_queries(clips.queries(has), {})
    findings.run_queries(_scored(index, findings, limits), {})
    _captions(index, findings)
    findings.run_queries(leakage.queries(), {})
    _leaks(index, findings, limits, lists)
    findings.run_queries(rights.queries(lists.opt_out), {})
    _lists_not_given(findings, lists)
    findings.register([rights.ENGINE])
    findings.add(rights.check_engines(dataset, index))
    if dataset.store.exists(TOMBSTONES):
        forgotten = rights.check_forgotten(dataset, index)
        findings.record((rights.FORGOTTEN,), forgotten, index.count("samples"))
        doubts = rights.check_doubts(dataset, index)
        findings.record((rights.DOUBT,), doubts, index.count("samples"))
    _vectors(index, findings, limits, decided)
    findings.register([latents.LATENTS])
    findings.add(latents.check_latents(dataset, index))


def _files(dataset: Dataset, findings: FindingStore, workers: int) -> None:
    listed = (files.FILE_HASH, files.FILE_ROWS, files.FILE_MISSING, files.FILE_UNLISTED)
    if dataset.manifest is None:
        findings.skip((*listed, *rows.COUNTS), "there is no manifest to compare with")
        return
    findings.record(listed, files.check_files(dataset, workers), len(dataset.manifest.files))
    findings.coverage.ran(rows.COUNTS, 1)


def _known(limits: Limits, queries: Iterable, findings: FindingStore) -> Iterator:
    """Leave out the checks that need similarity windows where nobody knows them."""
    for query in queries:
        if limits.windows is None and query.check in _BY_WINDOWS:
            findings.skip([query.check], limits.why_no_windows)
        else:
            yield query


def _scored(index: AuditIndex, findings: FindingStore, limits: Limits) -> Iterator[Query]:
    """Leave out the scores that no clip has, and those whose threshold is switched off."""
    for threshold, query in clips.score_queries():
        if not index.has(*query.needs):
            yield query  # it will be noted which column is missing
            continue
        why = ""
        if not index.value(f"SELECT count({threshold.measure}) FROM clips"):
            why = f"no clip has a score {threshold.measure}; see observe.engines.scorers"
        elif limits.bound(threshold) is None:
            why = f"{threshold.setting} is null"
        if why:
            findings.skip([query.check], why)
        else:
            yield query


def _captions(index: AuditIndex, findings: FindingStore) -> None:
    if index.has("samples.sample_id", "samples.caption"):
        found = captions.check_captions(index)
        findings.record(captions.CHECKS, found, index.count("samples"))
    else:
        findings.skip(captions.CHECKS, "the dataset has no samples.caption")
    findings.run_queries(captions.queries(), {})


def _leaks(index: AuditIndex, findings: FindingStore, limits: Limits, lists: Lists) -> None:
    if index.has("clips.perceptual_hash", "samples.split"):
        near = leakage.check_near_duplicates(index, limits.splits.copies)
        findings.record((leakage.NEAR_DUPLICATE,), near, index.count("clips"))
        if lists.held_out:
            held_out = leakage.check_held_out(index, list(lists.held_out))
            findings.record((leakage.HELD_OUT,), held_out, index.count("clips"))
    else:
        findings.skip((leakage.NEAR_DUPLICATE,), "the dataset has no clips.perceptual_hash")


def _lists_not_given(findings: FindingStore, lists: Lists) -> None:
    missing = (
        (leakage.HELD_OUT, lists.held_out, "no held-out pictures were given (--held-out)"),
        (rights.OPT_OUT, lists.opt_out, "no opt-out list was given (--opt-out)"),
        (rights.KNOWN_BAD, lists.known_bad, "no list of known pictures was given (--known-bad)"),
    )
    for check, entries, why in missing:
        findings.register([check])
        if not entries:
            findings.skip([check], why)


def _vectors(index: AuditIndex, findings: FindingStore, limits: Limits, decided: Decided) -> None:
    findings.run_queries(vectors.queries(), {})
    needs = ("embeddings.vector", "embeddings.track_id", "samples.track_id", "refs.reference_id")
    findings.register(identity.VECTOR_CHECKS)
    if not index.has(*needs):
        why = "the dataset has no embeddings; they may be dropped at any time"
        checks = [query.check for query in vectors.pair_queries()]
        listed = index.has("suspects.kind", "suspects.character_id")
        without = (identity.LEAKED,) if listed else identity.VECTOR_CHECKS
        findings.skip((*checks, *without), why)
        if listed:
            suspects = identity.listed_suspects(index)
            findings.record((identity.MERGE, identity.SPLIT), suspects, index.count("suspects"))
        return
    index.db.execute(vectors.PAIRS_SQL)
    findings.run_queries(_known(limits, vectors.pair_queries(), findings), {})
    if limits.windows is None:
        findings.skip(identity.VECTOR_CHECKS, limits.why_no_windows)
        return
    centres = identity.Centres(index, decided)
    found = identity.check_centres(index, limits, centres)
    findings.record(identity.VECTOR_CHECKS, found, len(centres.ids))
    if centres.drawn:
        why = f"{len(centres.ids)} of {centres.total} characters were compared, drawn by seed"
        findings.coverage.not_checked["identity.all-pairs"] = why
