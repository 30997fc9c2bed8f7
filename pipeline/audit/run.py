"""One audit from the dataset's name to its findings."""

import datetime
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.audit.checks.leakage import read_hashes
from pipeline.audit.checks.rights import read_list
from pipeline.audit.dataset import Dataset, open_dataset
from pipeline.audit.facts import DatasetFacts, gather
from pipeline.audit.finding_store import FindingStore
from pipeline.audit.index import AuditIndex, load
from pipeline.audit.limits import Limits, limits_of
from pipeline.audit.media.check_media import KnownBad
from pipeline.audit.media.stream import CHECKS as MEDIA_CHECKS
from pipeline.audit.media.stream import DrawConfig, MediaCount, check_media
from pipeline.audit.metadata import Lists, check_metadata
from pipeline.audit.own_checks import AuditCheck, run_own_checks
from pipeline.audit.waivers import Waiver, apply_waivers
from pipeline.engines.interfaces import SimilarityWindows
from schemas.settings import check_settings, setting

CLEAN, WARNINGS, ERRORS = 0, 1, 2  # exit codes
# What audits of people look for, and no column or engine here can answer.
NOT_KNOWN = {
    "rights.retrieval-date": "no column says when a video was fetched",
    "rights.consent": "no column says on what basis people are shown",
    "rights.no-training-mark": "C2PA marks are lost when clips are encoded; read them before",
    "pair.expression": "no engine here measures expressions; likeness of pictures stands in",
    "balance.pass-rate": "no column says what group a person belongs to, and none is guessed",
}


@dataclass(frozen=True)
class AuditConfig:
    """How a dataset is audited.

    Attributes:
        workers: processes that decode, and threads that read.
        media: whether clips, references and masks are decoded.
        draw: which samples' media are decoded.
        lists: who opted out, what is held out, which pictures must not be kept.
        windows: similarity windows of the dataset's recogniser, where it is not one of ours.
        waivers: findings that somebody has accepted.
        today: the day by which waivers expire.
        own_checks: checks of the user's own, besides all others.
        scratch: where the index is kept while it is needed; None: the system's temporary folder.
    """

    workers: int = setting(2, low=1)
    media: bool = True
    draw: DrawConfig = field(default_factory=DrawConfig)
    lists: Lists = field(default_factory=Lists)
    windows: SimilarityWindows | None = None
    waivers: tuple[Waiver, ...] = ()
    today: datetime.date = field(default_factory=datetime.date.today)
    own_checks: tuple[AuditCheck, ...] = ()
    scratch: str | None = None

    def __post_init__(self) -> None:
        check_settings(self, "audit")


@dataclass
class Audit:
    """What an audit found. The index stays open until `close`."""

    dataset: Dataset
    index: AuditIndex
    findings: FindingStore
    limits: Limits
    facts: DatasetFacts
    media: MediaCount
    seconds: dict[str, float]

    def __enter__(self) -> "Audit":
        return self

    def __exit__(self, *_: object) -> None:
        self.index.close()

    def exit_code(self, strict: bool) -> int:
        """Return 2 with errors, 1 with warnings under `strict`, else 0."""
        counted = self.findings.by_severity()
        if counted["error"]:
            return ERRORS
        return WARNINGS if strict and counted["warning"] else CLEAN


def audit(target: str, settings: AuditConfig) -> Audit:
    """Run every check. Raises ValueError when there is no dataset at `target`."""
    clock = _Clock()
    dataset = open_dataset(target)
    index = AuditIndex(settings.scratch, settings.workers)
    try:
        findings = FindingStore(index)
        findings.add(load(dataset, index))
        clock.lap("load")
        limits = limits_of(dataset, settings.windows)
        check_metadata(dataset, index, findings, limits, settings.lists, settings.workers)
        clock.lap("metadata")
        media = _media(dataset, index, findings, limits, settings)
        clock.lap("media")
        run_own_checks(index, findings, settings.own_checks)
        for name, why in NOT_KNOWN.items():
            findings.coverage.not_checked[name] = why
        if settings.waivers:
            apply_waivers(findings, list(settings.waivers), settings.today)
        facts = gather(index, limits.variables())
        clock.lap("facts")
        return Audit(dataset, index, findings, limits, facts, media, clock.laps)
    except BaseException:
        index.close()
        raise


def _media(
    dataset: Dataset,
    index: AuditIndex,
    findings: FindingStore,
    limits: Limits,
    settings: AuditConfig,
) -> MediaCount:
    known = KnownBad(settings.lists.known_bad)
    if not settings.media:
        findings.skip(MEDIA_CHECKS, "--no-media was given")
        return MediaCount(of=index.count("samples"))
    return check_media(
        dataset, index, findings, limits, settings.draw, known, settings.workers, _progress()
    )


def _progress(every_s: float = 10.0) -> Callable[[int, int], None]:
    """Return a function that says from time to time how many clips are done."""
    last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > every_s:
            last = time.monotonic()
            print(f"media: {done} of {total} clips", file=sys.stderr, flush=True)

    return show


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
        tuple(read_list("--opt-out", opt_out)),
        tuple(read_hashes(held_out)),
        tuple(read_list("--known-bad", known_bad)),
    )
