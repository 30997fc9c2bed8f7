"""Find clips of different videos that show the same pictures: re-uploads and copies."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

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


def find_duplicates(clips: Iterable[Clip], config: DuplicatesConfig) -> dict[str, tuple[str, int]]:
    """Return, per clip that repeats another, the clip that is kept and the distance in bits.

    Of a group of copies the smallest clip_id stays. Work grows with the number of clips times the
    distinct clips that share a 16-bit band of their middle hash, not with the square.
    """
    if config.max_distance is None:
        return {}
    buckets: dict[tuple[int, int], list[tuple[Clip, list[int]]]] = {}
    found: dict[str, tuple[str, int]] = {}
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        hashes = _hashes(clip)
        if len(hashes) != 3:
            continue
        bands = [(band, hashes[1] >> 16 * band & 0xFFFF) for band in range(_BANDS)]
        match = _nearest(clip, hashes, bands, buckets)
        if match is not None and match[1] <= config.max_distance:
            found[clip.clip_id] = match
            continue
        for band in bands:
            buckets.setdefault(band, []).append((clip, hashes))
    return found


def _nearest(
    clip: Clip,
    hashes: list[int],
    bands: list[tuple[int, int]],
    buckets: dict[tuple[int, int], list[tuple[Clip, list[int]]]],
) -> tuple[str, int] | None:
    best: tuple[int, str] | None = None
    for band in bands:
        for other, theirs in buckets.get(band, ()):
            if other.video_id == clip.video_id:
                continue
            distance = max((a ^ b).bit_count() for a, b in zip(hashes, theirs, strict=True))
            if best is None or (distance, other.clip_id) < best:
                best = (distance, other.clip_id)
    return (best[1], best[0]) if best else None


def _hashes(clip: Clip) -> list[int]:
    text = clip.perceptual_hash
    pieces = [text[at : at + _HASH_DIGITS] for at in range(0, len(text), _HASH_DIGITS)]
    return [int(piece, 16) for piece in pieces]
