"""Commit encoded samples: one file a unit, and an index that makes all of them visible at once.

The trainer decides what a unit is and how it is encoded, and passes that as functions. A unit
counts once its receipt lies beside its file; a killed run goes on with the units that have none.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from pipeline.dataset.store import Store, open_store
from pipeline.execution.budget import ClusterConfig
from pipeline.execution.cluster import num_gpus, num_workers
from pipeline.execution.progress import Progress
from pipeline.execution.run import run
from pipeline.execution.worker import Pool
from schemas.latents import LATENTS_INDEX, LatentIndex
from schemas.manifest import DataFile

_FOLDER = "latents"
Answer = TypeVar("Answer")


class EncodingTask(Protocol):
    """A piece of work whose id says everything that its result depends on."""

    @property
    def unit_id(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


class UnreadableSample(Protocol):
    """A sample that could not be read."""

    @property
    def sample_id(self) -> str: ...
    @property
    def reason(self) -> str: ...


class EncodedFile(Protocol):
    """The encoded file of a unit."""

    @property
    def content(self) -> bytes: ...
    @property
    def rows(self) -> int: ...
    @property
    def splits(self) -> Mapping[str, int]: ...
    @property
    def skipped(self) -> Sequence[UnreadableSample]: ...


Encoder = Callable[[Any], EncodedFile]


@dataclass(frozen=True)
class LatentReceipt:
    """Proof that a unit is complete."""

    unit_id: str
    file: DataFile | None  # None when none of its samples could be read
    splits: dict[str, int]  # samples
    skipped: list[list[str]]  # sample_id, reason

    @classmethod
    def from_json(cls, content: bytes) -> "LatentReceipt":
        raw = json.loads(content)
        return cls(**raw | {"file": DataFile(**raw["file"]) if raw["file"] else None})


@dataclass(frozen=True)
class Encoded:
    """What an encoding run did."""

    index: LatentIndex
    new_units: int
    skipped: list[list[str]]

    def describe(self) -> str:
        """Return a summary of the run in words."""
        size_mib = sum(file.size_bytes for file in self.index.files) / 2**20
        splits = ", ".join(f"{number} {name}" for name, number in self.index.splits.items())
        done = f"{self.new_units} units encoded" if self.new_units else "up to date, nothing to do"
        lines = [f"left out: sample {name}: {reason}" for name, reason in self.skipped[:20]]
        lines.append(f"{done}; {splits}; {len(self.skipped)} unreadable; {size_mib:.1f} MiB")
        return "\n".join([*lines, "train on them with --set data.source=latents"])


def run_in_worker(make: Callable[[], Callable[[str], Answer]], cluster: ClusterConfig) -> Answer:
    """Call a function in a worker, where the GPU is, and return its result."""
    gpus = min(1, num_gpus(cluster))
    [answer] = run([""], [(Pool("encoders", 1, gpus=gpus), make)], cluster)
    return answer


def find_receipts(units: Sequence[EncodingTask], store: Store) -> dict[str, LatentReceipt]:
    """Return the receipts of units that are complete, by unit id."""
    there = set(store.list(_FOLDER))
    receipts = {}
    for unit in units:
        if _receipt_path(unit.unit_id) in there:
            receipt = LatentReceipt.from_json(store.read(_receipt_path(unit.unit_id)))
            if receipt.file is None or receipt.file.path in there:
                receipts[unit.unit_id] = receipt
    return receipts


def encode_units(
    units: Sequence[EncodingTask],
    index: LatentIndex,
    make: Callable[[], Encoder],
    store: Store,
    cluster: ClusterConfig,
) -> Encoded:
    """Encode the units that are missing, then publish all of them under one index."""
    receipts = find_receipts(units, store)
    pending = [unit for unit in units if unit.unit_id not in receipts]
    sizes = {unit.unit_id: unit.size_bytes for unit in pending}
    with Progress("encode", sum(sizes.values()), unit="units") as progress:
        for receipt in _run(pending, make, store.location, cluster):
            receipts[receipt.unit_id] = receipt
            progress.advance(
                sizes[receipt.unit_id],
                samples=sum(receipt.splits.values()),
                unreadable=len(receipt.skipped),
            )
    ordered = [receipts[unit.unit_id] for unit in units]
    published = publish_latents(ordered, index, store)
    return Encoded(
        published, len(pending), [line for receipt in ordered for line in receipt.skipped]
    )


def _run(
    pending: Sequence[EncodingTask], make: Callable[[], Encoder], url: str, cluster: ClusterConfig
) -> Iterator[LatentReceipt]:
    gpus = num_gpus(cluster)
    size = min(num_workers(cluster), gpus or len(pending), max(1, len(pending)))
    pool = Pool("encode", size, gpus=1.0 if gpus else 0.0)
    yield from run(pending, [(pool, partial(_make_committer, url, make))], cluster)


def _make_committer(
    url: str, make: Callable[[], Encoder]
) -> Callable[[EncodingTask], LatentReceipt]:
    store, encode = open_store(url), make()
    return lambda unit: commit_latents(unit, encode(unit), store)


def commit_latents(unit: EncodingTask, encoded: EncodedFile, store: Store) -> LatentReceipt:
    """Write the unit's file, then the receipt that makes it count."""
    file = None
    if encoded.rows:
        path = f"{_FOLDER}/{unit.unit_id}.parquet"
        store.write(path, encoded.content)
        digest = hashlib.sha256(encoded.content).hexdigest()
        file = DataFile(path, encoded.rows, len(encoded.content), digest)
    skipped = [[sample.sample_id, sample.reason] for sample in encoded.skipped]
    receipt = LatentReceipt(unit.unit_id, file, dict(encoded.splits), skipped)
    content = json.dumps(asdict(receipt), sort_keys=True).encode()
    store.write(_receipt_path(unit.unit_id), content)
    return receipt


def _receipt_path(unit_id: str) -> str:
    return f"{_FOLDER}/{unit_id}.json"


def publish_latents(
    receipts: Sequence[LatentReceipt], index: LatentIndex, store: Store
) -> LatentIndex:
    """Write the index over these units, then sweep what it does not list."""
    splits: dict[str, int] = {}
    for receipt in receipts:
        for split, number in receipt.splits.items():
            splits[split] = splits.get(split, 0) + number
    files = [receipt.file for receipt in receipts if receipt.file is not None]
    if not files:
        reasons = "; ".join(reason for receipt in receipts for _, reason in receipt.skipped[:1])
        raise ValueError(f"no sample could be encoded, so nothing was published: {reasons[:300]}")
    sizes = store.sizes(_FOLDER)
    if any(sizes.get(file.path) != file.size_bytes for file in files):
        raise FileNotFoundError(
            f"{store.url}/{_FOLDER}: files were written and are gone: another job works on this "
            "dataset; run again when it has ended"
        )
    published = replace(index, files=files, splits=dict(sorted(splits.items())))
    content = published.to_json()
    if not store.exists(LATENTS_INDEX) or store.read(LATENTS_INDEX) != content:
        store.write(LATENTS_INDEX, content)
    kept = {LATENTS_INDEX, *(file.path for file in files)}
    kept |= {_receipt_path(receipt.unit_id) for receipt in receipts}
    for path in store.list(_FOLDER):
        if path not in kept and path.endswith((".parquet", ".json")):
            store.delete(path)
    return published
