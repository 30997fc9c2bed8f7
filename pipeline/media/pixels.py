"""Decoded pictures: scaled, converted to BT.709, deinterlaced."""

import functools
from collections.abc import Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
from av.error import BlockingIOError as Hungry
from av.error import EOFError as Drained
from av.filter import Graph
from av.video.reformatter import Interpolation, VideoReformatter

from pipeline.media.colours import BT709, Colours, ToSdr, chroma_change, colours_of

_FULL_RANGE, _LIMITED_RANGE = 2, 1  # AVCOL_RANGE_JPEG, AVCOL_RANGE_MPEG
_SWS_MATRICES = {6: 5}  # libswscale's number of BT.601; it has AVCOL_SPC_*'s for the others
_STEP = 64  # to a level, in the fixed point in which planes are changed
_ZERO = 128  # of chroma


class Scaler:
    """Converts decoded frames to one size and pixel format, in the colours of BT.709.

    yuv420p comes out in limited range; bgr24, rgb24 and gray in full range. `exact` gives the same
    bytes on every machine; without it, processors of another kind may round otherwise, in less
    than half the time.
    """

    def __init__(self, width: int, height: int, pixel_format: str, exact: bool = True) -> None:
        self.width, self.height, self.pixel_format = width, height, pixel_format
        exactly = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        if not pixel_format.startswith("yuv"):
            exactly |= Interpolation.FULL_CHR_H_INT  # white comes out as 253 without it
        self._method = exactly if exact else Interpolation.AREA
        self._reformatter, self._second = VideoReformatter(), VideoReformatter()

    def __call__(self, picture: av.VideoFrame) -> av.VideoFrame:
        colours = colours_of(picture)
        if _is_grey(picture):
            return self._second_step(self._grey(picture, colours))
        if colours.through_light:
            return self._second_step(self._through_light(picture, colours))
        if self.pixel_format != "yuv420p" or colours.matrix in (0, BT709):
            return self._scale(picture, self.pixel_format, colours)
        scaled = self._scale(picture, "yuv420p", colours, keeps_matrix=True)
        return _in_matrix_of_709(scaled, colours.matrix)

    def _scale(
        self,
        picture: av.VideoFrame,
        pixel_format: str,
        colours: Colours,
        keeps_matrix: bool = False,
    ) -> av.VideoFrame:
        matrix = _SWS_MATRICES.get(colours.matrix, colours.matrix or BT709)
        limited = pixel_format.startswith("yuv")
        scaled = self._reformatter.reformat(
            picture,
            self.width,
            self.height,
            pixel_format,
            src_colorspace=matrix,
            dst_colorspace=matrix if keeps_matrix else BT709,
            interpolation=self._method,
            src_color_range=_FULL_RANGE if colours.full_range else _LIMITED_RANGE,
            dst_color_range=_LIMITED_RANGE if limited else _FULL_RANGE,
            threads=1,
        )
        return _tagged(scaled)

    def _raw(self, picture: av.VideoFrame, pixel_format: str) -> list[np.ndarray]:
        """Return the planes at the new size with the numbers as they are, in 8 or 16 bits."""
        scaled = self._reformatter.reformat(
            picture,
            self.width,
            self.height,
            pixel_format,
            src_colorspace=BT709,
            dst_colorspace=BT709,
            interpolation=self._method,
            src_color_range=_LIMITED_RANGE,
            dst_color_range=_LIMITED_RANGE,
            threads=1,
        )
        kind = np.uint16 if "16" in pixel_format else np.uint8
        return [
            np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)[:, : plane.width]
            for plane in scaled.planes
        ]

    def _through_light(self, picture: av.VideoFrame, colours: Colours) -> av.VideoFrame:
        if picture.format.is_rgb:
            green, blue, red = self._raw(picture, "gbrp16le")
            planes = [red, green, blue]
        else:
            planes = self._raw(picture, "yuv444p16le")
        return av.VideoFrame.from_ndarray(_to_sdr(colours)(planes), format="rgb24")

    def _grey(self, picture: av.VideoFrame, colours: Colours) -> av.VideoFrame:
        """Return a grey picture in full range, whatever range it is stored in."""
        (levels,) = self._raw(picture, "gray")
        if not colours.full_range:
            levels = full_range_levels()[levels]
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(levels), format="gray")

    def _second_step(self, picture: av.VideoFrame) -> av.VideoFrame:
        if picture.format.name == self.pixel_format:
            return picture
        limited = self.pixel_format.startswith("yuv")
        return _tagged(
            self._second.reformat(
                picture,
                format=self.pixel_format,
                dst_colorspace=BT709,
                interpolation=self._method,
                src_color_range=_FULL_RANGE,
                dst_color_range=_LIMITED_RANGE if limited else _FULL_RANGE,
                threads=1,
            )
        )


def _is_grey(picture: av.VideoFrame) -> bool:
    return picture.format.name.startswith(("gray", "mono"))


def _tagged(picture: av.VideoFrame) -> av.VideoFrame:
    """Tag a converted picture with its colours."""
    if not picture.format.is_rgb:
        picture.colorspace = BT709
    picture.color_primaries = picture.color_trc = 1
    return picture


@functools.lru_cache(8)
def _to_sdr(colours: Colours) -> ToSdr:
    return ToSdr(colours)


@functools.cache
def full_range_levels() -> np.ndarray:
    """Return, (256,) uint8, the level in full range of each in limited range."""
    return np.clip(np.round((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


def _in_matrix_of_709(picture: av.VideoFrame, matrix: int) -> av.VideoFrame:
    """Change the planes of a yuv420p picture in limited range, in place, to those of BT.709.

    What chroma adds to luma is summed in chroma's size: it has no finer detail.
    """
    luma, cb, cr = planes_of(picture)
    added, new_cb, new_cr = (
        _rounded(cv2.add(cv2.LUT(cb, of_cb), cv2.LUT(cr, of_cr)))
        for of_cb, of_cr in _chroma_tables(matrix)
    )
    wide = cv2.resize(added, luma.shape[::-1], interpolation=cv2.INTER_LINEAR_EXACT)
    luma[:] = cv2.addWeighted(luma, 1, wide, 1, -_ZERO)
    cb[:], cr[:] = new_cb, new_cr
    return picture


@functools.cache
def _chroma_tables(matrix: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return, for Y, Cb and Cr, what each value of Cb and of Cr adds to it, in steps."""
    steps = (np.arange(256) - _ZERO) * _STEP
    return [
        (np.round(of_cb * steps).astype(np.int16), np.round(of_cr * steps).astype(np.int16))
        for of_cb, of_cr in chroma_change(matrix)
    ]


def _rounded(steps: cv2.typing.MatLike) -> np.ndarray:
    """Return a sum of steps as a byte around the zero of chroma."""
    levels = (np.asarray(steps, np.int16) + np.int16(_ZERO * _STEP + _STEP // 2)) >> 6
    return np.clip(levels, 0, 255).astype(np.uint8)


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
        """Return whether a picture is of the size and format that this one was made for."""
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
