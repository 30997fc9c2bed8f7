"""The manifest: which files make up one version of a dataset, and how they came about.

`manifests/000N.json` is written once and never changed; `manifest.json` points to the newest.
A manifest holds no clock, host or path of a machine: the same input gives the same bytes.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from schemas.tables import SCHEMA_VERSION

POINTER = "manifest.json"


@dataclass(frozen=True)
class DataFile:
    """A file of the dataset."""

    path: str  # relative to the dataset
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class FunnelRow:
    """What became of the rows that entered one stage: entered = kept + rejected + failed."""

    stage: str
    level: str  # video | part | clip | track | sample
    entered: int
    kept: int
    rejected: int
    failed: int
    reasons: dict[str, int]  # reason or failure -> rows

    def __post_init__(self) -> None:
        left = self.kept + self.rejected + self.failed
        assert self.entered == left, f"{self.stage}: {self.entered} came in, {left} accounted for"


@dataclass(frozen=True)
class Manifest:
    """One version of a dataset."""

    version: int
    parent: str  # SHA-256 of the previous manifest's file, '' for the first
    inputs_digest: str  # of the sorted video ids and what their owner said about them
    observe_digest: str  # of the settings that decide what is measured
    config_digest: str  # of all settings that change the result
    config: dict[str, Any]
    engines: list[dict[str, Any]]  # id, task, licence, weights digest of each
    libraries: dict[str, str]  # versions whose change may change bytes
    funnel: list[FunnelRow]
    splits: dict[str, int]  # samples per split
    files: list[DataFile] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> bytes:
        """Return the file's bytes, the same for equal manifests."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Manifest":
        """Read a manifest. Raises ValueError when its schema version is not ours."""
        raw = json.loads(content)
        found = raw.get("schema_version")
        if found != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version of the manifest is {found}, this code reads {SCHEMA_VERSION}; "
                "use the code that made the dataset, or make it again"
            )
        raw["files"] = [DataFile(**file) for file in raw["files"]]
        raw["funnel"] = [FunnelRow(**row) for row in raw["funnel"]]
        return cls(**raw)


def manifest_path(version: int) -> str:
    return f"manifests/{version:04d}.json"
