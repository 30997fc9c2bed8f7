"""Find the black bars that a video was padded with, before any clip is cut from it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.error import FFmpegError

from pipeline.media.geometry import Orientation, orientation_of
from pipeline.media.reader import VideoReader

_LOOKS = 9  # key frames, evenly spread
_FEWEST = 3  # that show something
_HEIGHT = 360  # pixels at which rows and columns are judged
_BLACK = 22  # of 255 in full range: coding noise lifts black above 0
_SHOWN = 60  # the brightest pixels of a picture that is no black screen
_QUANTILE = 0.99  # of a row: a few bright pixels are noise of coding
_LEAST, _MOST = 0.015, 0.35  # share of the side, on each of two sides
_UNEVEN = 0.015  # of the side, by which two bars of one padding differ
_SHARP, _BESIDE = 0.8, 0.012  # share of its length along which something shows this near to a bar
_INSET = 0.006  # of the side, that is cut off besides: the bars' edge is blurred


@dataclass(frozen=True, slots=True)
class Bars:
    """Shares of the upright picture's sides that are under bars."""

    left: float = 0.0
    right: float = 0.0
    above: float = 0.0
    below: float = 0.0

    @property
    def width(self) -> float:
        """Share of the picture's width that is left."""
        return 1 - self.left - self.right

    @property
    def height(self) -> float:
        return 1 - self.above - self.below


NO_BARS = Bars()


def find_bars(reader: VideoReader, start_s: float, end_s: float) -> Bars:
    """Look at key frames of a stretch; bars are where none of them ever shows anything.

    The reader is spent: nothing can be read in order after this. Bars are pairs of one size, or end
    in a line along which the picture begins at once: a dark side does not. Where pictures change
    size, nothing is said.
    """
    pictures = list(_key_frames(reader, start_s, end_s))
    found = _common_bars(pictures, 1)
    if found == NO_BARS or len(pictures) >= _FEWEST:
        return _common_bars(pictures, _FEWEST)
    return _common_bars(_others(reader, start_s, end_s), _FEWEST)  # one long group of pictures


def _common_bars(pictures: Iterable[av.VideoFrame], fewest: int) -> Bars:
    """Return where none of the pictures shows anything; at least `fewest` must show something."""
    brightest: np.ndarray | None = None
    seen = 0
    for picture in pictures:
        grey = _upright_grey(picture, orientation_of(picture))
        if np.quantile(grey, _QUANTILE) < _SHOWN:
            continue
        if brightest is not None and brightest.shape != grey.shape:
            return NO_BARS
        brightest = grey if brightest is None else np.maximum(brightest, grey)
        seen += 1
    if brightest is None or seen < fewest:
        return NO_BARS
    return Bars(*_ends(brightest.T), *_ends(brightest))


def _others(reader: VideoReader, start_s: float, end_s: float) -> Iterator[av.VideoFrame]:
    """Yield evenly spread pictures between the few key frames, decoding all that lie between."""
    step_s, next_s = max(end_s - start_s, 0.0) / _LOOKS, start_s
    try:
        reader.container.seek(reader.start_pts, stream=reader.stream)
        for packet in reader.container.demux(reader.stream):
            for picture in packet.decode():
                at_s = float(((picture.pts or 0) - reader.start_pts) * reader.timebase)
                if at_s >= end_s:
                    return
                if at_s >= next_s:
                    next_s = at_s + step_s
                    yield picture
    except FFmpegError:
        return


def _key_frames(reader: VideoReader, start_s: float, end_s: float) -> Iterator[av.VideoFrame]:
    """Yield the key frames before evenly spread moments; a damaged file yields what it has."""
    last = None
    for moment in np.linspace(start_s, max(start_s, end_s), _LOOKS + 2)[1:-1]:
        at = reader.start_pts + round(float(moment) / float(reader.timebase))
        try:
            reader.container.seek(at, stream=reader.stream)
            packets = reader.container.demux(reader.stream)
            picture = next(picture for packet in packets for picture in packet.decode())
        except (FFmpegError, StopIteration):
            continue
        if picture.pts != last:
            last = picture.pts
            yield picture


def _upright_grey(picture: av.VideoFrame, orientation: Orientation) -> np.ndarray:
    scale = _HEIGHT / max(picture.height, 1)
    grey = picture.reformat(max(2, round(picture.width * scale)), _HEIGHT, "gray").to_ndarray()
    return orientation.turn(np.ascontiguousarray(grey))


def _ends(brightest: np.ndarray) -> tuple[float, float]:
    """Return the shares of the height under a bar above and one below; 0 for none."""
    height = brightest.shape[0]
    shown = np.flatnonzero(np.quantile(brightest, _QUANTILE, axis=1) > _BLACK)
    if not len(shown):
        return 0.0, 0.0
    above, below = int(shown[0]), height - 1 - int(shown[-1])
    if min(above, below) >= _LEAST * height and abs(above - below) <= _UNEVEN * height:
        above = below = max(above, below)
    else:
        above *= _is_sharp(brightest, above)
        below *= _is_sharp(brightest[::-1], below)
    return _share(above / height), _share(below / height)


def _is_sharp(brightest: np.ndarray, bar: int) -> bool:
    """Whether something shows right beside a bar of so many rows, nearly all along it."""
    rows = brightest[bar : bar + max(2, round(_BESIDE * len(brightest)))]
    return float((rows.max(axis=0) > _BLACK).mean()) >= _SHARP


def _share(bar: float) -> float:
    return round(bar + _INSET, 4) if bar >= _LEAST and bar + _INSET <= _MOST else 0.0
