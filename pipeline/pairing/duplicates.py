"""Find clips of different videos that show the same pictures: re-uploads and copies."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.dataset.row_sets import in_order, values
from schemas.settings import check_settings, setting
from schemas.tables import Clip

_HASH_DIGITS = 16  # 64 bits for each of a clip's first, middle and last frame
_BANDS = 4  # hashes that differ in fewer bits than this agree in at least one band


@dataclass(frozen=True)
class DuplicatesConfig:
    """Drop clips that repeat a clip of another video.

    Rejects  duplicate_clip   every one of three difference hashes differs in at most max_distance
                              bits of 64

    Attributes:
        max_distance: 0 to 3 bits; None keeps duplicates.
    """

    section: ClassVar[str] = "pair.duplicates"
    max_distance: int | None = setting(2, low=0, high=_BANDS - 1, unit="bits")

    def __post_init__(self) -> None:
        check_settings(self, self.section)


def find_duplicates(clips: Sequence[Clip], config: DuplicatesConfig) -> dict[str, tuple[str, int]]:
    """Return, per clip that repeats another, the clip that is kept and the distance in bits.

    Of a group of copies the smallest clip_id stays. Work grows with the number of clips times the
    distinct clips that share a 16-bit band of their middle hash, not with the square.
    """
    if config.max_distance is None:
        return {}
    clips = in_order(clips, "clip_id")
    ids = values(clips, "clip_id")
    videos = np.unique(values(clips, "video_id"), return_inverse=True)[1]
    hashes, hashed = _hashes(values(clips, "perceptual_hash"))
    buckets: dict[tuple[int, int], array[int]] = {}  # places of originals
    found: dict[str, tuple[str, int]] = {}
    for place in np.flatnonzero(hashed).tolist():
        middle = int(hashes[place, 1])
        bands = [(band, middle >> 16 * band & 0xFFFF) for band in range(_BANDS)]
        near = np.unique([other for band in bands for other in buckets.get(band, ())]).astype(int)
        near = near[videos[near] != videos[place]]
        distances = np.bitwise_count(hashes[near] ^ hashes[place]).max(axis=1, initial=0)
        if len(near) and distances.min() <= config.max_distance:
            best = int(distances.argmin())
            original = ids.item(near[best]).decode()
            found[ids.item(place).decode()] = (original, int(distances[best]))
            continue
        for band in bands:
            buckets.setdefault(band, array("I")).append(place)
    return found


def _hashes(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 3) uint64, and (N,) whether a clip has three hashes."""
    hashed = np.char.str_len(texts) == 3 * _HASH_DIGITS
    whole = np.where(hashed, texts, b"0" * 3 * _HASH_DIGITS).astype(f"S{3 * _HASH_DIGITS}")
    single = whole.view(f"S{_HASH_DIGITS}")
    numbers = np.fromiter((int(each, 16) for each in single), np.uint64, len(single))
    return numbers.reshape(-1, 3), hashed
