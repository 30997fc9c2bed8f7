"""Apply the late thresholds: what was measured stays, what is used is decided here.

A changed threshold runs this again, and never decodes a video.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.observed import Observed
from pipeline.pairing.duplicates import Duplicates, find_duplicates
from pipeline.quality import QualityGate
from pipeline.stage import Ledger, Rejected
from pipeline.tracks import TrackGate
from schemas.reasons import Reason
from schemas.tables import Clip, Reject, Track, Video


@dataclass(frozen=True)
class Licences:
    """Which licences may enter the dataset.

    Rejects  licence_refused   the manifest's licence is not among `allowed`

    Attributes:
        allowed: licences as written in the manifest; empty allows all, also 'unknown'.
    """

    allowed: tuple[str, ...] = ()

    def check(self, video: Video) -> Rejected | None:
        if self.allowed and video.licence not in self.allowed:
            allowed = ", ".join(self.allowed)
            detail = f"licence {video.licence!r}, allowed: {allowed}"
            return Rejected(Reason.LICENCE_REFUSED, detail=detail)
        return None


@dataclass(frozen=True)
class Gates:
    """All late thresholds, in the order in which a row meets them."""

    licences: Licences
    quality: QualityGate
    duplicates: Duplicates
    people: TrackGate


@dataclass(frozen=True)
class Kept:
    """What passed, and the ledger of what did not."""

    videos: list[Video]
    clips: list[Clip]
    tracks: list[Track]
    ledger: Ledger


def incomplete_videos(rejects: Iterable[Reject]) -> dict[str, Reject]:
    """Return, per video of which a part was refused or failed, that part's entry."""
    return {
        reject.video_id: reject
        for reject in rejects
        if (reject.stage, reject.level) == ("shots", "video")
    }


def describe_videos(videos: list[Video], given: Mapping[str, InputVideo]) -> list[Video]:
    """Fill in what the owner says of each video; `given` is by video_id."""
    return [
        replace(
            video,
            uri=given[video.video_id].uri,
            licence=given[video.video_id].licence,
            source=given[video.video_id].source,
            given_caption=given[video.video_id].caption,
        )
        for video in sorted(videos, key=lambda video: video.video_id)
    ]


def apply_gates(observed: Observed, videos: list[Video], gates: Gates) -> Kept:
    """Check videos, then clips, then tracks; every row ends up kept or in the ledger."""
    ledger = Ledger()
    kept_videos = _gate_videos(videos, incomplete_videos(observed.rejects), gates, ledger)
    allowed = {video.video_id for video in kept_videos}
    clips = [clip for clip in observed.clips if clip.video_id in allowed]
    clips = _gate_clips(sorted(clips, key=lambda clip: clip.clip_id), gates, ledger)
    by_id = {clip.clip_id: clip for clip in clips}
    tracks = [track for track in observed.tracks if track.clip_id in by_id]
    tracks = _gate_tracks(sorted(tracks, key=lambda track: track.track_id), by_id, gates, ledger)
    clips = _gate_empty_clips(clips, tracks, ledger)
    return Kept(kept_videos, clips, tracks, ledger)


def _gate_videos(
    videos: list[Video], incomplete: Mapping[str, Reject], gates: Gates, ledger: Ledger
) -> list[Video]:
    kept = []
    for video in videos:
        lost = incomplete.get(video.video_id)
        if lost is not None:
            detail = f"part {lost.id}: {lost.reason}"
            rejected = Rejected(Reason.INCOMPLETE_VIDEO, lost.value, lost.threshold, detail)
        else:
            rejected = gates.licences.check(video)
        if rejected:
            ledger.reject(rejected.entry("videos", "video", video.video_id, video.video_id))
        else:
            kept.append(video)
    ledger.keep("videos", "video", len(kept))
    ledger.check("videos", "video", len(videos))
    return kept


def _gate_clips(clips: list[Clip], gates: Gates, ledger: Ledger) -> list[Clip]:
    good = []
    for clip in clips:
        rejected = gates.quality.check(clip)
        if rejected:
            ledger.reject(rejected.entry("quality", "clip", clip.clip_id, clip.video_id))
        else:
            good.append(clip)
    copies = find_duplicates(good, gates.duplicates)
    for clip in good:
        if clip.clip_id in copies:
            original, distance = copies[clip.clip_id]
            limit = gates.duplicates.max_distance
            rejected = Rejected(Reason.DUPLICATE_CLIP, distance, limit, f"repeats {original}")
            ledger.reject(rejected.entry("quality", "clip", clip.clip_id, clip.video_id))
    kept = [clip for clip in good if clip.clip_id not in copies]
    ledger.keep("quality", "clip", len(kept))
    ledger.check("quality", "clip", len(clips))
    return kept


def _gate_tracks(
    tracks: list[Track], clips: Mapping[str, Clip], gates: Gates, ledger: Ledger
) -> list[Track]:
    kept = []
    for track in tracks:
        rejected = gates.people.check(track, clips[track.clip_id])
        if rejected:
            ledger.reject(rejected.entry("people", "track", track.track_id, track.video_id))
        else:
            kept.append(track)
    ledger.keep("people", "track", len(kept))
    ledger.check("people", "track", len(tracks))
    return kept


def _gate_empty_clips(clips: list[Clip], tracks: list[Track], ledger: Ledger) -> list[Clip]:
    peopled = {track.clip_id for track in tracks}
    kept = [clip for clip in clips if clip.clip_id in peopled]
    for clip in clips:
        if clip.clip_id not in peopled:
            rejected = Rejected(Reason.NO_PERSON, 0, 1, "no track passed the gates")
            ledger.reject(rejected.entry("people", "clip", clip.clip_id, clip.video_id))
    ledger.keep("people", "clip", len(kept))
    ledger.check("people", "clip", len(clips))
    return kept
