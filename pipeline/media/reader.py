"""Decode video and pictures: the only code that opens a media file.

A file is hostile until proved otherwise. Only known containers open, no container may open
another file, every cap holds during decoding, and frames are streamed, never collected.
"""

import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
from av.container import InputContainer
from av.error import FFmpegError

from pipeline.media.limits import ProbeConfig, Refused, refuse
from pipeline.media.pixels import Deinterlacer
from schemas.reasons import Reason

cv2.setNumThreads(1)  # a worker is one core; results do not depend on the machine

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,flv"
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
_LFS_MARK = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame: its number in the source, its time, and its picture as decoded."""

    index: int
    pts: int
    duration: int  # as stored, in units of the timebase; the next frame's pts is the truth
    picture: av.VideoFrame


@dataclass
class ReadCount:
    """What went into the decoder and what came out of it, inside the wanted stretch."""

    packets: int = 0
    frames: int = 0
    errors: int = 0  # packets that the decoder refused
    corrupt: int = 0  # frames that the decoder had to patch
    unsorted: int = 0  # frames dropped because their time did not advance


def check_file(path: str, limits: ProbeConfig) -> int:
    """Return the size of a regular, readable, non-empty file; raises Refused."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise refuse(Reason.UNREADABLE, None, None, _line(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise refuse(Reason.UNREADABLE, None, None, "not a regular file")
    if not os.access(path, os.R_OK):
        raise refuse(Reason.UNREADABLE, None, None, "no permission to read")
    if status.st_size == 0:
        raise refuse(Reason.UNREADABLE, 0, 1, "the file is empty")
    if status.st_size > limits.max_size_bytes:
        size = status.st_size
        raise refuse(Reason.FILE_TOO_LARGE, size, limits.max_size_bytes, f"{size} bytes")
    return status.st_size


def open_container(path: str, limits: ProbeConfig) -> InputContainer:
    """Open a file of a known container that cannot refer to other files; raises Refused."""
    options = {
        "format_whitelist": CONTAINERS,
        "protocol_whitelist": "file",
        "max_streams": str(limits.max_streams),
        "max_pixels": str(limits.max_pixels),
        "threads": "1",
    }
    try:
        # An absolute path is never taken for a protocol ("concat:…").
        return av.open(os.path.abspath(path), "r", options=options, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        with open(path, "rb") as file:
            pointer = file.read(len(_LFS_MARK)) == _LFS_MARK
        detail = "a Git LFS pointer; run `git lfs pull`" if pointer else _line(error)
        raise refuse(Reason.NOT_A_VIDEO, None, None, detail) from error


def _line(error: Exception) -> str:
    """Return one short line about an error, without the path."""
    return getattr(error, "strerror", None) or type(error).__name__


class VideoReader:
    """Streams the frames of a file's first video stream, on one thread, within the limits."""

    def __init__(self, path: str, limits: ProbeConfig) -> None:
        self.size_bytes = check_file(path, limits)
        self.container = open_container(path, limits)
        self.limits = limits
        self.count = ReadCount()
        videos = [s for s in self.container.streams.video if not _is_cover(s)]
        if not videos:
            self.close()
            raise refuse(Reason.NOT_A_VIDEO, None, None, "no video stream")
        self.num_video_streams = len(videos)
        self.stream = videos[0]
        try:
            self._check_stream()
        except Refused:
            self.close()
            raise
        codec = self.stream.codec_context
        codec.thread_count = 1
        codec.thread_type = "NONE"
        codec.options = {"max_pixels": str(limits.max_pixels)}
        self.timebase: Fraction = self.stream.time_base or Fraction(1, 1000)
        self.start_pts: int = self.stream.start_time or 0
        rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        self._nominal = max(1, round(1 / (rate * self.timebase)))
        # AVI stores no display times, and those guessed for B-frames are wrong.
        self._orders_by_dts = self.container.format.name == "avi"
        self._deinterlacer: Deinterlacer | None = None

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.container.close()

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
        if codec.color_trc in _HDR_TRANSFERS:
            detail = f"HDR ({_HDR_TRANSFERS[codec.color_trc]}) needs tone mapping first"
            raise refuse(Reason.UNSUPPORTED_TRANSFER, codec.color_trc, None, detail)

    def packets(self, all_streams: bool = False) -> Iterator[av.Packet]:
        """Yield the stored packets; a container that breaks off ends the iteration."""
        demuxed = self.container.demux(*(() if all_streams else (self.stream,)))
        while True:
            try:
                packet = next(demuxed)
            except StopIteration:
                return
            except FFmpegError:
                self.count.errors += 1
                return
            yield packet

    def frames(
        self, start_s: float = -math.inf, end_s: float = math.inf, fps: float | None = None
    ) -> Iterator[Frame]:
        """Yield frames with start_s <= time < end_s, counted from the stream's first pts.

        A later start seeks when `fps` says that the rate is constant, so that frames can be
        numbered from their times; otherwise packets are counted, not decoded, up to there.
        Raises Refused at the first frame beyond a limit.
        """
        first, end = self._pts_at(start_s), self._pts_at(end_s)
        packets = self._packets_from(first, fps) if first is not None else self.packets()
        index, previous, shape = -1, None, None
        for picture in self._decode(packets, first, end):
            pts = picture.pts
            assert pts is not None, "_decode gives every frame a time"
            shape = shape or _shape(picture)
            self._check_frame(picture, shape, pts)
            if previous is not None and pts <= previous:
                self.count.unsorted += 1
                continue
            index = self._first_index(pts, first, fps) if previous is None else index + 1
            previous = pts
            yield Frame(index, pts, picture.duration or self._nominal, picture)

    def _decode(
        self, packets: Iterator[av.Packet], first: int | None, end: int | None
    ) -> Iterator[av.VideoFrame]:
        """Decode packets into frames of the stretch; a refused packet is counted and skipped."""
        last = None
        for packet in packets:
            wanted = _within(packet.pts, first, end)
            if packet.size and wanted and not packet.is_discard:
                self.count.packets += 1
            try:
                pictures = packet.decode()
            except FFmpegError:
                self.count.errors += wanted
                continue
            for picture in self._progressive(pictures, packet):
                if self._orders_by_dts:
                    picture.pts = picture.dts
                if picture.pts is None:
                    picture.pts = self.start_pts if last is None else last + self._nominal
                last = picture.pts
                if end is not None and last >= end:
                    return
                if first is None or last >= first:
                    self.count.frames += 1
                    self.count.corrupt += picture.is_corrupt
                    yield picture

    def _progressive(
        self, pictures: list[av.VideoFrame], packet: av.Packet
    ) -> Iterator[av.VideoFrame]:
        """Pass pictures on; from the first interlaced one on, without their combs."""
        for picture in pictures:
            if picture.interlaced_frame and self._deinterlacer is None:
                self._deinterlacer = Deinterlacer(picture, self.timebase)
            if self._deinterlacer is None:
                yield picture
            else:
                yield from self._deinterlacer.push(picture)
        if self._deinterlacer is not None and not packet.size:  # the decoder was flushed
            yield from self._deinterlacer.push(None)

    def _packets_from(self, first: int, fps: float | None) -> Iterator[av.Packet]:
        """Yield the packets from a key frame at or before `first` on."""
        self._before = 0
        if fps is not None:
            margin = math.ceil(1 / self.timebase)  # a second earlier: the key frame may lie late
            self.container.seek(max(self.start_pts, first - margin), stream=self.stream)
            yield from self.packets()
            return
        group: list[av.Packet] | None = []  # packets since the last key frame before `first`
        for packet in self.packets():
            if group is None:
                yield packet
                continue
            early = packet.pts is not None and packet.pts < first
            if early and packet.is_keyframe:
                group.clear()
            group.append(packet)
            if early:
                self._before += not packet.is_discard
            elif packet.pts is None or packet.pts >= first + math.ceil(1 / self.timebase):
                yield from group  # a second later: no reordered frame before `first` follows
                group = None
        yield from group or ()

    def _first_index(self, pts: int, first: int | None, fps: float | None) -> int:
        if first is None:
            return 0
        if fps is not None:
            return round((pts - self.start_pts) * self.timebase * Fraction(fps))
        return self._before

    def _pts_at(self, time_s: float) -> int | None:
        if math.isinf(time_s):
            return None
        return self.start_pts + math.ceil(Fraction(time_s) / self.timebase)

    def _check_frame(self, picture: av.VideoFrame, shape: tuple, pts: int) -> None:
        limits = self.limits
        if _shape(picture) != shape:
            detail = f"{_shape(picture)} after {shape} at pts {pts}"
            raise refuse(Reason.SIZE_CHANGES, picture.width * picture.height, None, detail)
        frames = self.count.frames
        if frames > limits.max_frames:
            raise refuse(Reason.VIDEO_TOO_LONG, frames, limits.max_frames, "frames")
        duration_s = float((pts - self.start_pts) * self.timebase)
        if duration_s > limits.max_duration_s:
            raise refuse(Reason.VIDEO_TOO_LONG, duration_s, limits.max_duration_s, "seconds")
        check_expansion(picture.width * picture.height * frames, self.size_bytes, limits)
        if picture.color_trc in _HDR_TRANSFERS:
            detail = f"HDR ({_HDR_TRANSFERS[picture.color_trc]}) needs tone mapping first"
            raise refuse(Reason.UNSUPPORTED_TRANSFER, picture.color_trc, None, detail)


def check_expansion(pixels: int, size_bytes: int, limits: ProbeConfig) -> None:
    """Refuse a file that decodes to far more bytes (4:2:0, 8 bits) than it stores."""
    expansion = pixels * 1.5 / size_bytes
    if expansion > limits.max_expansion:
        detail = f"decoded bytes over the {size_bytes} stored"
        raise refuse(Reason.DECOMPRESSION_BOMB, expansion, limits.max_expansion, detail)


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & stream.disposition.attached_pic)


def _shape(picture: av.VideoFrame) -> tuple:
    return picture.width, picture.height, picture.format.name


def _within(pts: int | None, first: int | None, end: int | None) -> bool:
    if pts is None:
        return first is None and end is None
    return (first is None or pts >= first) and (end is None or pts < end)
