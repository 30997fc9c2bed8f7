"""Decode a stretch of a clip, and the pictures of references, within fixed limits.

Bytes of a dataset are not trusted more than any others: only MP4 opens, no container may open
another file, and what is larger than a clip can be is refused before it is decoded.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import Interpolation, VideoReformatter

from trainer.data.batch import Bucket

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2"
_MAX_PIXELS = 4096 * 2304  # of a frame or of a reference
_MAX_BYTES = 256 * 2**20  # of a stored clip
_MAX_EXTRA = 4096  # frames before the wanted ones that are decoded in vain, at most
_BT709, _BT601, _BT2020 = 1, 5, 9  # libswscale's names of matrices
_MATRICES = {4: _BT601, 5: _BT601, 6: _BT601, 9: _BT2020, 10: _BT2020}  # by AVCOL_SPC_*
_UNSPECIFIED = 2
_FULL_RANGE, _LIMITED_RANGE = 2, 1
_LINES_OF_SD = 576  # an untagged picture of more lines, or 1280 wide, is taken for BT.709


class Unreadable(Exception):
    """Raised for a sample whose bytes cannot be used; the next of its bucket replaces it."""


def decode_frames(
    mp4: bytes, wanted: Sequence[int], fps: float, size: tuple[int, int], bucket: Bucket
) -> np.ndarray:
    """Return the wanted frames of a clip, ascending, as (len(wanted), H, W, 3) uint8 RGB.

    size: the clip's (width, height). Its picture is scaled to cover the bucket and cropped around
    the centre. Raises Unreadable.
    """
    if len(mp4) > _MAX_BYTES:
        raise Unreadable(f"the clip has {len(mp4)} bytes, at most {_MAX_BYTES} are allowed")
    frames = np.empty((len(wanted), bucket.height, bucket.width, 3), np.uint8)
    missing = set(wanted)
    places = {index: place for place, index in enumerate(wanted)}
    try:
        with _open(mp4) as container:
            for index, picture in _numbered(container, wanted[0], fps):
                if (picture.width, picture.height) != size:
                    found = f"{picture.width}x{picture.height}"
                    raise Unreadable(f"the clip is {found}, its row says {size[0]}x{size[1]}")
                if index in missing:
                    frames[places[index]] = _fit(picture, bucket)
                    missing.remove(index)
                if not missing:
                    return frames
                if index > wanted[-1] + 1:  # one late frame may follow where frames are reordered
                    break
    except (FFmpegError, OSError, ValueError, ArithmeticError, LookupError, MemoryError) as error:
        detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unreadable(f"the clip cannot be decoded: {detail}") from error
    raise Unreadable(f"the clip has no frame {min(missing)}; frames up to {wanted[-1]} were wanted")


def _open(mp4: bytes) -> InputContainer:
    options = {
        "format_whitelist": _CONTAINERS,
        "protocol_whitelist": "file",
        "max_streams": "8",
        "max_pixels": str(_MAX_PIXELS),
        "threads": "1",
    }
    return av.open(io.BytesIO(mp4), "r", options=options, metadata_errors="replace")


def _numbered(
    container: InputContainer, first: int, fps: float
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield frames with their number in the clip, from the key frame before `first` on."""
    if not container.streams.video:
        raise Unreadable("the clip has no picture")
    stream = container.streams.video[0]
    codec = stream.codec_context
    if codec.width * codec.height > _MAX_PIXELS:
        raise Unreadable(
            f"the clip is {codec.width}x{codec.height}, {_MAX_PIXELS} pixels are allowed"
        )
    codec.thread_count, codec.thread_type = 1, "NONE"
    codec.options = {"max_pixels": str(_MAX_PIXELS)}
    start, timebase = stream.start_time or 0, stream.time_base
    if timebase is None:
        raise Unreadable("the clip has no times")
    if first > 0:
        container.seek(start + int(first / fps / timebase), stream=stream, backward=True)
    for count, picture in enumerate(container.decode(stream)):
        if picture.pts is None or count > _MAX_EXTRA + first:
            raise Unreadable("the frames of the clip cannot be numbered by their times")
        yield round(float((picture.pts - start) * timebase) * fps), picture


@dataclass(frozen=True)
class Cover:
    """How a clip's picture fills a bucket: scaled to this size, then cropped from this corner."""

    width: int
    height: int
    left: int
    top: int

    @classmethod
    def of(cls, size: tuple[int, int], bucket: Bucket) -> "Cover":
        """Return the smallest cover of a bucket by a picture of (width, height), centred."""
        scale = max(bucket.width / size[0], bucket.height / size[1])
        width = max(bucket.width, round(size[0] * scale))
        height = max(bucket.height, round(size[1] * scale))
        return cls(width, height, (width - bucket.width) // 2, (height - bucket.height) // 2)


def _fit(picture: av.VideoFrame, bucket: Bucket) -> np.ndarray:
    """Return the picture as (H, W, 3) uint8 RGB of the bucket, the same on every machine."""
    cover = Cover.of((picture.width, picture.height), bucket)
    method = Interpolation.BICUBIC if cover.width > picture.width else Interpolation.AREA
    full = picture.color_range == _FULL_RANGE or picture.format.name.startswith("yuvj")
    scaled = VideoReformatter().reformat(
        picture,
        cover.width,
        cover.height,
        "rgb24",
        src_colorspace=_matrix(picture),
        interpolation=method | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
        src_color_range=_FULL_RANGE if full else _LIMITED_RANGE,
        dst_color_range=_FULL_RANGE,
        threads=1,
    )
    rows = slice(cover.top, cover.top + bucket.height)
    columns = slice(cover.left, cover.left + bucket.width)
    return scaled.to_ndarray()[rows, columns]


def _matrix(picture: av.VideoFrame) -> int:
    """Return libswscale's name of the matrix; an untagged picture has the one players assume."""
    tag = int(picture.colorspace)
    if tag == _UNSPECIFIED:
        sd = picture.height <= _LINES_OF_SD and picture.width < 1280
        return _BT601 if sd else _BT709
    return _MATRICES.get(tag, _BT709)


def subject_mask(
    boxes: Sequence[Sequence[float]],
    first_frame: int,
    wanted: Sequence[int],
    size: tuple[int, int],
    bucket: Bucket,
) -> np.ndarray:
    """Return (len(wanted), H, W) uint8: 1 inside the character's box.

    boxes: xyxy in pixels of the clip, whose size is (width, height), one a frame from first_frame.
    """
    mask = np.zeros((len(wanted), bucket.height, bucket.width), np.uint8)
    for place, box in enumerate(boxes_in_bucket(boxes, first_frame, wanted, size, bucket)):
        left, top, right, bottom = box.astype(int)
        mask[place, top:bottom, left:right] = 1
    return mask


def boxes_in_bucket(
    boxes: Sequence[Sequence[float]],
    first_frame: int,
    wanted: Sequence[int],
    size: tuple[int, int],
    bucket: Bucket,
) -> np.ndarray:
    """Return (len(wanted), 4) float32, xyxy in whole px of the bucket; 0 where there is no box.

    boxes: as of `subject_mask`.
    """
    cover = Cover.of(size, bucket)
    scale = np.array([cover.width / size[0], cover.height / size[1]] * 2)
    corner = np.array([cover.left, cover.top] * 2)
    found = np.zeros((len(wanted), 4), np.float32)
    for place, index in enumerate(wanted):
        if 0 <= index - first_frame < len(boxes):
            box = np.round(np.array(boxes[index - first_frame]) * scale - corner)
            found[place] = np.clip(box, 0, [bucket.width, bucket.height] * 2)
    return found


def decode_reference(image: bytes, mask: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return (h, w, 3) uint8 RGB and its mask (h, w), 255 is the person. Raises Unreadable."""
    picture = _decode_image(image, cv2.IMREAD_COLOR_RGB, "reference")
    person = _decode_image(mask, cv2.IMREAD_GRAYSCALE, "mask of the reference")
    if person.shape != picture.shape[:2]:
        raise Unreadable(
            f"the mask of a reference is {person.shape[1]}x{person.shape[0]}, the reference "
            f"{picture.shape[1]}x{picture.shape[0]}"
        )
    return picture, person


def _decode_image(content: bytes, flags: int, what: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as opened:
            width, height = opened.size
    except (OSError, ValueError, TypeError, Image.DecompressionBombError) as error:
        raise Unreadable(f"the {what} cannot be opened") from error
    if width * height > _MAX_PIXELS:
        raise Unreadable(f"the {what} is {width}x{height}, {_MAX_PIXELS} pixels are allowed")
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if decoded is None:
        raise Unreadable(f"the {what} cannot be decoded")
    return decoded
