"""Which data a training sees, in the form that runs, checkpoints, models and videos carry."""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from schemas.manifest import manifest_path
from schemas.versions import Snapshot
from trainer.data.data_config import DataConfig
from trainer.data.files import Folder
from trainer.data.index import RowIndex


@dataclass(frozen=True)
class Origin:
    """A version of a dataset.

    Attributes:
        dataset_id: of all its versions: the first manifest's SHA-256, 16 digits.
        version: counted from 1.
        manifest_sha256: of this version's manifest.
        splits: samples of each split.
    """

    dataset_id: str
    version: int
    manifest_sha256: str
    splits: Mapping[str, int]


def origin_of(folder: Folder, snapshot: Snapshot, splits: Mapping[str, int]) -> Origin:
    """Say which version of which dataset a snapshot is."""
    first = snapshot.sha256
    with contextlib.suppress(FileNotFoundError):  # a copy of the newest version alone
        first = hashlib.sha256(folder.read(manifest_path(1))).hexdigest()
    return Origin(first[:16], snapshot.manifest.version, snapshot.sha256, dict(splits))


def usual_fps(index: RowIndex, rows: np.ndarray, data: DataConfig) -> float:
    """Return the rate of the frames that are trained on; of several, that of most clips."""
    if data.fps:
        return data.fps
    rates, counts = np.unique(np.round(index.numbers("fps")[rows], 3), return_counts=True)
    return float(rates[np.argmax(counts)])


def describe_data(
    origin: Origin, num_samples: int, fps: float, encoders: Mapping[str, str], data: DataConfig
) -> dict[str, Any]:
    """Return what must be the same for a training to go on, and what its models must say."""
    return {
        "dataset": {**asdict(origin), "samples": num_samples},
        "encoders": dict(encoders),
        "fps": fps,
        "reference_background": data.reference_background,
    }


def changes(stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return a line for each difference between two such descriptions."""
    before, after = _flat(stored), _flat(current)
    keys = sorted(before.keys() | after.keys())
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
