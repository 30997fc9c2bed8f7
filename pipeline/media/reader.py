"""Decode a video, frame by frame: the frames that a player shows, each with its time.

A file is hostile until proved otherwise. Only known containers open, no container may open
another file, every cap holds during decoding, and frames are streamed, never collected.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
from av.error import FFmpegError

from pipeline.media.colours import HDR_TRANSFERS, colours_of
from pipeline.media.containers import check_file, open_container, video_streams
from pipeline.media.dolby_vision import dolby_vision_alone, is_dolby_vision_alone
from pipeline.media.geometry import FrameGeometry, orientation_of
from pipeline.media.limits import ProbeConfig, Refused, refuse
from pipeline.media.pixels import Deinterlacer
from pipeline.media.timeline import Timeline
from pipeline.media.visible_packets import visible_packets
from schemas.reasons import Reason

cv2.setNumThreads(1)  # a worker is one core; results do not depend on the machine

_BACK_OFF = 4  # by how much further back each further try seeks
_SEAM = 2  # packets before a key frame in which a demuxer may notice that another recording begins
_MAX_ASPECT = 8  # of a pixel; anamorphic films have 2


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame: its number in the source, its time, and its picture as decoded."""

    index: int
    pts: int
    duration: int  # as stored, in units of the timebase; the next frame's pts is the truth
    picture: av.VideoFrame
    geometry: FrameGeometry
    is_start: bool = False  # another recording begins here, which was joined to the one before


@dataclass
class ReadCount:
    """What went into the decoder and what came out of it, inside the wanted stretch.

    It counts from the first frame that can be shown: what a recording that begins inside a group
    of pictures stores before it is no damage.
    """

    packets: int = 0  # that show a picture
    frames: int = 0
    errors: int = 0  # packets that the decoder refused, or whose end is missing
    corrupt: int = 0  # frames that the decoder had to patch
    unsorted: int = 0  # frames dropped because their time did not advance


class VideoReader:
    """Streams the frames of the video stream that players choose, on one thread, within limits."""

    def __init__(self, path: str, limits: ProbeConfig) -> None:
        self.size_bytes = check_file(path, limits)
        self.limits = limits
        self._path = path
        self._open()
        self.timebase: Fraction = self.stream.time_base or Fraction(1, 1000)
        self.start_pts: int = self.stream.start_time or 0
        rate = self.stream.guessed_rate or self.stream.average_rate or Fraction(25)
        self._nominal = max(1, round(1 / (rate * self.timebase)))
        # These store no display times, and those guessed for B-frames are wrong.
        self._orders_by_dts = self.container.format.name in ("avi", "asf")
        self._origin = self.start_pts
        self._before = 0
        self._begin()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.container.close()

    def _open(self) -> None:
        self.container = open_container(self._path, self.limits)
        try:
            videos = video_streams(self.container)
            if not videos:
                raise refuse(Reason.NOT_A_VIDEO, None, None, "no video stream")
            self.num_video_streams = len(videos)
            self.stream = videos[0]
            self._check_stream()
        except Refused:
            self.close()
            raise
        codec = self.stream.codec_context
        codec.thread_count, codec.thread_type = 1, "NONE"
        if codec.codec.canonical_name == "vp8":  # reports damage only where it decodes by rows
            codec.thread_count, codec.thread_type = 2, "SLICE"
        codec.options = {"max_pixels": str(self.limits.max_pixels)}

    def _begin(self) -> None:
        """Forget what was read: the next packet comes from another place."""
        self.count = ReadCount()
        self.timeline = Timeline(self.container.format.name, self.timebase, self._nominal)
        self.shows = visible_packets(self.stream.codec_context)
        self._aspects = _Aspects(self.stream)
        self._deinterlacer: Deinterlacer | None = None
        self._last: int | None = None  # pts of the newest picture

    def _check_stream(self) -> None:
        codec = self.stream.codec_context
        if codec is None:
            raise refuse(Reason.UNSUPPORTED_CODEC, None, None, "no decoder for the video stream")
        if codec.pix_fmt is None:
            raise refuse(
                Reason.DAMAGED, None, None, f"no picture can be read from the {codec.name}"
            )
        pixels = codec.width * codec.height
        if pixels > self.limits.max_pixels:
            size = f"{codec.width}x{codec.height}"
            raise refuse(Reason.PICTURE_TOO_LARGE, pixels, self.limits.max_pixels, size)
        side = min(codec.width, codec.height)
        if side < self.limits.min_side:
            size = f"{codec.width}x{codec.height}"
            raise refuse(Reason.PICTURE_TOO_SMALL, side, self.limits.min_side, size)
        profile = dolby_vision_alone(self.stream)
        if profile is not None:
            raise _refuse_dolby_vision(profile)
        self._check_transfer(codec.color_trc)

    def _check_transfer(self, transfer: int) -> None:
        if transfer in HDR_TRANSFERS and self.limits.hdr == "refuse":
            detail = (
                f"HDR ({HDR_TRANSFERS[transfer]}); set observe.probe.hdr to tone_map to take it"
            )
            raise refuse(Reason.UNSUPPORTED_TRANSFER, transfer, None, detail)

    def packets(self, all_streams: bool = False) -> Iterator[av.Packet]:
        """Yield the stored packets in one time; a container that breaks off ends the iteration.

        A packet whose end is missing is marked as corrupt. In front of a key frame that is only
        the seam of two recordings, and the mark is taken away.
        """
        for packet in self._without_seams(all_streams):
            if packet.stream_index == self.stream.index and packet.size:
                self.timeline.place(packet)
            yield packet

    def _without_seams(self, all_streams: bool) -> Iterator[av.Packet]:
        held: list[av.Packet] = []  # from a corrupt packet on
        for packet in self._stored_packets(all_streams):
            is_ours = packet.stream_index == self.stream.index
            begins = bool(is_ours and packet.size and packet.is_keyframe)
            if begins:
                for one in held:
                    one.is_corrupt = False
            if not held and not (is_ours and packet.is_corrupt):
                yield packet
                continue
            held.append(packet)
            if begins or len(held) > _SEAM:
                yield from held
                held.clear()
        yield from held

    def _stored_packets(self, all_streams: bool) -> Iterator[av.Packet]:
        demuxed = self.container.demux(*(() if all_streams else (self.stream,)))
        while True:
            try:
                packet = next(demuxed)
            except (StopIteration, IndexError):
                return  # PyAV's list of streams lacks one that began late; ours has ended by then
            except FFmpegError:
                self.count.errors += 1
                return
            yield packet

    def time_of(self, packet: av.Packet) -> int | None:
        """Return when a packet's picture is shown, as near as the container tells."""
        if self._orders_by_dts or packet.pts is None:
            return packet.dts
        return packet.pts

    def frames(
        self,
        start_s: float = -math.inf,
        end_s: float = math.inf,
        fps: float | None = None,
        may_change: bool = False,
    ) -> Iterator[Frame]:
        """Yield frames with start_s <= time < end_s, counted from the stream's first pts.

        A later start seeks when `fps` says that the rate is constant, so that frames can be
        numbered from their times; otherwise packets are counted, not decoded, up to there.
        Raises Refused at the first frame beyond a limit, and where the picture's size changes
        unless it `may_change`.
        """
        first, end = self._pts_at(start_s), self._pts_at(end_s)
        index, previous, shape = -1, None, None
        for picture in self._stretch(first, end, fps):
            pts = picture.pts
            assert pts is not None, "_decode gives every frame a time"
            shape = _shape(picture) if shape is None or may_change else shape
            self._check_frame(picture, shape)
            if previous is not None and pts <= previous:
                self.count.unsorted += 1
                continue
            index = self._first_index(pts, first, fps) if previous is None else index + 1
            geometry = self._geometry_of(picture)
            is_start = self.timeline.is_start(previous, pts)
            yield Frame(index, pts, picture.duration or self._nominal, picture, geometry, is_start)
            previous = pts

    def _stretch(
        self, first: int | None, end: int | None, fps: float | None
    ) -> Iterator[av.VideoFrame]:
        """Yield the pictures of a stretch; what lies before it is decoded as far as needed."""
        if first is None:
            yield from self._decode(self.packets(), None, end)
            return
        self._origin = self._first_shown()
        if fps is None:
            decoded = self._decode(self._packets_before(first), first, end)
        else:
            decoded = self._decode_from_before(first, end)
        for picture in decoded:
            if picture.pts is not None and picture.pts >= first:
                yield picture

    def _first_shown(self) -> int:
        """Return the time of the first frame of all, from which frames are numbered."""
        with VideoReader(self._path, self.limits) as other:
            frame = next(other.frames(), None)
        return self.start_pts if frame is None else frame.pts

    def _decode_from_before(self, first: int, end: int | None) -> Iterator[av.VideoFrame]:
        """Seek and decode from a picture before `first` on.

        A container without an index may come back behind the key frame that is needed; the next
        try goes further back.
        """
        back = math.ceil(1 / self.timebase)
        while first - back > self.start_pts:
            self.container.seek(first - back, stream=self.stream)
            self._begin()
            decoded = self._decode(self.packets(), first, end)
            picture = next(decoded, None)
            if picture is not None and picture.pts is not None and picture.pts < first:
                return itertools.chain([picture], decoded)
            back *= _BACK_OFF
        self.close()
        self._open()
        self._begin()
        return self._decode(self.packets(), first, end)

    def _decode(
        self, packets: Iterator[av.Packet], first: int | None, end: int | None
    ) -> Iterator[av.VideoFrame]:
        """Decode packets into the pictures before `end`; count those from `first` on."""
        recording, restarts = _Recording(), 0
        for packet in packets:
            if len(self.timeline.restarts) > restarts:
                restarts = len(self.timeline.restarts)
                last = self._last_of_recording()
                yield from self._shown(last, recording, first, end)
                recording = _Recording()
            at = self.time_of(packet)
            inside = _within(at, first, end)
            recording.take(packet, at)
            if packet.size and self.shows(packet) and inside and not packet.is_discard:
                self.count.packets += recording.await_picture(at)
            pictures = self._decode_packet(packet, inside and recording.has_begun)
            for picture in self._shown(pictures, recording, first, end):
                if end is not None and picture.pts is not None and picture.pts >= end:
                    return
                yield picture
        if self._deinterlacer is not None:
            yield from self._deinterlacer.finish()

    def _decode_packet(self, packet: av.Packet, counts: bool) -> list[av.VideoFrame]:
        """Return what comes out of the decoder; a refused packet is counted and skipped."""
        self.count.errors += counts and packet.is_corrupt
        try:
            pictures = packet.decode()
        except FFmpegError:
            self.count.errors += counts and not packet.is_corrupt
            return []
        self._aspects.note(self.time_of(packet))
        return pictures

    def _last_of_recording(self) -> list[av.VideoFrame]:
        """Empty the decoder: what follows belongs to another recording."""
        codec = self.stream.codec_context
        try:
            pictures = codec.decode(None)
        except FFmpegError:
            pictures = []
        codec.flush_buffers()
        return pictures

    def _shown(
        self,
        pictures: list[av.VideoFrame],
        recording: "_Recording",
        first: int | None,
        end: int | None,
    ) -> Iterator[av.VideoFrame]:
        """Pass on what a player shows, with a time and without combs; count what is inside."""
        for picture in pictures:
            if self._orders_by_dts:
                picture.pts = picture.dts
            if picture.pts is None:
                picture.pts = self.start_pts if self._last is None else self._last + self._nominal
            if not recording.shows(picture):
                continue
            self._last = picture.pts
            self.count.packets += recording.begin_with(picture)
            if _within(picture.pts, first, end):
                self.count.frames += 1
                self.count.corrupt += picture.is_corrupt
            yield from self._progressive(picture)

    def _progressive(self, picture: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Pass pictures on; from the first interlaced one on, without their combs."""
        if self._deinterlacer is not None and not self._deinterlacer.takes(picture):
            yield from self._deinterlacer.finish()
            self._deinterlacer = None
        if picture.interlaced_frame and self._deinterlacer is None:
            self._deinterlacer = Deinterlacer(picture, self.timebase)
        if self._deinterlacer is None:
            yield picture
        else:
            yield from self._deinterlacer.push(picture)

    def _packets_before(self, first: int) -> Iterator[av.Packet]:
        """Yield the packets from two key frames before `first` on; count what lies before."""
        self._before = 0
        counts = visible_packets(self.stream.codec_context)
        groups: list[list[av.Packet]] | None = [[]]  # of packets, each from a key frame on
        for packet in self.packets():
            if groups is None:
                yield packet
                continue
            at = self.time_of(packet)
            early = at is not None and at < first
            if early and packet.is_keyframe:
                groups = [*groups[-1:], []]
            groups[-1].append(packet)
            shown = early and packet.size and counts(packet) and not packet.is_discard
            if shown and at is not None and at >= self._origin:
                self._before += 1
            if not early and (at is None or at >= first + math.ceil(1 / self.timebase)):
                yield from itertools.chain.from_iterable(groups)
                groups = None  # a second later: no reordered frame before `first` follows
        yield from itertools.chain.from_iterable(groups or ())

    def _first_index(self, pts: int, first: int | None, fps: float | None) -> int:
        if first is None:
            return 0
        if fps is not None:
            return round((pts - self._origin) * self.timebase * Fraction(fps))
        return self._before

    def _pts_at(self, time_s: float) -> int | None:
        if math.isinf(time_s):
            return None
        return self.start_pts + math.ceil(Fraction(time_s) / self.timebase)

    def _geometry_of(self, picture: av.VideoFrame) -> FrameGeometry:
        aspect = self._aspects.at(picture.pts)
        return FrameGeometry(picture.width, picture.height, aspect, orientation_of(picture))

    def _check_frame(self, picture: av.VideoFrame, shape: tuple) -> None:
        limits = self.limits
        if _shape(picture) != shape:
            detail = f"{_shape(picture)} after {shape} at pts {picture.pts}"
            raise refuse(Reason.SIZE_CHANGES, picture.width * picture.height, None, detail)
        frames = self.count.frames
        if frames > limits.max_frames:
            raise refuse(Reason.VIDEO_TOO_LONG, frames, limits.max_frames, "frames")
        shown_s = float(self._nominal * frames * self.timebase)
        if shown_s > limits.max_duration_s:
            raise refuse(
                Reason.VIDEO_TOO_LONG, shown_s, limits.max_duration_s, f"{shown_s:.2f} seconds"
            )
        check_expansion(picture.width * picture.height * frames, self.size_bytes, limits)
        self._check_transfer(picture.color_trc)
        problem = colours_of(picture).problem
        if problem:
            raise refuse(Reason.UNSUPPORTED_COLOURS, None, None, problem)
        if frames == 1 and is_dolby_vision_alone(picture):
            raise _refuse_dolby_vision(5)


def _refuse_dolby_vision(profile: int) -> Refused:
    detail = f"Dolby Vision profile {profile}: its pictures are in no colours of other players"
    return refuse(Reason.UNSUPPORTED_COLOURS, profile, None, detail)


class _Recording:
    """Knows from which frame on a recording can be shown, and counts the packets from there."""

    def __init__(self) -> None:
        self.has_begun = False
        self._is_first = True
        self._not_before: int | None = None  # time of the first key frame, if others lie before it
        self._shown_from: int | None = None
        self._awaited: list[int | None] = []  # times of packets, until a picture comes

    def take(self, packet: av.Packet, at: int | None) -> None:
        if not self.has_begun and packet.size and packet.is_keyframe:
            self.has_begun = True
            self._not_before = None if self._is_first else at
        self._is_first = False

    def await_picture(self, at: int | None) -> int:
        """Take note of a packet that shows a picture; return 1 if it is to be counted now."""
        if not self.has_begun:
            return 0
        if self._shown_from is None:
            self._awaited.append(at)
            return 0
        return at is None or at >= self._shown_from

    def shows(self, picture: av.VideoFrame) -> bool:
        """Return whether a decoded picture is whole: nothing before the first key frame is."""
        assert picture.pts is not None, "every picture has a time by now"
        self.has_begun = self.has_begun or bool(picture.key_frame)
        return self.has_begun and (self._not_before is None or picture.pts >= self._not_before)

    def begin_with(self, picture: av.VideoFrame) -> int:
        """Take the next picture; return how many of the awaited packets are to be counted."""
        if self._shown_from is not None:
            return 0
        start = self._shown_from = picture.pts
        assert start is not None, "every picture has a time by now"
        counted = sum(at is None or at >= start for at in self._awaited)
        self._awaited.clear()
        return counted


class _Aspects:
    """Follows the shape of the pixels, which may change in mid-stream."""

    def __init__(self, stream: av.VideoStream) -> None:
        self._codec = stream.codec_context
        declared = stream.sample_aspect_ratio
        self._changes: list[tuple[float, Fraction]] = [(-math.inf, _sane(declared))]
        # What a container says holds for the whole stream, and overrules what the stream says.
        self._follows = declared == self._codec.sample_aspect_ratio
        self._seen = self._codec.sample_aspect_ratio

    def note(self, pts: int | None) -> None:
        """Check whether the packet that was just decoded has changed it."""
        now = self._codec.sample_aspect_ratio
        if self._follows and now != self._seen and pts is not None:
            self._changes.append((pts, _sane(now)))
            self._seen = now

    def at(self, pts: int | None) -> Fraction:
        assert pts is not None, "every picture has a time by now"
        return next(aspect for start, aspect in reversed(self._changes) if start <= pts)


def _sane(aspect: Fraction | None) -> Fraction:
    """Return a pixel's width over its height; what no camera makes is taken for square."""
    if aspect is None or not 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT:
        return Fraction(1)
    return aspect


def check_expansion(pixels: int, size_bytes: int, limits: ProbeConfig) -> None:
    """Refuse a file that decodes to far more bytes (4:2:0, 8 bits) than it stores."""
    expansion = pixels * 1.5 / size_bytes
    if expansion > limits.max_expansion:
        detail = f"decoded bytes over the {size_bytes} stored"
        raise refuse(Reason.DECOMPRESSION_BOMB, expansion, limits.max_expansion, detail)


def _shape(picture: av.VideoFrame) -> tuple:
    return picture.width, picture.height, picture.format.name


def _within(pts: int | None, first: int | None, end: int | None) -> bool:
    if pts is None:
        return first is None and end is None
    return (first is None or pts >= first) and (end is None or pts < end)
