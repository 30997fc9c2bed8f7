"""Look at a file's container: what it holds, or why it is refused. Decodes one frame."""

import math
import os
from dataclasses import dataclass
from fractions import Fraction

import av
from av.error import FFmpegError

from pipeline.execution.stage import Rejected
from pipeline.media.limits import ProbeConfig, Refused, refuse
from pipeline.media.pixels import clockwise
from pipeline.media.reader import Frame, VideoReader, check_expansion
from schemas.reasons import Reason
from schemas.tables import Video

__all__ = ["ProbeConfig", "probe"]

_EVEN_TOLERANCE_S = 0.0021  # a Matroska timebase rounds times to 1 ms, twice


def probe(path: str, video_id: str, limits: ProbeConfig) -> Video | Rejected:
    """Read a file's streams and packet times, decode its first frame, check it.

    Returns the video with `num_frames` 0 and no shots: those are known after decoding.
    """
    try:
        with VideoReader(path, limits) as reader:
            stored = _read_times(reader)
            _check_times(stored, reader, limits)
        with VideoReader(path, limits) as reader:
            first = next(reader.frames(), None)
            if first is None:
                raise refuse(Reason.DAMAGED, 0, 1, "not one frame can be decoded")
            return _describe(path, video_id, reader, stored, first)
    except Refused as refused:
        return refused.rejected
    except FFmpegError as error:
        return Rejected(Reason.DAMAGED, detail=error.strerror or type(error).__name__)


@dataclass(frozen=True)
class _Stored:
    """What the packets say, without decoding them."""

    num_packets: int
    declared: int  # 0 when the container does not say
    duration_s: float  # from the first frame to the end of the last
    stored_s: float  # the time at which what is stored ends
    declared_s: float  # the time at which it should end; 0.0 when the container does not say
    fps: float
    constant: bool
    corrupt: int  # packets that end early

    @property
    def missing(self) -> float:
        """Share of the declared frames or seconds that is not there."""
        frames = 1 - self.num_packets / self.declared if self.declared else 0.0
        seconds = 1 - self.stored_s / self.declared_s if self.declared_s else 0.0
        return max(frames, seconds)


def _read_times(reader: VideoReader) -> _Stored:
    stream, timebase = reader.stream, reader.timebase
    times: list[int] = []
    corrupt, end, end_s = 0, 0, 0.0
    for packet in reader.packets(all_streams=not stream.duration):
        if not packet.size:
            continue
        corrupt += packet.is_corrupt
        pts = packet.dts if packet.pts is None else packet.pts
        if packet.is_discard or pts is None:
            continue
        packet_end = pts + (packet.duration or 0)
        end_s = max(end_s, float(packet_end * packet.time_base))
        if packet.stream_index == stream.index:
            times.append(pts)
            end = max(end, packet_end)
        if len(times) > reader.limits.max_frames:
            raise refuse(Reason.VIDEO_TOO_LONG, len(times), reader.limits.max_frames, "frames")
    if not times:
        raise refuse(Reason.TRUNCATED, 0, stream.frames, "the container holds no frame")
    times.sort()
    mean_s = float((times[-1] - times[0]) * timebase) / max(1, len(times) - 1)
    mean_s = mean_s or float(1 / (stream.average_rate or Fraction(25)))
    return _Stored(
        num_packets=len(times),
        declared=_declared_frames(reader),
        duration_s=float((max(end, times[-1] + 1) - times[0]) * timebase),
        stored_s=end_s,
        declared_s=_declared_end(reader),
        fps=1 / mean_s,
        constant=_is_even(times, timebase, mean_s),
        corrupt=corrupt,
    )


def _is_even(times: list[int], timebase: Fraction, mean_s: float) -> bool:
    """Tell whether every frame is where a constant rate would put it."""
    scale = float(timebase)
    return all(
        abs((pts - times[0]) * scale - index * mean_s) <= _EVEN_TOLERANCE_S
        for index, pts in enumerate(times)
    )


def _declared_frames(reader: VideoReader) -> int:
    """Return the number of frames in the container's index, after its edit list."""
    indexed = len(reader.stream.index_entries) if _has_full_index(reader) else 0
    return indexed or reader.stream.frames


def _has_full_index(reader: VideoReader) -> bool:
    return reader.container.format.name.startswith("mov")


def _declared_end(reader: VideoReader) -> float:
    """Return when the video stream ends, or the whole file if only that is declared."""
    stream = reader.stream
    if stream.duration:
        return float((reader.start_pts + stream.duration) * reader.timebase)
    start_s = max(0, reader.container.start_time or 0) / 1e6
    kept = reader.container.format.name.startswith("matroska")  # declares the end, not the length
    return (reader.container.duration or 0) / 1e6 + (0.0 if kept else start_s)


def _check_times(stored: _Stored, reader: VideoReader, limits: ProbeConfig) -> None:
    seconds = stored.duration_s
    codec = reader.stream.codec_context
    check_expansion(codec.width * codec.height * stored.num_packets, reader.size_bytes, limits)
    if not limits.min_fps <= stored.fps <= limits.max_fps:
        bound = limits.min_fps if stored.fps < limits.min_fps else limits.max_fps
        detail = f"{stored.fps:.3f} frames a second"
        raise refuse(Reason.FRAME_RATE_OUT_OF_RANGE, stored.fps, bound, detail)
    if seconds > limits.max_duration_s:
        raise refuse(Reason.VIDEO_TOO_LONG, seconds, limits.max_duration_s, "seconds")
    if is_truncated(stored, limits) and limits.integrity == "reject":
        detail = (
            f"{stored.num_packets} frames, {stored.stored_s:.2f} s stored;"
            f" {stored.declared} frames, {stored.declared_s:.2f} s declared"
        )
        raise refuse(Reason.TRUNCATED, 1 - stored.missing, 1 - limits.max_missing, detail)
    if seconds < limits.min_duration_s:
        raise refuse(Reason.VIDEO_TOO_SHORT, seconds, limits.min_duration_s, "seconds")


def is_truncated(stored: _Stored, limits: ProbeConfig) -> bool:
    return stored.corrupt > 0 or stored.missing > limits.max_missing


def _describe(
    path: str, video_id: str, reader: VideoReader, stored: _Stored, first: Frame
) -> Video:
    stream, picture = reader.stream, first.picture
    sounds = reader.container.streams.audio
    aspect = stream.sample_aspect_ratio or Fraction(1)
    rotation = clockwise(picture)
    width, height = upright_size(picture.width, picture.height, aspect, rotation)
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
        rotation=rotation,
        pixel_aspect=float(aspect),
        width=width,
        height=height,
        fps=stored.fps,
        constant_fps=stored.constant,
        num_frames=0,
        num_frames_declared=stored.declared,
        duration_s=stored.duration_s,
        num_video_streams=reader.num_video_streams,
        sound_codec=_sound_codec(sounds),
        decode_errors=0,
        truncated=is_truncated(stored, reader.limits),
        shots=[],
    )


def _sound_codec(sounds: tuple[av.AudioStream, ...]) -> str:
    return sounds[0].codec_context.codec.canonical_name if sounds else ""


def upright_size(width: int, height: int, aspect: Fraction, rotation: int) -> tuple[int, int]:
    """Return the size in square pixels, upright: the stored height is kept, the width adapts."""
    square = max(1, math.floor(width * aspect + Fraction(1, 2)))
    return (height, square) if rotation in (90, 270) else (square, height)
