"""The kinds of pairs: where a reference comes from, how like it may be, how many there may be."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import numpy as np

from pipeline.engines.interfaces import SimilarityWindows
from pipeline.pairing.reference_pool import CandidatePool
from schemas.reasons import PairKind
from schemas.settings import check_settings, setting
from schemas.tables import Clip

NO_CEILING = "none"
_NAMES = tuple(each.name for each in fields(SimilarityWindows))
_WINDOW = re.compile(rf"({'|'.join(_NAMES)})\s*([+-]\s*\d*\.?\d+)?")


def resolve(window: float | str, windows: SimilarityWindows) -> float:
    """Return the cosine that a setting means for a recogniser: 0.5, cross_video, duplicate-0.02."""
    if not isinstance(window, str):
        return window
    if window == NO_CEILING:
        return math.inf
    matched = _WINDOW.fullmatch(window.strip())
    assert matched, f"{window!r} passed Kind"
    step = float(matched[2].replace(" ", "")) if matched[2] else 0.0
    return getattr(windows, matched[1]) + step


@dataclass(frozen=True)
class KindConfig:
    """What a reference of one kind must be like, and its part of a sample's references.

    Cosines are numbers, or names of the recogniser's own windows (same_video, cross_video,
    reference_floor, duplicate) with a step added or taken, such as cross_video+0.05: so they mean
    the same for every recogniser, and move with what `jobs/calibrate.py` finds.

    Attributes:
        share: part of the references, among the kinds of its tier; what a kind cannot fill goes
            to the others.
        floor: least cosine to the clip's track.
        ceiling: cosine to a picture of the clip from which it is a copy; "none" for no end.
        max_near_duplicate: likeness of looks to a moment of the clip from which it is a copy; pixel
            copies of ten real clips had 0.99 and more, relit ones 0.94, half a second later 0.94
            in the median, strangers at most 0.52 (docs/pairs.md).
        min_gap_s: seconds outside the clip, in the same video.
    """

    share: float = setting(1.0, low=0, high=1)
    floor: float | str = setting("reference_floor", low=-1, high=1)
    ceiling: float | str = setting("duplicate", low=-1, high=2)
    max_near_duplicate: float = setting(0.97, low=0, high=1, infinite=True)
    min_gap_s: float = setting(0.0, low=0, high=1e6, unit="s")

    def __post_init__(self) -> None:
        check_settings(self, "pair.references.kinds.*")
        for name in ("floor", "ceiling"):
            value = getattr(self, name)
            known = value == NO_CEILING or bool(_WINDOW.fullmatch(str(value).strip()))
            if isinstance(value, str) and not known:
                raise ValueError(
                    f"pair.references.kinds.*.{name} must be a cosine, {NO_CEILING}, or one of "
                    f"{', '.join(_NAMES)} with a step such as {_NAMES[1]}+0.05, got {value!r}"
                )


@dataclass(frozen=True)
class KindsConfig:
    """One rule per kind. Shares: real pictures first, edited ones a fifth (docs/pairs.md).

    Attributes:
        cross_video: another video; Concat-ID and Phantom-Data build on these.
        same_video_other_shot: another shot of the video.
        edited: made by an editor from a picture of the character, from wherever.
        same_shot_other_clip: the clip's own shot; HunyuanCustom takes it from after 5 s.
        in_clip_augmented: the clip's own time; always augmented.
    """

    cross_video: KindConfig = field(default_factory=lambda: KindConfig(0.5, "cross_video"))
    same_video_other_shot: KindConfig = field(default_factory=lambda: KindConfig(0.3))
    edited: KindConfig = field(default_factory=lambda: KindConfig(0.2, max_near_duplicate=0.85))
    same_shot_other_clip: KindConfig = field(default_factory=lambda: KindConfig(min_gap_s=5.0))
    in_clip_augmented: KindConfig = field(
        default_factory=lambda: KindConfig(ceiling=NO_CEILING, max_near_duplicate=math.inf)
    )

    def of(self, kind: str) -> KindConfig:
        return getattr(self, kind)

    def values(self, kinds: np.ndarray, name: str, windows: SimilarityWindows) -> np.ndarray:
        """Return, (N,), a setting for every candidate's kind."""
        found = {str(kind): resolve(getattr(self.of(kind), name), windows) for kind in PairKind}
        return np.array([found[kind] for kind in kinds], dtype=float)

    def quotas(self, present: Iterable[str], number: int) -> dict[str, int]:
        """Share `number` references out among the kinds that are there, by largest remainder."""
        names = sorted(set(present), key=list(map(str, PairKind)).index)
        shares = np.array([self.of(name).share for name in names])
        shares = shares / shares.sum() if shares.sum() else np.full(len(names), 1 / len(names))
        whole = np.floor(number * shares + 1e-9).astype(int)
        rest = np.argsort(-(number * shares - whole), kind="stable")[: number - whole.sum()]
        whole[rest] += 1
        return dict(zip(names, whole.tolist(), strict=True))


def pair_kinds(clip: Clip, pool: CandidatePool) -> np.ndarray:
    """Name every candidate's kind as seen from the clip.

    The clip's own time range counts as inside the clip, whichever overlapping clip the image was
    taken from. Returns (N,) strings.
    """
    kinds = np.full(len(pool), str(PairKind.CROSS_VIDEO), dtype=object)
    here = pool.videos == clip.video_id
    kinds[here] = str(PairKind.SAME_VIDEO_OTHER_SHOT)
    kinds[here & (pool.shots == clip.shot_id)] = str(PairKind.SAME_SHOT_OTHER_CLIP)
    inside = (pool.times >= clip.start_s) & (pool.times < clip.end_s)
    kinds[here & (inside | (pool.clips == clip.clip_id))] = str(PairKind.IN_CLIP_AUGMENTED)
    kinds[pool.edited] = str(PairKind.EDITED)
    return kinds


def gap_s(clip: Clip, times: np.ndarray) -> np.ndarray:
    """Return how far outside the clip each time of the same video lies, 0 inside."""
    return np.maximum(np.maximum(clip.start_s - times, times - clip.end_s), 0)
