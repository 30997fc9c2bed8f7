"""Every check that needs no pixels, in the order in which the report shows them."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.audit import file_findings
from pipeline.audit.book import Book, Query
from pipeline.audit.checks import (
    captions,
    clips,
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
from pipeline.audit.findings import Check, Finding
from pipeline.audit.index import AuditIndex
from pipeline.audit.thresholds import Thresholds
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
    dataset: Dataset, index: AuditIndex, book: Book, limits: Thresholds, lists: Lists, workers: int
) -> None:
    """Write every finding that files and light columns give into the book."""
    book.know(file_findings.CHECKS)
    book.add(dataset.problems)
    book.coverage.ran(
        (file_findings.SCHEMA_FOREIGN, file_findings.FILE_UNREADABLE), dataset.num_files
    )
    _files(dataset, book, workers)
    book.know(rows.COUNTS)
    book.add(rows.check_counts(dataset, index))
    variables = limits.variables() | {"opt_out": list(lists.opt_out)}
    book.ask(rows.queries(), variables)
    book.ask(_known(limits, pairs.queries(), book), {})
    book.ask(identity.queries(), {})
    has = {name.split(".")[1]: True for name in index.present if name.startswith("clips.")}
    book.ask(clips.queries(has), {})
    book.ask(_scored(index, book, limits), {})
    _captions(index, book)
    book.ask(leakage.queries(), {})
    _leaks(index, book, limits, lists)
    book.ask(rights.queries(lists.opt_out), {})
    _lists_not_given(book, lists)
    book.know([rights.ENGINE])
    book.add(rights.check_engines(dataset, index))
    if dataset.store.exists(TOMBSTONES):
        forgotten = functools.partial(rights.check_forgotten, dataset, index)
        _run(book, (rights.FORGOTTEN,), forgotten, index.count("samples"))
    _vectors(index, book, limits)
    book.know([latents.LATENTS])
    book.add(latents.check_latents(dataset, index))


def _files(dataset: Dataset, book: Book, workers: int) -> None:
    listed = (files.FILE_HASH, files.FILE_ROWS, files.FILE_MISSING, files.FILE_UNLISTED)
    if dataset.manifest is None:
        book.coverage.skip((*listed, *rows.COUNTS), "there is no manifest to compare with")
        return
    book.add(files.check_files(dataset, workers))
    book.coverage.ran(listed, len(dataset.manifest.files))
    book.coverage.ran(rows.COUNTS, 1)


def _known(limits: Thresholds, queries: Iterable, book: Book) -> Iterator:
    """Leave out the checks that need similarity windows where nobody knows them."""
    for query in queries:
        if limits.windows is None and query.check in _BY_WINDOWS:
            book.know([query.check])
            book.coverage.skip([query.check], limits.why_no_windows)
        else:
            yield query


def _scored(index: AuditIndex, book: Book, limits: Thresholds) -> Iterator[Query]:
    """Leave out the scores that no clip has, and those whose threshold is switched off."""
    for threshold, query in clips.score_queries():
        if not index.has(*query.needs):
            yield query  # and the book says which column is missing
            continue
        why = ""
        if not index.value(f"SELECT count({threshold.measure}) FROM clips"):
            why = f"no clip has a score {threshold.measure}; see observe.engines.scorers"
        elif limits.bound(threshold) is None:
            why = f"{threshold.setting} is null"
        if why:
            book.know([query.check])
            book.coverage.skip([query.check], why)
        else:
            yield query


def _captions(index: AuditIndex, book: Book) -> None:
    book.know(captions.CHECKS)
    if index.has("samples.sample_id", "samples.caption"):
        book.add(captions.check_captions(index))
        book.coverage.ran(captions.CHECKS, index.count("samples"))
    else:
        book.coverage.skip(captions.CHECKS, "the dataset has no samples.caption")
    book.ask(captions.queries(), {})


def _leaks(index: AuditIndex, book: Book, limits: Thresholds, lists: Lists) -> None:
    if index.has("clips.perceptual_hash", "samples.split"):
        near = functools.partial(leakage.check_near_duplicates, index, limits.splits.copies)
        _run(book, (leakage.NEAR_DUPLICATE,), near, index.count("clips"))
        if lists.held_out:
            held = functools.partial(leakage.check_held_out, index, list(lists.held_out))
            _run(book, (leakage.HELD_OUT,), held, index.count("clips"))
    else:
        book.know([leakage.NEAR_DUPLICATE])
        book.coverage.skip([leakage.NEAR_DUPLICATE], "the dataset has no clips.perceptual_hash")


def _run(
    book: Book, checks: tuple[Check, ...], find: Callable[[], Iterable[Finding]], rows: int
) -> None:
    book.know(checks)
    book.add(find())
    book.coverage.ran(checks, rows)


def _lists_not_given(book: Book, lists: Lists) -> None:
    missing = (
        (leakage.HELD_OUT, lists.held_out, "no held-out pictures were given (--held-out)"),
        (rights.OPT_OUT, lists.opt_out, "no opt-out list was given (--opt-out)"),
        (rights.KNOWN_BAD, lists.known_bad, "no list of known pictures was given (--known-bad)"),
    )
    for check, given, why in missing:
        book.know([check])
        if not given:
            book.coverage.skip([check], why)


def _vectors(index: AuditIndex, book: Book, limits: Thresholds) -> None:
    book.ask(vectors.queries(), {})
    needs = ("embeddings.vector", "embeddings.track_id", "samples.track_id", "refs.reference_id")
    book.know(identity.VECTOR_CHECKS)
    if not index.has(*needs):
        why = "the dataset has no embeddings; they may be dropped at any time"
        checks = [query.check for query in vectors.pair_queries()]
        book.know(checks)
        listed = index.has("suspects.kind", "suspects.character_id")
        without = (identity.LEAKED,) if listed else identity.VECTOR_CHECKS
        book.coverage.skip((*checks, *without), why)
        if listed:
            suspects = functools.partial(identity.listed_suspects, index)
            _run(book, (identity.MERGE, identity.SPLIT), suspects, index.count("suspects"))
        return
    index.db.execute(vectors.PAIRS_SQL)
    book.ask(_known(limits, vectors.pair_queries(), book), {})
    if limits.windows is None:
        book.coverage.skip(identity.VECTOR_CHECKS, limits.why_no_windows)
        return
    centres = identity.Centres(index)
    _run(
        book, identity.VECTOR_CHECKS,
        functools.partial(identity.check_centres, index, limits, centres), len(centres.ids),
    )  # fmt: skip
    if centres.drawn:
        why = f"{len(centres.ids)} of {centres.total} characters were compared, drawn by seed"
        book.coverage.not_checked["identity.all-pairs"] = why
