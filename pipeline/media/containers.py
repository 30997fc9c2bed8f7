"""Open a media file of a known container, and choose the video stream that a player shows."""

import os
import stat

import av
import av.logging
from av.container import InputContainer
from av.error import FFmpegError

from pipeline.media.limits import ProbeConfig, Refused, refuse
from schemas.reasons import Reason

# FFmpeg's names of what is read: none of these can make it open another file.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,flv,live_flv,"
    "asf,mpeg,ogg,mxf,dv,gif,rm,nut,ivf,wtv,gxf,yuv4mpegpipe"
)
_LISTS = frozenset({"concat", "hls", "dash", "sdp", "image2", "imf", "webm_dash_manifest"})
_LFS_MARK = b"version https://git-lfs"
_REFUSED_CONTAINER = "Format not on whitelist"  # how FFmpeg begins that line


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
        raise _why_not_opened(path, options, error) from error


def _why_not_opened(path: str, options: dict[str, str], error: Exception) -> Refused:
    with open(path, "rb") as file:
        if file.read(len(_LFS_MARK)) == _LFS_MARK:
            return refuse(Reason.NOT_A_VIDEO, None, None, "a Git LFS pointer; run `git lfs pull`")
    container = _refused_container(path, options)
    if not container:
        return refuse(Reason.NOT_A_VIDEO, None, None, _line(error))
    reason = Reason.NOT_A_VIDEO if container in _LISTS else Reason.UNSUPPORTED_CONTAINER
    return refuse(reason, None, None, f"container {container} is not supported")


def _refused_container(path: str, options: dict[str, str]) -> str:
    """Return FFmpeg's name of a container that it knows and that is not read here, or ''.

    FFmpeg tells it in its log only.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    capture = av.logging.Capture()
    try:
        with capture:
            av.open(os.path.abspath(path), "r", options=options, metadata_errors="replace").close()
    except (FFmpegError, ValueError):
        names = [name for _, name, line in capture.logs if line.startswith(_REFUSED_CONTAINER)]
        return names[0] if names else ""
    finally:
        av.logging.set_level(level)
    return ""


def _line(error: Exception) -> str:
    """Return one short line about an error, without the path."""
    return getattr(error, "strerror", None) or type(error).__name__


def video_streams(container: InputContainer) -> list[av.VideoStream]:
    """Return the streams that hold a film, best first: the default one, then the largest."""
    return sorted(
        (stream for stream in container.streams.video if not _is_picture(stream)), key=_rank
    )


def _is_picture(stream: av.VideoStream) -> bool:
    """Return whether a stream is a cover or a preview, or only adds to another."""
    kinds = stream.disposition
    no_film = kinds.attached_pic | kinds.still_image | kinds.timed_thumbnails | kinds.dependent
    return bool(kinds & no_film)


def _rank(stream: av.VideoStream) -> tuple[bool, bool, int, int]:
    codec = stream.codec_context
    pixels = codec.width * codec.height if codec is not None else 0
    is_default = bool(stream.disposition & stream.disposition.default)
    return pixels == 0, not is_default, -pixels, stream.index
