"""What of the videos became no sample, in minutes, and which setting would bring how much back."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, light_rows
from schemas.manifest import Manifest
from schemas.reasons import Reason
from schemas.thresholds import THRESHOLDS, Threshold

_NOBODY = "nobody_found"  # no track at all: not a reject, the detector saw no one
_FARTHEST = 2.0  # a bound is moved to half or twice of what it is, no further


@dataclass
class Loss:
    """What one reason cost. A clip counts under the reason of its largest person."""

    reason: str
    clips: int = 0
    seconds: float = 0.0
    setting: str = ""  # that would bring some back, '' where none helps
    value: float = 0.0  # it would have
    back: int = 0  # clips that this bound would let pass; a later one may refuse them
    misses: list[tuple[float, float]] = field(default_factory=list, repr=False)  # value, threshold
    unit: str = ""


@dataclass(frozen=True)
class Losses:
    """The minutes of a dataset's inputs: what is in samples, and what is not."""

    videos: int
    seconds: float  # of all videos
    samples: int
    characters: int
    sampled_s: float  # of clips in samples
    lost: tuple[Loss, ...]  # most seconds first

    @property
    def lost_s(self) -> float:
        return sum(loss.seconds for loss in self.lost)


def losses_of(manifest: Manifest, store: Store) -> Losses:
    """Read the light tables of a version and add up what became of every clip."""
    read = {
        table: [row for path in files_of(table, manifest) for row in light_rows(path, names, store)]
        for table, names in _COLUMNS.items()
    }
    return add_up(**read, shortest=_shortest(manifest))


def _shortest(manifest: Manifest) -> str:
    """Return the setting that says how short a clip may be, '' when it is what a trainer takes."""
    clips = manifest.config.get("observe", {}).get("clips", {})
    from_s = clips.get("frames_from", 1) / clips.get("fps", 1)
    return "" if from_s > clips.get("min_s", 0.0) else "observe.clips.min_s"


_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "videos": ("video_id", "duration_s"),
    "clips": ("clip_id", "start_s", "end_s", "reference_only"),
    "tracks": ("track_id", "clip_id", "area"),
    "samples": ("clip_id", "character_id"),
    "rejects": ("stage", "level", "id", "reason", "value", "threshold", "detail"),
}


def add_up(
    videos: Sequence[Mapping[str, Any]], clips: Sequence[Mapping[str, Any]],
    tracks: Sequence[Mapping[str, Any]], samples: Sequence[Mapping[str, Any]],
    rejects: Sequence[Mapping[str, Any]], shortest: str = "observe.clips.min_s",
) -> Losses:  # fmt: skip
    """Return what rows of the tables tell; `shortest` is the setting of the shortest clip."""
    used = {row["clip_id"] for row in samples}
    of_clip = {row["id"]: row for row in rejects if row["level"] == "clip"}
    of_track = {row["id"]: row for row in rejects if row["level"] in ("track", "sample")}
    largest = _largest(tracks)
    lost: dict[tuple[str, str], Loss] = {}
    for clip in clips:
        if clip["clip_id"] not in used and not clip.get("reference_only"):
            reject = _reject_of(clip["clip_id"], of_clip, of_track, largest)
            _add(lost, reject, clip["end_s"] - clip["start_s"], shortest)
    for row in of_clip.values():
        if row["reason"] == str(Reason.CLIP_TOO_SHORT):
            _add(lost, row, row["value"] or 0.0, shortest)
    for loss in lost.values():
        _propose(loss)
    return Losses(
        videos=len(videos),
        seconds=sum(row["duration_s"] or 0.0 for row in videos),
        samples=len(samples),
        characters=len({row["character_id"] for row in samples}),
        sampled_s=sum(c["end_s"] - c["start_s"] for c in clips if c["clip_id"] in used),
        lost=tuple(sorted(lost.values(), key=lambda loss: (-loss.seconds, loss.reason))),
    )


def _largest(tracks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the largest track of every clip."""
    found: dict[str, tuple[float, str]] = {}
    for track in tracks:
        own = (track["area"] or 0.0, track["track_id"])
        found[track["clip_id"]] = max(found.get(track["clip_id"], own), own)
    return {clip_id: track_id for clip_id, (_, track_id) in found.items()}


def _reject_of(
    clip_id: str, of_clip: Mapping[str, Any], of_track: Mapping[str, Any],
    largest: Mapping[str, str],
) -> Mapping[str, Any]:  # fmt: skip
    own = of_clip.get(clip_id)
    if own is not None and own["reason"] != str(Reason.NO_PERSON):
        return own
    if clip_id in largest:
        return of_track.get(largest[clip_id]) or own or {"reason": "unknown"}
    return {"reason": _NOBODY}


def _add(
    lost: dict[tuple[str, str], Loss], reject: Mapping[str, Any], seconds: float, shortest: str
) -> None:
    threshold = _threshold_of(reject)
    too_short = reject["reason"] == str(Reason.CLIP_TOO_SHORT)
    setting = threshold.setting if threshold else shortest if too_short else ""
    loss = lost.setdefault((reject["reason"], setting), Loss(reject["reason"], setting=setting))
    loss.clips += 1
    loss.seconds += seconds
    loss.unit = threshold.unit if threshold else ""
    if reject.get("value") is not None and reject.get("threshold") is not None:
        loss.misses.append((float(reject["value"]), float(reject["threshold"])))


def _threshold_of(reject: Mapping[str, Any]) -> Threshold | None:
    """Return the threshold that refused; the detail tells two of one reason apart."""
    own = [each for each in THRESHOLDS if str(each.reason) == reject["reason"]]
    value, bound = reject.get("value"), reject.get("threshold")
    if value is None or bound is None:
        return None
    fitting = [each for each in own if each.refuses(float(value), float(bound))]
    named = [each for each in fitting if each.unit and each.unit == reject.get("detail")]
    return next(iter([*named, *fitting]), None)


def _propose(loss: Loss) -> None:
    """Say which bound would let half of what was lost pass, where that is not far from it."""
    if not loss.setting or not loss.misses:
        loss.setting = ""
        return
    bound = loss.misses[0][1]
    below = all(value < bound for value, _ in loss.misses)
    limit = bound / _FARTHEST if below else bound * _FARTHEST
    near = [value for value, _ in loss.misses if (value >= limit if below else value <= limit)]
    if not near:
        loss.setting = ""
        return
    wanted = statistics.median_low(near) if below else statistics.median_high(near)
    step = 10.0 ** (len(str(int(abs(wanted)))) - 3) if abs(wanted) >= 1 else 0.001
    steps = math.floor(wanted / step + 1e-6) if below else math.ceil(wanted / step - 1e-6)
    loss.value = round(steps * step, 6)
    loss.back = sum(value >= loss.value if below else value <= loss.value for value in near)


def sentences(losses: Losses, most: int = 5) -> list[str]:
    """Return what a person should know of it, a line each."""
    lines = [
        f"{losses.videos} videos, {losses.seconds / 60:.1f} minutes: {losses.samples} samples of "
        f"{losses.characters} characters, in {losses.sampled_s / 60:.1f} minutes of clips"
    ]
    if not losses.lost_s:
        return lines
    lines.append(f"{losses.lost_s / 60:.1f} minutes of clips are in no sample, most by:")
    for loss in losses.lost[:most]:
        share = loss.seconds / losses.lost_s
        line = f"  {loss.reason.replace('_', ' ')}: {share:.0%}, {loss.clips} clips"
        if loss.setting:
            again = " (looks at the videos again)" if loss.setting.startswith("observe.") else ""
            line += f"; --set {loss.setting}={loss.value:g} would let up to {loss.back} pass{again}"
        lines.append(line)
    return lines
