"""Cut a video into clips of training size, decoding it once.

Frames are taken on a grid of `fps` ticks a second of the source's own time, scaled at once, and
wait until the shot detector's verdict on them is final. Only then do they reach an encoder.

Where the source jumps in time, or its picture changes size or shape, a stretch ends: its last shot
and clips end there, and the next stretch has its own way to the clips' size.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from pipeline.dataset.units import VideoPart
from pipeline.execution.stage import ClipRow, Ledger, Rejected, VideoRow
from pipeline.media.bars import NO_BARS, Bars, find_bars
from pipeline.media.fit import Fit
from pipeline.media.geometry import FrameGeometry
from pipeline.media.limits import ProbeConfig, Refused, refuse
from pipeline.media.pixels import Scaler
from pipeline.media.reader import Frame, ReadCount, VideoReader
from pipeline.media.sound import Stretch, cut_sounds
from pipeline.observing.clip_maker import ClipMaker, ClipsConfig, Dropped, OpenClip, Ticked
from pipeline.observing.shots import ShotDetector, ShotList, ShotsConfig, Verdict
from schemas.ids import content_id
from schemas.reasons import Reason
from schemas.tables import Video

_GAP_S = 2.0  # without a new picture: what follows belongs to another shot
_STANDSTILL_S = 15.0  # a picture is not shown for longer: the recording was interrupted

__all__ = ["ClipsConfig", "CutConfig", "cut_video"]


class CutConfig(Protocol):
    """The settings that cutting reads; the curating config has them all."""

    @property
    def probe(self) -> ProbeConfig: ...
    @property
    def shots(self) -> ShotsConfig: ...
    @property
    def clips(self) -> ClipsConfig: ...


def cut_video(path: str, video: Video, part: VideoPart, config: CutConfig) -> VideoRow:
    """Decode a video, or a part of it, once; find its shots and cut them into clips."""
    ledger = Ledger()
    unit_id = f"{video.video_id}-{part.index:04d}"
    try:
        _refuse_too_small(video, config.clips)
        bars = _bars_of(path, video, part, config)
        with VideoReader(path, config.probe) as reader:
            cutter = _Cutter(video, part, reader, config, bars)
            for frame in _frames_of(reader, video, part):
                cutter.take(frame)
            clips = cutter.finish()
            _check_integrity(reader.count, part, config.probe)
            joined = bool(reader.timeline.restarts)
        if config.clips.audio == "keep" and not joined:
            clips = _with_sounds(path, config, clips)
    except Refused as refused:
        ledger.reject(refused.rejected.entry("shots", "video", unit_id, video.video_id))
        return VideoRow(video=None, ledger=ledger)
    ledger.keep("shots", "video")
    return VideoRow(
        video=_observed(video, reader.count, config.probe, cutter),
        clips=tuple(_accounted(clips, video, ledger)),
        ledger=ledger,
    )


def _with_sounds(
    path: str, config: CutConfig, clips: "list[ClipRow | Dropped]"
) -> "list[ClipRow | Dropped]":
    """Return the clips with what is heard in them; a joined recording has no one clock for both."""
    fps = config.clips.fps
    rows = [clip for clip in clips if isinstance(clip, ClipRow)]
    stretches = [Stretch.of_frames(row.begins_s, row.clip.num_frames, fps) for row in rows]
    sounds = iter(cut_sounds(path, config.probe, stretches))
    return [
        replace(clip, sound=next(sounds)) if isinstance(clip, ClipRow) else clip for clip in clips
    ]


def _bars_of(path: str, video: Video, part: VideoPart, config: CutConfig) -> Bars:
    """Return the bars of a part; none where they would leave too little for any clip."""
    if not config.clips.crop_bars:
        return NO_BARS
    with VideoReader(path, config.probe) as reader:
        bars = find_bars(reader, part.start_s, min(part.end_s, video.duration_s))
    return NO_BARS if isinstance(config.clips.fit(video, bars), Rejected) else bars


def _refuse_too_small(video: Video, clips: ClipsConfig) -> None:
    """Refuse a video that is too small for any clip before it is decoded."""
    fit = clips.fit(video)
    if isinstance(fit, Rejected):
        raise Refused(fit)


def _frames_of(reader: VideoReader, video: Video, part: VideoPart) -> Iterator[Frame]:
    """Yield the part's frames; the first and last part take whatever lies outside."""
    if part.index == 0:
        return reader.frames(end_s=part.end_s, may_change=True)
    fps = video.fps if video.constant_fps else None
    return reader.frames(part.start_s, part.end_s, fps, may_change=True)


def _check_integrity(count: ReadCount, part: VideoPart, limits: ProbeConfig) -> None:
    """Refuse what decoded badly or not to the end, unless it is only to be flagged."""
    if limits.integrity == "flag" or (count.packets == 0 and part.index > 0):
        return
    damaged = count.errors + count.corrupt
    if damaged:
        detail = f"{count.errors} packets refused, {count.corrupt} frames patched by the decoder"
        raise refuse(Reason.DAMAGED, damaged, 0, detail)
    if count.unsorted > _allowed(count.frames, limits):
        detail = f"the times of {count.unsorted} of {count.frames} frames do not advance"
        raise refuse(Reason.DAMAGED, count.unsorted, _allowed(count.frames, limits), detail)
    if _is_short(count, limits):
        detail = f"{count.frames} frames decoded of {count.packets} stored"
        raise refuse(Reason.TRUNCATED, count.frames, count.packets, detail)


def _is_short(count: ReadCount, limits: ProbeConfig) -> bool:
    return count.frames < count.packets - _allowed(count.packets, limits)


def _allowed(frames: int, limits: ProbeConfig) -> float:
    """Frames that may be absent."""
    return limits.max_missing * frames


def _observed(video: Video, count: ReadCount, limits: ProbeConfig, cutter: "_Cutter") -> Video:
    return replace(
        video,
        num_frames=count.frames - count.unsorted,
        duration_s=cutter.duration_s,
        decode_errors=count.errors + count.corrupt,
        truncated=video.truncated or _is_short(count, limits),
        shots=cutter.shots.shots,
    )


def _accounted(clips: "list[ClipRow | Dropped]", video: Video, ledger: Ledger) -> Iterator[ClipRow]:
    """Yield the clips kept, writing every clip into the ledger."""
    for clip in clips:
        if isinstance(clip, ClipRow):
            ledger.keep("clips", "clip")
            yield clip
        else:
            ledger.reject(clip.rejected.entry("clips", "clip", clip.clip_id, video.video_id))
    ledger.check("clips", "clip", len(clips))


class _Watcher:
    """Shows the shot detector a small picture of every frame of a stretch."""

    def __init__(
        self, geometry: FrameGeometry, fps: float, shots: ShotsConfig, opened_by: str
    ) -> None:
        scale = min(1.0, shots.picture_width / max(geometry.width, geometry.height))
        width, height = round(geometry.width * scale), round(geometry.height * scale)
        size = geometry.orientation.lying(max(2, width), max(2, height))
        self._scale = Scaler(*size, "bgr24", exact=False)
        self._detector = ShotDetector(shots, fps, opened_by)

    def watch(self, frame: Frame) -> Iterator[Verdict]:
        picture = self._scale(frame.picture).to_ndarray()
        return self._detector.add(frame.index, frame.pts, picture)

    def finish(self) -> Iterator[Verdict]:
        return self._detector.finish()


class _Cutter:
    """Takes decoded frames, asks for verdicts on them, and makes clips of what is safe."""

    def __init__(
        self,
        video: Video,
        part: VideoPart,
        reader: VideoReader,
        config: CutConfig,
        bars: Bars = NO_BARS,
    ) -> None:
        self._bars = bars
        self.shots = ShotList(video.video_id, reader.timebase)
        self._video = video
        self._timebase = reader.timebase
        self._config, self._clips = config, config.clips
        self._opened_by = "start" if part.index == 0 else "part"  # of the first stretch
        self._watcher: _Watcher | None = None
        self._maker: ClipMaker | None = None  # None where the picture is too small for clips
        self._previous: Frame | None = None
        self._first_pts = 0
        self._waiting: deque[Ticked] = deque()
        self._safe_from = 0  # first source frame of the open shot that is behind its guard
        self._open: list[OpenClip] = []
        self._next_tick: int | None = None  # that continues the open clips
        self._next_start = 0  # tick at which the next clip of the shot starts
        self._done: list[ClipRow | Dropped] = []

    @property
    def duration_s(self) -> float:
        """Time from the first frame to the end of the last one."""
        if self._previous is None:
            return 0.0
        return float((self._end_of(self._previous) - self._first_pts) * self._timebase)

    def take(self, frame: Frame) -> None:
        """Take the next decoded frame; the one before it now has a known end."""
        previous = self._previous
        if previous is None:
            self._first_pts = frame.pts
            self._begin_stretch(frame, self._opened_by)
        elif opened_by := self._boundary(previous, frame):
            self._end_stretch(previous, frame)
            self._begin_stretch(frame, opened_by)
        else:
            self._select(previous, frame.pts)
        self._previous = frame
        assert self._watcher is not None, "a stretch has begun"
        self._judge(self._watcher.watch(frame))

    def _boundary(self, previous: Frame, frame: Frame) -> str:
        """Return what ends the stretch between two frames, or ''."""
        if frame.geometry != previous.geometry:
            return "size"
        jump_s = float((frame.pts - previous.pts) * self._timebase)
        return "gap" if frame.is_start or jump_s > _GAP_S else ""

    def _begin_stretch(self, frame: Frame, opened_by: str) -> None:
        clips, geometry = self._clips, frame.geometry
        self._watcher = _Watcher(geometry, self._video.fps, self._config.shots, opened_by)
        fit = clips.fit(geometry, self._bars)
        if isinstance(fit, Fit):
            self._maker = ClipMaker(self._video, geometry, fit, self._timebase, clips)
        else:
            self._maker = None
            clip_id = content_id("clip", self._video.video_id, frame.pts)
            self._done.append(Dropped(clip_id, fit))

    def _end_stretch(self, last: Frame, following: Frame | None = None) -> None:
        """Close the last frame where it ends; end its shot and clips."""
        assert self._watcher is not None, "a stretch has begun"
        end = self._end_of(last)
        if following is not None and self._stands_still(last, following):
            end = last.pts + round(self._clips.max_hold_s / self._timebase)
        self._select(last, end)
        self._judge(self._watcher.finish())
        self._hand_out(last.index)
        self._end_clips()
        self.shots.end(last.index + 1, end)

    def _stands_still(self, last: Frame, following: Frame) -> bool:
        jump_s = float((following.pts - last.pts) * self._timebase)
        return _GAP_S < jump_s <= _STANDSTILL_S and not following.is_start

    def _end_of(self, frame: Frame) -> int:
        """Return when a frame without a successor ends; a container may stretch it over a gap."""
        usual = 1 / (self._video.fps * self._timebase)
        longest = max(float(usual), float(self._clips.max_hold_s / self._timebase))
        return frame.pts + (frame.duration if frame.duration <= longest else round(usual))

    def _select(self, frame: Frame, next_pts: int) -> None:
        """Scale the frame and queue it once for every tick at which it is shown."""
        if self._maker is None:
            return
        first, end = self._tick_at(frame.pts), self._tick_at(next_pts)
        hold = max(1, round(self._clips.max_hold_s * self._clips.fps))
        ticks = range(first, min(end, first + hold))
        if not ticks:
            return
        if end > ticks.stop:  # nothing shows the rest of it
            next_pts = math.ceil(ticks.stop / (self._timebase * self._clips.fps))
        picture = self._maker.fitter(frame.picture)
        for tick in ticks:
            still = self._maker.still(frame.picture, tick)
            self._waiting.append(Ticked(tick, frame.index, frame.pts, next_pts, picture, still))

    def _tick_at(self, pts: int) -> int:
        """Return the first tick at or after a pts."""
        return math.ceil(pts * self._timebase * self._clips.fps)

    def _judge(self, verdicts: Iterator[Verdict]) -> None:
        """Follow the shot detector: hand out what is safe, end clips where a shot ends."""
        for verdict in verdicts:
            if verdict.opened_by or not verdict.inside:
                self._drop_before(verdict.index + (not verdict.inside))
                self._end_clips()
            self.shots.add(verdict)
            if verdict.opened_by:
                guarded = verdict.opened_by in ("cut", "fade")
                self._safe_from = verdict.index + self._clips.guard * guarded
            if verdict.inside:
                self._hand_out(verdict.index - self._clips.guard)

    def _drop_before(self, index: int) -> None:
        """Drop waiting frames before a source frame: they lie in a guard or in the dark."""
        while self._waiting and self._waiting[0].index < index:
            self._waiting.popleft()

    def _hand_out(self, last_index: int) -> None:
        """Give the waiting frames up to a source frame to the open clips."""
        self._drop_before(self._safe_from)
        while self._waiting and self._waiting[0].index <= last_index:
            self._give(self._waiting.popleft())

    def _give(self, ticked: Ticked) -> None:
        """Add a safe frame to the clips that it belongs to, opening and closing them."""
        opens_shot = ticked.tick != self._next_tick  # or the source jumps in time
        if opens_shot:
            self._end_clips()
            self._next_start = ticked.tick
        if ticked.tick >= self._next_start:
            assert self._maker is not None, "only what clips can be made of waits"
            self._open.append(OpenClip(self.shots.shot_id, self._maker, opens_shot))
            self._next_start = ticked.tick + self._clips.stride_frames
        for clip in self._open:
            clip.add(ticked)
        self._next_tick = ticked.tick + 1
        if self._open and self._open[0].num_frames == self._clips.max_frames:
            self._done.append(self._open.pop(0).close())

    def _end_clips(self) -> None:
        self._done.extend(clip.close() for clip in self._open)
        self._open.clear()
        self._next_tick = None

    def finish(self) -> list[ClipRow | Dropped]:
        """End the last stretch and return all clips in time order."""
        if self._previous is not None:
            self._end_stretch(self._previous)
        return self._done
