"""Encode clips: H.264 in MP4, the same bytes for the same frames on every run."""

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
from av.container.core import Flags

from schemas.settings import check_settings, setting

ColourTags = tuple[int, int, int]  # AVCOL numbers of matrix, primaries, transfer
_COLOUR_TAGS: dict[int, ColourTags] = {1: (1, 1, 1), 5: (6, 6, 6)}  # by the matrix of Scaler


@dataclass(frozen=True)
class EncodingConfig:
    """H.264 settings, chosen on four videos at 832x480: milliseconds and kB a frame, PSNR.

    ultrafast 20: 1.4 ms 18 kB 45.0 dB · superfast 20: 3.2 ms 15 kB 44.8 dB ·
    veryfast 18: 5.1 ms 12 kB 45.0 dB. Encoding is most of the cost of a clip, and storage is
    cheap beside it; ultrafast also decodes fastest in training.

    Attributes:
        preset: of x264: slower ones store less.
        crf: quality: 0 loses nothing, 51 is the worst.
        keyframe_every: distance of key frames; bounds what a reader decodes to reach a frame.
    """

    preset: Literal[
        "ultrafast",
        "superfast",
        "veryfast",
        "faster",
        "fast",
        "medium",
        "slow",
        "slower",
        "veryslow",
    ] = "ultrafast"
    crf: int = setting(20, low=0, high=51)
    keyframe_every: int = setting(48, low=1, high=1000, unit="frames")

    def __post_init__(self) -> None:
        check_settings(self, "observe.clips.encoding")


class ClipEncoder:
    """Encodes yuv420p pictures at a constant rate, first pts 0, without reordering.

    matrix: Scaler's number of the pictures' matrix, or all three tags of another file.
    """

    def __init__(
        self,
        width: int,
        height: int,
        fps: int,
        encoding: EncodingConfig,
        matrix: int | ColourTags,
    ) -> None:
        self._file = io.BytesIO()
        self._container = av.open(self._file, "w", format="mp4")
        self._container.flags |= Flags.bitexact.value
        self._stream = self._container.add_stream("libx264", rate=fps)
        stream = self._stream
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, fps)
        codec = stream.codec_context
        codec.thread_count = 1
        codec.gop_size = encoding.keyframe_every
        codec.max_b_frames = 0
        codec.color_range = 1
        tags = _COLOUR_TAGS[matrix] if isinstance(matrix, int) else matrix
        codec.colorspace, codec.color_primaries, codec.color_trc = tags
        # Without mbtree, which slower presets switch on and which may give other bytes each time.
        stream.options = {
            "preset": encoding.preset,
            "crf": str(encoding.crf),
            "x264-params": "mbtree=0",
        }
        self._timebase = Fraction(1, fps)
        self.num_frames = 0

    def write(self, picture: av.VideoFrame) -> None:
        """Append a picture of the size given at construction."""
        picture.pts = self.num_frames
        picture.time_base = self._timebase
        self.num_frames += 1
        self._container.mux(self._stream.encode(picture))

    def close(self) -> bytes:
        """Finish the clip and return its bytes."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._file.getvalue()
