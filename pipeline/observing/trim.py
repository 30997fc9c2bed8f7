"""Cut a clip to the stretch in which somebody is there.

Windows are cut before anybody knows where people are: somebody who walks in halfway is there for
too little of the window, and what is before shows an empty room. The stretch is encoded once more,
and measured again.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction

import av

from pipeline.engines.interfaces import PersonDetector
from pipeline.execution.stage import ClipRow
from pipeline.media.colours import BT709
from pipeline.media.encode import ClipEncoder, EncodingConfig
from pipeline.media.pixels import planes_of
from pipeline.media.sound import Stretch
from pipeline.observing.clip_maker import ClipsConfig
from pipeline.observing.quality import QualityMeter
from pipeline.observing.tracks import TrackPeople, TracksConfig
from schemas.ids import content_id
from schemas.settings import check_settings, setting
from schemas.tables import Clip, Track


@dataclass(frozen=True)
class TrimConfig:
    """When a clip is cut to the stretch of its main person.

    Attributes:
        below_coverage: where nobody is in a larger share of the clip; pair.people.min_coverage
            refuses such people.
        max_empty_s: longest time at the beginning or the end in which nobody is there at all.
        min_s: shortest stretch that is worth a clip of its own.
    """

    below_coverage: float = setting(0.6, above=0, high=1)
    max_empty_s: float = setting(0.5, above=0, high=600, unit="s")
    min_s: float = setting(2.0, low=0.1, high=600, unit="s")

    def __post_init__(self) -> None:
        check_settings(self, "observe.trim")


@dataclass(frozen=True)
class TrackAndTrim:
    """Track people; where nobody is there for long, cut the clip to who is, and track again.

    A clip that is only for references is looked at as densely as it is followed: at two looks a
    second half a second is seen once, and nobody is believed for that.
    """

    detector: PersonDetector
    config: TracksConfig
    trim: TrimConfig
    clips: ClipsConfig
    name = "tracks"

    def process(self, row: ClipRow) -> ClipRow:
        if row.clip.reference_only:
            dense = replace(self.config, detect_fps=self.config.follow_fps)
            return TrackPeople(self.detector, dense).process(row)
        tracker = TrackPeople(self.detector, self.config)
        tracked = tracker.process(row)
        stretch = stretch_of(tracked.clip, tracked.tracks, self.trim, self.clips)
        if stretch is None:
            return tracked
        trimmed = tracker.process(cut_to(row, *stretch, self.clips.encoding))
        stays = any(track.coverage >= self.trim.below_coverage for track in trimmed.tracks)
        return trimmed if stays else tracked  # looks fall elsewhere, and may find nobody


def stretch_of(
    clip: Clip, tracks: Sequence[Track], config: TrimConfig, clips: ClipsConfig
) -> tuple[int, int] | None:
    """Return the frames, half-open, to which a clip is to be cut; None to leave it as it is."""
    if not tracks:
        return None
    if max(track.coverage for track in tracks) >= config.below_coverage:
        first, end = _peopled(clip, tracks, config)
    else:
        main = max(tracks, key=lambda track: (len(track.boxes) * track.area, track.track_id))
        first, end = main.first_frame, main.first_frame + len(main.boxes)
    length = clips.length_within(end - first)
    if (first, end) == (0, clip.num_frames) or length < config.min_s * clip.fps:
        return None
    return first, first + length


def _peopled(clip: Clip, tracks: Sequence[Track], config: TrimConfig) -> tuple[int, int]:
    """Return the frames, half-open, without a beginning and an end in which nobody is there."""
    most = config.max_empty_s * clip.fps
    first = min(track.first_frame for track in tracks)
    end = max(track.first_frame + len(track.boxes) for track in tracks)
    return (
        first if first > most else 0,
        end if clip.num_frames - end > most else clip.num_frames,
    )


def cut_to(row: ClipRow, first: int, end: int, encoding: EncodingConfig) -> ClipRow:
    """Return the clip of some of a clip's frames, half-open, encoded and measured anew."""
    clip, fps = row.clip, round(row.clip.fps)
    encoder = ClipEncoder(clip.width, clip.height, fps, encoding, BT709)
    meter = QualityMeter(fps)
    with av.open(io.BytesIO(row.mp4), "r", format="mp4", options={"threads": "1"}) as container:
        for index, picture in enumerate(container.decode(video=0)):
            if first <= index < end:
                meter.add(planes_of(picture)[0])
                encoder.write(picture)
    mp4 = encoder.close()
    clip = replace(
        _moved(clip, first, end),
        size_bytes=len(mp4),
        sha256=hashlib.sha256(mp4).hexdigest(),
        **asdict(meter.finish()),
    )
    stills = tuple(
        replace(still, frame_index=still.frame_index - first)
        for still in row.stills
        if first <= still.frame_index < end
    )
    begins_s = row.begins_s + Fraction(first, fps)
    sound = None
    if row.sound is not None:
        whole = Stretch.of_frames(Fraction(0), first, fps).length
        sound = row.sound[whole : whole + Stretch.of_frames(Fraction(0), end - first, fps).length]
    return ClipRow(clip, mp4, stills, movements=meter.movements, begins_s=begins_s, sound=sound)


def _moved(clip: Clip, first: int, end: int) -> Clip:
    """Return the clip's row for some of its frames; source frames are those nearest in time."""
    ticks = clip.timebase_den / clip.timebase_num
    start_pts = clip.start_pts + round(first / clip.fps * ticks)
    end_pts = min(clip.end_pts, clip.start_pts + round(end / clip.fps * ticks))
    rate = (clip.end_frame - clip.start_frame) / clip.num_frames
    return replace(
        clip,
        clip_id=content_id("clip", clip.clip_id, first, end),
        start_pts=start_pts,
        end_pts=end_pts,
        start_s=start_pts / ticks,
        end_s=end_pts / ticks,
        start_frame=clip.start_frame + round(first * rate),
        end_frame=min(clip.end_frame, clip.start_frame + round(end * rate)),
        num_frames=end - first,
    )
