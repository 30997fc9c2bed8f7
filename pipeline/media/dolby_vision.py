"""Detect films in Dolby Vision whose colours no other decoder can show."""

import io
import struct

import av
from av.error import FFmpegError

from pipeline.media.geometry import side_data_of

_CODECS = ("hevc", "h264", "av1")
_RECORDS = (b"dvcC", b"dvvC", b"dvwC")
_HEAD = struct.Struct("@5Qi")  # AVDOVIMetadata: where its parts lie
_ALONE = 5  # the profile without a picture for other players


def dolby_vision_alone(stream: av.VideoStream) -> int | None:
    """Return the profile if a container declares one that only Dolby Vision can show.

    PyAV does not give the declaration, so a header is written with it and read back.
    """
    if stream.codec_context.codec.canonical_name not in _CODECS:
        return None
    header = _copied_header(stream)
    for record in _RECORDS:
        at = header.find(record)
        if at >= 0:
            content = header[at + 7 : at + 12]  # behind the name, an element's id and its size
            profile, compatible_with = content[2] >> 1, content[4] >> 4
            is_alone = profile == _ALONE or (profile >= 10 and compatible_with == 0)
            return profile if is_alone else None
    return None


def _copied_header(stream: av.VideoStream) -> bytes:
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska", options={"strict": "unofficial"}) as copy:
            copy.add_stream_from_template(stream)
            copy.start_encoding()
    except (FFmpegError, ValueError):
        return b""
    return file.getvalue()


def is_dolby_vision_alone(picture: av.VideoFrame) -> bool:
    """Tell the same from a decoded picture's own metadata: full range in the lowest profile."""
    metadata = side_data_of(picture).get("DOVI_METADATA")
    if metadata is None:
        return False
    content = bytes(metadata)
    header = _HEAD.unpack_from(content)[0]
    profile, full_range = content[header + 4], content[header + 10]
    return profile == 0 and bool(full_range)
