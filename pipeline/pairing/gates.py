"""Apply the late thresholds: what was measured stays, what is used is decided here.

A changed threshold runs this again, and never decodes a video.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from pipeline.dataset.column_rows import RowLog
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.observed import Observed
from pipeline.dataset.row_sets import (
    ByKey,
    Places,
    encoded,
    ids_of,
    in_order,
    take,
    values,
    where,
    with_columns,
)
from pipeline.execution.plugins import load_own
from pipeline.execution.stage import Ledger, Rejected
from pipeline.observing.quality import QualityConfig
from pipeline.observing.scores import ScoresConfig
from pipeline.observing.tracks import PeopleConfig
from pipeline.pairing.duplicates import DuplicatesConfig, find_duplicates
from pipeline.pairing.people import GroupsConfig, check_spare, check_track
from schemas.columns import Row
from schemas.reasons import Reason
from schemas.settings import check_settings, setting
from schemas.tables import Clip, Reject, Track, Video

_Row = TypeVar("_Row", Video, Clip, Track)


@dataclass(frozen=True)
class LicencesConfig:
    """Which licences may enter the dataset.

    Rejects  licence_refused   the manifest's licence is not among `allowed`

    Attributes:
        allowed: licences as written in the manifest; empty allows all, also 'unknown'.
    """

    allowed: tuple[str, ...] = setting(())

    def __post_init__(self) -> None:
        check_settings(self, "pair.licences")

    def check(self, video: Video) -> Rejected | None:
        if self.allowed and video.licence not in self.allowed:
            allowed = ", ".join(self.allowed)
            detail = f"licence {video.licence!r}, allowed: {allowed}"
            return Rejected(Reason.LICENCE_REFUSED, detail=detail)
        return None


class ClipGate(Protocol):
    """A gate of your own on clips: `pair.gates` names it as module:Class."""

    @property
    def name(self) -> str:
        """The stage under which the funnel and the rejects count it."""
        ...

    def check(self, clip: Clip, tracks: Sequence[Track]) -> Rejected | None:
        """Return why a clip, of which these tracks passed, is refused (Reason.OWN_GATE)."""
        ...


@dataclass(frozen=True)
class Gates:
    """All late thresholds, from the licence on."""

    licences: LicencesConfig
    quality: QualityConfig
    duplicates: DuplicatesConfig
    people: PeopleConfig
    scores: ScoresConfig = field(default_factory=ScoresConfig)
    own: tuple[str, ...] = ()  # module:Class, each a ClipGate
    groups: GroupsConfig = field(default_factory=GroupsConfig)


@dataclass(frozen=True)
class Kept:
    """What passed, and the ledger of what did not."""

    videos: Sequence[Video]  # all three sorted by id
    clips: Sequence[Clip]
    tracks: Sequence[Track]
    ledger: Ledger
    spare: Mapping[str, Rejected] = field(default_factory=dict)  # by id: tracks for references only


def incomplete_videos(rejects: Iterable[Reject]) -> dict[str, Reject]:
    """Return, per video of which a part was refused or failed, that part's entry."""
    return {
        reject.video_id: reject
        for reject in rejects
        if (reject.stage, reject.level) == ("shots", "video")
    }


def describe_videos(videos: Sequence[Video], given: Mapping[str, InputVideo]) -> Sequence[Video]:
    """Fill in what the owner says of each video; `given` is by video_id."""
    ordered = in_order(videos, "video_id")
    inputs = [given[video_id] for video_id in ids_of(ordered, "video_id")]
    return with_columns(
        ordered,
        {
            "uri": [video.uri for video in inputs],
            "licence": [video.licence for video in inputs],
            "source": [video.source for video in inputs],
            "given_caption": [video.caption for video in inputs],
        },
    )


def apply_gates(observed: Observed, videos: Sequence[Video], gates: Gates) -> Kept:
    """Check videos, then clips, then tracks; every row ends up kept or in the ledger."""
    ledger = Ledger(RowLog(Reject))
    whole = _video_check(incomplete_videos(observed.rejects), gates.licences)
    kept_videos = _sift(videos, whole, "videos", "video", ledger)
    clips = where(observed.clips, _among(observed.clips, kept_videos, "video_id"))
    clips = in_order(clips, "clip_id")
    clips = _sift(clips, _clip_check(clips, gates), "quality", "clip", ledger)
    filmed = where(observed.tracks, _among(observed.tracks, clips, "clip_id"))
    spare: dict[str, Rejected] = {}
    check = _track_check(ByKey(clips, "clip_id"), gates, spare)
    tracks = in_order(_sift(filmed, check, "people", "track", ledger), "track_id")
    nobody = Rejected(Reason.NO_PERSON, 0, 1, "no track passed the gates")
    empty = set(ids_of(where(clips, ~_among(clips, tracks, "clip_id")), "clip_id"))
    clips = _sift(
        clips, lambda clip: nobody if clip.clip_id in empty else None, "people", "clip", ledger
    )
    for gate in load_gates(gates.own):
        clips, tracks = _own_gate(gate, clips, tracks, ledger)
    return Kept(kept_videos, clips, tracks, ledger, spare)


def _track_check(
    clips: Mapping[str, Clip], gates: Gates, spare: dict[str, Rejected]
) -> Callable[[Track], Rejected | None]:
    """Check a track; one that is only too short stays, and is noted with the reason in `spare`."""

    def check(track: Track) -> Rejected | None:
        clip = clips[track.clip_id]
        rejected = check_track(track, clip, gates.people, gates.groups)
        if rejected is None or check_spare(track, clip, gates.people, gates.groups):
            return rejected
        spare[track.track_id] = rejected
        return None

    return check


def _among(rows: Sequence[Row], others: Sequence[Row], name: str) -> np.ndarray:
    """Return, (N,) bool, whether some other row has the same id as each row."""
    return np.isin(values(rows, name), values(others, name))


def load_gates(names: Iterable[str]) -> list[ClipGate]:
    """Build the user's own gates. Raises ValueError for one that cannot be used."""
    return [load_own("pair.gates", name, ("name", "check")) for name in names]


def _own_gate(
    gate: ClipGate, clips: Sequence[Clip], tracks: Sequence[Track], ledger: Ledger
) -> tuple[Sequence[Clip], Sequence[Track]]:
    """Return what one of the user's gates lets pass."""
    seen = Places(values(tracks, "clip_id"))
    clips = _sift(
        clips,
        lambda clip: gate.check(clip, take(tracks, seen.all_of(clip.clip_id))),
        gate.name,
        "clip",
        ledger,
    )
    return clips, where(tracks, _among(tracks, clips, "clip_id"))


def _sift(
    rows: Sequence[_Row],
    check: Callable[[_Row], Rejected | None],
    stage: str,
    level: str,
    ledger: Ledger,
) -> Sequence[_Row]:
    """Return the rows that pass; every other one is a line in the ledger."""
    passes = np.zeros(len(rows), bool)
    for place, row in enumerate(rows):
        rejected = check(row)
        if rejected:
            row_id = getattr(row, f"{level}_id")
            ledger.reject(rejected.entry(stage, level, row_id, row.video_id))
        passes[place] = not rejected
    ledger.keep(stage, level, int(passes.sum()))
    ledger.check(stage, level, len(rows))
    return where(rows, passes)


def _video_check(
    incomplete: Mapping[str, Reject], licences: LicencesConfig
) -> Callable[[Video], Rejected | None]:
    def check(video: Video) -> Rejected | None:
        lost = incomplete.get(video.video_id)
        if lost is None:
            return licences.check(video)
        detail = f"part {lost.id}: {lost.reason}"
        return Rejected(Reason.INCOMPLETE_VIDEO, lost.value, lost.threshold, detail)

    return check


def _clip_check(clips: Sequence[Clip], gates: Gates) -> Callable[[Clip], Rejected | None]:
    """Check quality first: only a clip that passes it can be the original of a copy."""
    bad: dict[str, Rejected] = {}
    for clip in clips:
        rejected = gates.quality.check(clip) or gates.scores.check(clip)
        if rejected:
            bad[clip.clip_id] = rejected
    good = ~np.isin(values(clips, "clip_id"), encoded(bad))
    copies = find_duplicates(where(clips, good), gates.duplicates)

    def check(clip: Clip) -> Rejected | None:
        if clip.clip_id not in copies:
            return bad.get(clip.clip_id)
        original, distance = copies[clip.clip_id]
        limit = gates.duplicates.max_distance
        return Rejected(Reason.DUPLICATE_CLIP, distance, limit, f"repeats {original}")

    return check
