"""Probe a file's container: what it holds, or why it is refused. Decodes one frame."""

import os
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.error import FFmpegError

from pipeline.execution.stage import Rejected
from pipeline.media.limits import ProbeConfig, Refused, refuse
from pipeline.media.reader import Frame, VideoReader, check_expansion
from schemas.reasons import Reason
from schemas.tables import Video

__all__ = ["ProbeConfig", "probe"]

_EVEN_TOLERANCE_S = 0.0021  # a Matroska timebase rounds times to 1 ms, twice
_GAP_S = 0.5  # a step in time of at least so much, and of so many usual steps, is no frame's length
_GAP_STEPS = 5
_REORDERED = 4  # frames by which a container may end early that stores no display times
_INDEXED = ("mov", "avi")  # containers whose index lists every frame
_TIMED = ("matroska", "flv", "asf", "mov")  # and those that declare how long they last


def probe(path: str, video_id: str, limits: ProbeConfig) -> Video | Rejected:
    """Decode a file's first frame, read its streams and packet times, check them.

    Returns the video with `num_frames` 0 and no shots: those are known after decoding.
    """
    try:
        with VideoReader(path, limits) as reader:
            first = next(reader.frames(), None)
            if first is None:
                raise refuse(Reason.DAMAGED, 0, 1, "not one frame can be decoded")
            with VideoReader(path, limits) as another:
                stored = _read_times(another, first.pts)
                _check_times(stored, another, limits)
            return _describe(path, video_id, reader, stored, first)
    except Refused as refused:
        return refused.rejected
    except FFmpegError as error:
        return Rejected(Reason.DAMAGED, detail=error.strerror or type(error).__name__)


@dataclass(frozen=True)
class _Stored:
    """What the packets say, without decoding them."""

    num_packets: int  # but for those that an edit list discards
    declared: int  # 0 when the container does not say
    duration_s: float  # from the first frame to the end of the last
    shown_s: float  # the same without gaps
    stored_s: float  # the time at which what is stored ends
    declared_s: float  # the time at which it should end; 0.0 when the container does not say
    fps: float  # between gaps
    constant: bool
    corrupt: int  # packets that end early

    @property
    def missing(self) -> float:
        """Share of the declared frames or seconds that is not there."""
        frames = 1 - self.num_packets / self.declared if self.declared else 0.0
        seconds = self.declared_s - self.stored_s
        if seconds < _REORDERED / self.fps:
            return frames
        return max(frames, seconds / self.declared_s)


def _read_times(reader: VideoReader, first: int) -> _Stored:
    """Read all packets; those of a time before the first frame show nothing."""
    stream, timebase = reader.stream, reader.timebase
    times: list[int] = []
    num_packets, corrupt, end, end_s = 0, 0, first, 0.0
    lasts = not stream.duration and reader.container.format.name.startswith(_TIMED)
    for packet in reader.packets(all_streams=lasts):
        at = reader.time_of(packet)
        if not packet.size or at is None:
            continue
        if packet.stream_index != stream.index:
            end_s = max(end_s, float((at + (packet.duration or 0)) * packet.time_base))
            continue
        num_packets += not packet.is_discard
        if not reader.shows(packet) or packet.is_discard or at < first:
            continue
        corrupt += packet.is_corrupt
        times.append(at)
        end = max(end, at + (packet.duration or 0))
        if len(times) > reader.limits.max_frames:
            raise refuse(Reason.VIDEO_TOO_LONG, len(times), reader.limits.max_frames, "frames")
    if not times:
        raise refuse(Reason.TRUNCATED, 0, stream.frames, "the container holds no frame")
    pts = np.sort(np.array(times))
    step = _usual_step(pts, reader)
    steps = np.diff(pts)
    gaps = steps > max(_GAP_STEPS * step, float(_GAP_S / timebase))
    inside = steps[~gaps]
    mean_s = float(inside.mean() * timebase) if inside.any() else float(step * timebase)
    end = max(end, int(pts[-1]) + 1)
    return _Stored(
        num_packets=num_packets,
        declared=_declared_frames(reader),
        duration_s=float((end - int(pts[0])) * timebase),
        shown_s=float((int(inside.sum()) + end - int(pts[-1])) * timebase),
        stored_s=max(end_s, float(end * timebase)),
        declared_s=_declared_end(reader),
        fps=1 / mean_s,
        constant=not reader.timeline.restarts and _is_even(pts, timebase, mean_s),
        corrupt=corrupt,
    )


def _usual_step(pts: np.ndarray, reader: VideoReader) -> float:
    """Return the median time between frames, in units of the timebase."""
    step = float(np.median(np.diff(pts))) if len(pts) > 1 else 0.0
    return step or float(1 / ((reader.stream.guessed_rate or Fraction(25)) * reader.timebase))


def _is_even(pts: np.ndarray, timebase: Fraction, mean_s: float) -> bool:
    """Return whether every frame is where a constant rate would put it."""
    ideal = np.arange(len(pts)) * mean_s
    return bool((np.abs((pts - pts[0]) * float(timebase) - ideal) <= _EVEN_TOLERANCE_S).all())


def _declared_frames(reader: VideoReader) -> int:
    """Return how many frames the container's index shows, after its edit list."""
    if not reader.container.format.name.startswith(_INDEXED):
        return 0
    return sum(not entry.is_discard for entry in reader.stream.index_entries)


def _declared_end(reader: VideoReader) -> float:
    """Return when a container ends by its own word, in seconds; whatever it counts from."""
    if not reader.container.format.name.startswith(_TIMED) or _declared_frames(reader):
        return 0.0
    if reader.stream.duration:
        return float(reader.stream.duration * reader.timebase)
    return (reader.container.duration or 0) / 1e6


def _check_times(stored: _Stored, reader: VideoReader, limits: ProbeConfig) -> None:
    seconds = stored.shown_s
    codec = reader.stream.codec_context
    check_expansion(codec.width * codec.height * stored.num_packets, reader.size_bytes, limits)
    if not limits.min_fps <= stored.fps <= limits.max_fps:
        bound = limits.min_fps if stored.fps < limits.min_fps else limits.max_fps
        detail = f"{stored.fps:.3f} frames a second"
        raise refuse(Reason.FRAME_RATE_OUT_OF_RANGE, stored.fps, bound, detail)
    if seconds > limits.max_duration_s:
        raise refuse(
            Reason.VIDEO_TOO_LONG, seconds, limits.max_duration_s, f"{seconds:.2f} seconds"
        )
    if is_truncated(stored, limits) and limits.integrity == "reject":
        detail = (
            f"{stored.num_packets} frames, {stored.stored_s:.2f} s stored, {stored.corrupt} of them"
            f" cut off; {stored.declared} frames, {stored.declared_s:.2f} s declared"
        )
        raise refuse(Reason.TRUNCATED, 1 - stored.missing, 1 - limits.max_missing, detail)
    if seconds < limits.min_duration_s:
        raise refuse(
            Reason.VIDEO_TOO_SHORT, seconds, limits.min_duration_s, f"{seconds:.2f} seconds"
        )


def is_truncated(stored: _Stored, limits: ProbeConfig) -> bool:
    return stored.corrupt > 0 or stored.missing > limits.max_missing


def _describe(
    path: str, video_id: str, reader: VideoReader, stored: _Stored, first: Frame
) -> Video:
    stream, picture = reader.stream, first.picture
    sounds = reader.container.streams.audio
    geometry = first.geometry
    return Video(
        video_id=video_id,
        uri="",
        licence="",
        source="",
        given_caption="",
        size_bytes=os.path.getsize(path),
        container=reader.container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=picture.format.name,
        bit_depth=max(part.bits for part in picture.format.components),
        coded_width=picture.width,
        coded_height=picture.height,
        rotation=geometry.rotation,
        pixel_aspect=float(geometry.aspect),
        width=geometry.width,
        height=geometry.height,
        fps=stored.fps,
        constant_fps=stored.constant,
        num_frames=0,
        num_frames_declared=stored.declared,
        duration_s=stored.duration_s,
        num_video_streams=reader.num_video_streams,
        sound_codec=sounds[0].codec_context.codec.canonical_name if sounds else "",
        decode_errors=0,
        truncated=is_truncated(stored, reader.limits),
        shots=[],
        mirrored=geometry.mirrored,
    )
