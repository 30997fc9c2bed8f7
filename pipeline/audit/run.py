"""One audit from the dataset's name to its findings."""

import datetime
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.audit.book import Book
from pipeline.audit.checks.leakage import read_hashes
from pipeline.audit.checks.rights import read_list
from pipeline.audit.dataset import Dataset, open_dataset
from pipeline.audit.facts import DatasetFacts, gather
from pipeline.audit.index import AuditIndex, load
from pipeline.audit.media.judge import KnownBad
from pipeline.audit.media.stream import CHECKS as MEDIA_CHECKS
from pipeline.audit.media.stream import Draw, MediaCount, check_media
from pipeline.audit.metadata import Lists, check_metadata
from pipeline.audit.thresholds import Thresholds, thresholds_of
from pipeline.audit.waivers import Waiver, apply_waivers
from pipeline.engines.interfaces import SimilarityWindows

CLEAN, WARNINGS, ERRORS = 0, 1, 2  # exit codes
# Asked for by audits of people, and answered by no column or engine here.
NOT_KNOWN = {
    "rights.retrieval-date": "no column says when a video was fetched",
    "rights.consent": "no column says on what basis people are shown",
    "rights.no-training-mark": "C2PA marks are lost when clips are encoded; read them before",
    "pair.expression": "no engine here measures expressions; likeness of pictures stands in",
    "balance.pass-rate": "no column says what group a person belongs to, and none is guessed",
}


@dataclass(frozen=True)
class AuditConfig:
    """How an audit looks.

    Attributes:
        workers: processes that decode, and threads that read.
        media: whether clips, references and masks are decoded.
        draw: which samples' media are looked at.
        lists: what the user knows and the dataset does not.
        windows: cosines of the dataset's recogniser, where it is not one of ours.
        waivers: findings that somebody has accepted.
        today: the day by which waivers expire.
        scratch: where the index is kept while it is needed; None: the system's place.
    """

    workers: int = 2
    media: bool = True
    draw: Draw = field(default_factory=Draw)
    lists: Lists = field(default_factory=Lists)
    windows: SimilarityWindows | None = None
    waivers: tuple[Waiver, ...] = ()
    today: datetime.date = field(default_factory=datetime.date.today)
    scratch: str | None = None


@dataclass
class Audit:
    """What an audit found. The index stays open until `close`."""

    dataset: Dataset
    index: AuditIndex
    book: Book
    limits: Thresholds
    facts: DatasetFacts
    media: MediaCount
    seconds: dict[str, float]

    def __enter__(self) -> "Audit":
        return self

    def __exit__(self, *_: object) -> None:
        self.index.close()

    def exit_code(self, strict: bool) -> int:
        """Return 2 with errors, 1 with warnings under `strict`, else 0."""
        counted = self.book.by_severity()
        if counted["error"]:
            return ERRORS
        return WARNINGS if strict and counted["warning"] else CLEAN


def audit(target: str, settings: AuditConfig) -> Audit:
    """Look at everything. Raises ValueError when there is no dataset at `target`."""
    clock = _Clock()
    dataset = open_dataset(target)
    index = AuditIndex(settings.scratch, settings.workers)
    try:
        book = Book(index)
        book.add(load(dataset, index))
        clock.lap("load")
        limits = thresholds_of(dataset, settings.windows)
        check_metadata(dataset, index, book, limits, settings.lists, settings.workers)
        clock.lap("metadata")
        media = _media(dataset, index, book, limits, settings)
        clock.lap("media")
        for name, why in NOT_KNOWN.items():
            book.coverage.not_checked[name] = why
        if settings.waivers:
            apply_waivers(book, list(settings.waivers), settings.today)
        facts = gather(index, limits.variables())
        clock.lap("facts")
        return Audit(dataset, index, book, limits, facts, media, clock.laps)
    except BaseException:
        index.close()
        raise


def _media(
    dataset: Dataset, index: AuditIndex, book: Book, limits: Thresholds, settings: AuditConfig
) -> MediaCount:
    known = KnownBad(settings.lists.known_bad)
    if not settings.media:
        book.know(MEDIA_CHECKS)
        book.coverage.skip(MEDIA_CHECKS, "--no-media was given")
        return MediaCount(of=index.count("samples"))
    tell = _teller()
    return check_media(dataset, index, book, limits, settings.draw, known, settings.workers, tell)


def _teller(every_s: float = 10.0) -> Callable[[int, int], None]:
    last = [time.monotonic()]

    def tell(done: int, total: int) -> None:
        if time.monotonic() - last[0] > every_s:
            last[0] = time.monotonic()
            print(f"media: {done} of {total} clips", file=sys.stderr, flush=True)

    return tell


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 3)
        self._last = now


def read_lists(opt_out: list[str], held_out: list[str], known_bad: list[str]) -> Lists:
    """Read the user's lists. Raises ValueError naming the file and the line."""
    return Lists(
        tuple(read_list(opt_out)), tuple(read_hashes(held_out)), tuple(read_list(known_bad))
    )
