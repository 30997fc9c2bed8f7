"""Measure and check every sample's media in sandboxes: a row group at a time, in threads or on Ray.

A thread only reads Parquet and waits: decoding happens in its child process, so that threads are
as good as processes and hold one row group each.
"""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.audit import file_findings as file_checks
from pipeline.audit.checks.rights import KNOWN_BAD
from pipeline.audit.dataset import Dataset
from pipeline.audit.finding_store import FindingStore
from pipeline.audit.findings import Finding, found
from pipeline.audit.in_threads import in_order
from pipeline.audit.index import AuditIndex
from pipeline.audit.limits import Limits
from pipeline.audit.media.check_media import CHECKS, ExpectedMedia, KnownBad, check_sample
from pipeline.audit.media.measure_media import MediaMeasures, make_handler, media_row
from pipeline.dataset.store import Store, open_store
from pipeline.media.sandbox import Child, Died, SandboxConfig
from schemas.bounded_parquet import BoundedParquet
from schemas.ids import unit_interval
from schemas.remote import NotRead
from schemas.settings import check_settings, setting

LARGE = 5_000  # row groups from which on Ray shares the work: about 50,000 samples
MEDIA_SANDBOX = SandboxConfig(deadline_s=60.0, deadline_per_video_s=5.0)
_COLUMNS = ("sample_id", "num_frames", "fps", "first_frame", "boxes", "references", "video")


@dataclass(frozen=True)
class Task:
    """The wanted rows of one row group."""

    path: str
    group: int
    columns: tuple[str, ...]
    rows: tuple[int, ...]  # positions within the group


@dataclass
class MediaCount:
    """How many clips were checked, of how many, and how fast."""

    checked: int = 0
    of: int = 0
    seconds: float = 0.0

    @property
    def clips_per_s(self) -> float:
        return self.checked / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class DrawConfig:
    """Which samples' media are decoded: all, or about `number` of them, drawn by id."""

    number: int | None = setting(None, low=1)
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self, "audit.draw")


def check_media(
    dataset: Dataset, index: AuditIndex, findings: FindingStore, limits: Limits,
    draw: DrawConfig, known: KnownBad, workers: int, progress: Callable[[int, int], None],
) -> MediaCount:  # fmt: skip
    """Check the media of the drawn samples and add what is found to the findings."""
    findings.register((*CHECKS, KNOWN_BAD))
    if not index.has("samples.sample_id", "samples.video"):
        findings.skip(CHECKS, "the samples hold no clips (column video)")
        return MediaCount()
    tasks = list(plan_tasks(dataset, index, draw))
    count = MediaCount(of=index.count("samples"))
    started = time.monotonic()
    for task, results in _measure_all(tasks, dataset.store, workers):
        expected = _expected(index, dataset, task)
        for position, measured in results:
            if isinstance(measured, Finding):
                findings.add([measured])
                continue
            sample_id, media = expected[position]
            findings.add(check_sample(measured, sample_id, media, limits, known))
            count.checked += 1
        progress(count.checked, sum(len(task.rows) for task in tasks))
    count.seconds = time.monotonic() - started
    findings.coverage.ran(CHECKS, count.checked)
    if "safety.known-picture" not in findings.coverage.not_checked:
        findings.coverage.ran([KNOWN_BAD], count.checked)
    return count


def plan_tasks(dataset: Dataset, index: AuditIndex, draw: DrawConfig) -> Iterator[Task]:
    """Yield the row groups that hold drawn samples, in the order of the files."""
    files = dataset.tables["samples"]
    total = index.count("samples")
    share = 1.0 if draw.number is None else min(1.0, draw.number / max(1, total))
    key, rows = (-1, -1), []
    sql = "SELECT file_number, row_group, position, sample_id FROM samples ORDER BY 1, 2, 3"
    for number, group, position, sample_id in index.rows(sql):
        if (number, group) != key:
            if rows:
                yield _task(files[key[0]], key[1], rows)
            key, rows = (number, group), []
        if share >= 1 or unit_interval("audit", draw.seed, sample_id) < share:
            rows.append(position)
    if rows:
        yield _task(files[key[0]], key[1], rows)


def _task(file: Any, group: int, rows: Sequence[int]) -> Task:
    columns = tuple(name for name in _COLUMNS if name in file.columns)
    return Task(file.path, group, columns, tuple(rows))


def _expected(
    index: AuditIndex, dataset: Dataset, task: Task
) -> dict[int, tuple[str, ExpectedMedia]]:
    """Return id and expected media of the task's samples, by position in the group."""
    number = [file.path for file in dataset.tables["samples"]].index(task.path)
    sql = (
        "SELECT s.position, s.sample_id, s.clip_id, s.width, s.height, s.fps, s.num_frames,"
        " coalesce(c.sha256, ''), s.sharpness, s.brightness, s.motion FROM samples s"
        " LEFT JOIN (SELECT clip_id, min(sha256) AS sha256 FROM clips GROUP BY 1) c"
        " USING (clip_id) WHERE s.file_number = ? AND s.row_group = ?"
    )
    rows = list(index.rows(sql, [number, task.group]))
    references: dict[str, list[tuple[int, str, bool]]] = {}
    sql = (
        "SELECT r.sample_id, r.place, coalesce(r.sha256, ''), coalesce(r.augmentation, '') <> ''"
        " FROM refs r SEMI JOIN (SELECT sample_id FROM samples WHERE file_number = ?"
        " AND row_group = ?) USING (sample_id)"
    )
    for sample_id, place, sha256, augmented in index.rows(sql, [number, task.group]):
        references.setdefault(sample_id, []).append((place, sha256, augmented))
    expected = {}
    for position, sample_id, clip_id, width, height, fps, frames, sha256, *columns in rows:
        own = references.get(sample_id, [])
        names = ("sharpness", "brightness", "motion")
        expected[position] = sample_id, ExpectedMedia(
            clip_id, width, height, fps, frames, sha256,
            dict(zip(names, columns, strict=True)),
            {place: digest for place, digest, _ in own},
            {place: changed for place, _, changed in own},
        )  # fmt: skip
    return expected


Results = list[tuple[int, MediaMeasures | Died | Finding]]


def _measure_all(
    tasks: Sequence[Task], store: Store, workers: int
) -> Iterator[tuple[Task, Results]]:
    if len(tasks) >= LARGE:
        yield from _on_ray(tasks, store, workers)
        return
    with _ChildPool(store) as pool:
        yield from zip(tasks, in_order(pool.measure, tasks, workers), strict=True)


def _on_ray(tasks: Sequence[Task], store: Store, workers: int) -> Iterator[tuple[Task, Results]]:
    from pipeline.dataset.shared_folder import check_readable_everywhere
    from pipeline.execution.budget import ClusterConfig
    from pipeline.execution.cluster import num_workers
    from pipeline.execution.run import run
    from pipeline.execution.worker import Pool

    config = ClusterConfig(workers=workers)
    check_readable_everywhere(store, sorted({task.path for task in tasks}), config)
    size = min(num_workers(config), len(tasks))
    steps = [(Pool("measure", size), functools.partial(_make_measurer, store.location))]
    yield from run(tasks, steps, config)


def _make_measurer(url: str) -> Callable[[Task], tuple[Task, Results]]:
    pool = _ChildPool(open_store(url))
    return lambda task: (task, pool.measure(task))


@dataclass
class _ChildPool:
    """One child process per thread; a call borrows one."""

    store: Store
    idle: list[Child] = field(default_factory=list)

    def __enter__(self) -> "_ChildPool":
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.idle:
            child.close()

    def measure(self, task: Task) -> Results:
        """Read a row group and measure its wanted rows, one after the other."""
        try:
            rows = _read(task, self.store)
        except NotRead:
            raise
        except (pa.ArrowException, OSError, ValueError) as problem:
            evidence = f"row group {task.group}: {' '.join(str(problem).split())[:200]}"
            return [(0, found(file_checks.FILE_UNREADABLE, "file", task.path, evidence))]
        child = self.idle.pop() if self.idle else Child(make_handler, MEDIA_SANDBOX)
        try:
            return [
                (position, child.call(media_row(row), _seconds(row)))
                for position, row in zip(task.rows, rows, strict=True)
            ]
        finally:
            self.idle.append(child)


def _read(task: Task, store: Store) -> Iterator[Mapping[str, Any]]:
    with store.open(task.path) as file:
        parquet = BoundedParquet(file)
        group = parquet.read_row_group(task.group, columns=list(task.columns), use_threads=False)
    return (group.slice(position, 1).to_pylist()[0] for position in task.rows)


def _seconds(row: Mapping[str, Any]) -> float:
    frames, fps = row.get("num_frames") or 0, row.get("fps") or 0
    return min(600.0, frames / fps) if fps > 0 else 0.0
