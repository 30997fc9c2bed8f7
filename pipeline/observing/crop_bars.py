"""Cut off a clip the bars that only its own shot has.

Bars of a whole video are cut off before any clip is made of it (`pipeline.media.bars`). What is
left is a shot that was padded before it was cut into the video: its clips are cropped to the
picture, in the clip's proportions, enlarged to the clip's size and measured anew.
"""

import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import av
import cv2
import numpy as np

from pipeline.execution.stage import ClipRow, Still
from pipeline.media.clip_frames import read_clip
from pipeline.media.colours import BT709
from pipeline.media.encode import ClipEncoder
from pipeline.media.images import decode_image, encode_jpeg
from pipeline.media.pixels import planes_of
from pipeline.observing.clip_maker import ClipsConfig
from pipeline.observing.quality import QualityMeter, shown_part
from schemas.ids import content_id

_LEAST, _MOST = (
    0.004,
    0.3,
)  # share of the picture under bars; more is no padding but a small picture
_LOOKS_FPS = 2.0
_INSET = 0.006  # of the side, that is cut off besides: the bars' edge is blurred


@dataclass(frozen=True)
class CropBars:
    """Crop clips whose edges never show anything.

    Reads     clip.black_border
    Replaces  the clip and its stills
    """

    clips: ClipsConfig
    name = "bars"

    def process(self, row: ClipRow) -> ClipRow:
        if not self.clips.crop_bars or not _LEAST <= row.clip.black_border <= _MOST:
            return row
        left, top, size = _square_of(row)
        return _cropped(row, left, top, size, self.clips)


def _square_of(row: ClipRow) -> tuple[int, int, float]:
    """Return the left and upper edge of the part to keep, even, and its share of the side."""
    _, pictures = read_clip(row.mp4, fps=_LOOKS_FPS)
    brightest = np.max([cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in pictures], axis=0)
    x0, y0, x1, y1 = shown_part(brightest)
    height, width = brightest.shape
    x0, x1 = x0 + _inset(x0 > 0, width), x1 - _inset(x1 < width, width)
    y0, y1 = y0 + _inset(y0 > 0, height), y1 - _inset(y1 < height, height)
    share = min((x1 - x0) / width, (y1 - y0) / height)
    left = x0 + (x1 - x0 - share * width) / 2
    top = y0 + (y1 - y0 - share * height) / 2
    return 2 * math.ceil(left / 2), 2 * math.ceil(top / 2), share


def _inset(is_bar: bool, side: int) -> int:
    return math.ceil(_INSET * side) if is_bar else 0


def _cropped(row: ClipRow, left: int, top: int, share: float, config: ClipsConfig) -> ClipRow:
    clip = row.clip
    part = left, top, 2 * int(share * clip.width / 2), 2 * int(share * clip.height / 2)
    encoder = ClipEncoder(clip.width, clip.height, round(clip.fps), config.encoding, BT709)
    meter = QualityMeter(round(clip.fps))
    for picture in _parts(row.mp4, part, (clip.width, clip.height)):
        meter.add(planes_of(picture)[0])
        encoder.write(picture)
    mp4 = encoder.close()
    kept = part[2] / clip.width
    measured = asdict(meter.finish())
    clip = replace(
        clip,
        clip_id=content_id("clip", clip.clip_id, *part),
        scale=clip.scale / kept,
        cropped=1 - (1 - clip.cropped) * kept**2,
        size_bytes=len(mp4),
        sha256=hashlib.sha256(mp4).hexdigest(),
        **measured,
    )
    stills = tuple(_without_bars(still, part, kept, config) for still in row.stills)
    return replace(row, clip=clip, mp4=mp4, stills=stills, movements=meter.movements)


def _parts(
    mp4: bytes, part: tuple[int, int, int, int], size: tuple[int, int]
) -> Iterator[av.VideoFrame]:
    """Yield every frame's part (left, top, width, height), enlarged to (width, height)."""
    with av.open(io.BytesIO(mp4), "r", format="mp4", options={"threads": "1"}) as container:
        for picture in container.decode(video=0):
            enlarged = av.VideoFrame(*size, "yuv420p")
            planes = zip(planes_of(picture), planes_of(enlarged), (1, 2, 2), strict=True)
            for source, target, halved in planes:
                left, top, width, height = (side // halved for side in part)
                shown = np.ascontiguousarray(source[top : top + height, left : left + width])
                sides = target.shape[1], target.shape[0]
                target[:] = cv2.resize(shown, sides, interpolation=cv2.INTER_CUBIC)
            yield enlarged


def _without_bars(
    still: Still, part: tuple[int, int, int, int], kept: float, config: ClipsConfig
) -> Still:
    """Return the still without what was cut off the clip; beyond the clip's sides it keeps all."""
    left, top, width, height = (side * still.scale for side in part)
    x0, y0 = max(0.0, left + still.left), max(0.0, top + still.top)
    x1, y1 = min(still.width, x0 + width), min(still.height, y0 + height)
    columns, rows = slice(math.ceil(x0), math.floor(x1)), slice(math.ceil(y0), math.floor(y1))
    picture = np.ascontiguousarray(decode_image(still.jpeg)[rows, columns])
    return replace(
        still,
        width=picture.shape[1],
        height=picture.shape[0],
        scale=still.scale * kept,
        left=still.left + left - columns.start,
        top=still.top + top - rows.start,
        jpeg=encode_jpeg(picture, config.still_quality),
    )
