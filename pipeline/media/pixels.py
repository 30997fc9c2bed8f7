"""Decoded pictures: their size, colours, orientation and fields."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.error import BlockingIOError as Hungry
from av.error import EOFError as Drained
from av.filter import Graph
from av.video.reformatter import Interpolation, VideoReformatter

_FULL_RANGE, _LIMITED_RANGE = 2, 1  # AVCOL_RANGE_JPEG, AVCOL_RANGE_MPEG
_BT709, _BT601 = 1, 5  # SWS_CS_ITU709, SWS_CS_ITU601
_SD_MATRICES = {4, 5, 6}  # FCC, BT470BG and SMPTE170M: the coefficients of BT.601, or as near


class Scaler:
    """Converts decoded frames to one size and pixel format, with the right colours.

    yuv420p comes out in limited range, in the matrix that `matrix_of` names; bgr24, rgb24 and
    gray in full range. `exact` gives the same bytes on every machine; without it, processors of
    another kind may round otherwise, in less than half the time.
    """

    def __init__(self, width: int, height: int, pixel_format: str, exact: bool = True) -> None:
        self.width, self.height, self.pixel_format = width, height, pixel_format
        self._range = _LIMITED_RANGE if pixel_format.startswith("yuv") else _FULL_RANGE
        exactly = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        self._method = exactly if exact else Interpolation.AREA
        self._reformatter = VideoReformatter()

    def __call__(self, picture: av.VideoFrame) -> av.VideoFrame:
        matrix = matrix_of(picture)
        return self._reformatter.reformat(
            picture,
            self.width,
            self.height,
            self.pixel_format,
            src_colorspace=_stored_matrix(picture, matrix),
            dst_colorspace=matrix,
            interpolation=self._method,
            src_color_range=_FULL_RANGE if is_full_range(picture) else _LIMITED_RANGE,
            dst_color_range=self._range,
            threads=1,
        )


def matrix_of(picture: av.VideoFrame) -> int:
    """Return the matrix of the normalised picture: 1 is BT.709, 5 is BT.601.

    BT.601 stays, everything else known becomes BT.709. An untagged picture is taken for what
    players take it for: BT.601 up to 576 lines.
    """
    if picture.format.is_rgb:
        return _BT709
    if picture.colorspace == 2:  # AVCOL_SPC_UNSPECIFIED
        return _BT709 if picture.width >= 1280 or picture.height > 576 else _BT601
    return _BT601 if picture.colorspace in _SD_MATRICES else _BT709


def _stored_matrix(picture: av.VideoFrame, matrix: int) -> int:
    return 9 if picture.colorspace in (9, 10) else matrix  # BT.2020 is converted


def is_full_range(picture: av.VideoFrame) -> bool:
    name = picture.format.name
    return picture.color_range == _FULL_RANGE or name.startswith("yuvj") or picture.format.is_rgb


def planes_of(picture: av.VideoFrame) -> list[np.ndarray]:
    """Return the planes of an 8-bit planar picture as views, without the padding."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width]
        for plane in picture.planes
    ]


class Deinterlacer:
    """Turns interlaced pictures into progressive ones, one for one, one picture late."""

    def __init__(self, first: av.VideoFrame, timebase: Fraction) -> None:
        self._kind = _kind(first)
        self._graph = Graph()
        self._graph.threads = 1
        source = (
            f"video_size={first.width}x{first.height}:pix_fmt={first.format.name}"
            f":time_base={timebase.numerator}/{timebase.denominator}"
            f":colorspace={first.colorspace}:range={first.color_range}"
        )
        self._graph.link_nodes(
            self._graph.add("buffer", source),
            self._graph.add("bwdif", "mode=send_frame:deint=interlaced"),
            self._graph.add("settb", f"{timebase.numerator}/{timebase.denominator}"),
            self._graph.add("buffersink"),
        ).configure()

    def takes(self, picture: av.VideoFrame) -> bool:
        """Tell whether a picture is of the size and format that this one was made for."""
        return _kind(picture) == self._kind

    def push(self, picture: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Take a picture; yield those that are finished."""
        self._graph.vpush(picture)
        yield from self._pull()

    def finish(self) -> Iterator[av.VideoFrame]:
        """Yield the last picture."""
        self._graph.vpush(None)
        yield from self._pull()

    def _pull(self) -> Iterator[av.VideoFrame]:
        while True:
            try:
                yield self._graph.vpull()
            except (Hungry, Drained):
                return


def _kind(picture: av.VideoFrame) -> tuple:
    return (
        *(picture.width, picture.height, picture.format.name),
        *(picture.colorspace, picture.color_range),
    )
