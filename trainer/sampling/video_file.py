"""Write what was generated: a video, and a picture that shows it at a glance."""

import os
import uuid
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trainer.saving.disk import named_faults

_BT709 = 1  # AVCOL_SPC_BT709, AVCOL_PRI_BT709, AVCOL_TRC_BT709
_FULL_RANGE, _LIMITED_RANGE = 2, 1  # AVCOL_RANGE_JPEG, AVCOL_RANGE_MPEG
CRF, PRESET = 18, "medium"  # visually lossless; encoding is nothing beside generating
WIDTH, MARGIN, GAP = 2000, 16, 8  # px of a strip
LABEL_SIZE, LABEL_HEIGHT = 15, 26
MAX_HEIGHT = 360  # px of a picture in a strip, so that few portrait frames stay on a screen
PAPER, INK, SOFT = (255, 255, 255), (28, 30, 34), (112, 117, 125)
_STRIP_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def write_video(path: str | Path, frames: np.ndarray, fps: float = 16) -> None:
    """Write frames (F, H, W, 3) uint8 RGB as H.264 in MP4; a crash leaves no half file."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(
            f"a video needs frames (F, H, W, 3) of uint8, got {frames.shape} of {frames.dtype}"
        )
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(f"H.264 in yuv420p needs an even size, got {height}x{width}")
    if fps <= 0:
        raise ValueError(f"fps must be > 0, got {fps}")
    with replacing(Path(path)) as temporary:
        _encode(frames, temporary, Fraction(fps).limit_denominator(1001))


def _encode(frames: np.ndarray, path: Path, rate: Fraction) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # Without mbtree, which may give other bytes each time.
        stream.options = {"preset": PRESET, "crf": str(CRF), "x264-params": "mbtree=0"}
        codec = stream.codec_context
        codec.color_range = _LIMITED_RANGE
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        for pts, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            picture = picture.reformat(
                format="yuv420p",
                dst_colorspace=_BT709,
                src_color_range=_FULL_RANGE,
                dst_color_range=_LIMITED_RANGE,
            )
            picture.pts, picture.time_base = pts, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` to write to; it takes the place of `path` when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        with named_faults(path):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def picture_strip(
    references: Sequence[np.ndarray] | np.ndarray,
    frames: np.ndarray,
    path: str | Path,
    count: int = 8,
    caption: str = "",
    truth: np.ndarray | None = None,
) -> None:
    """Draw references | `count` frames spread evenly over the video, as JPEG or PNG.

    references: one picture (H, W, 3) or several, uint8 RGB; frames: (F, H, W, 3) uint8; truth:
    the real clip, drawn in a second line under the generated frames. All pictures of a line are
    drawn equally high.
    """
    path = Path(path)
    if path.suffix.lower() not in _STRIP_FORMATS:
        raise ValueError(f"a strip is written as .jpg or .png, got {path.name!r}")
    if count < 1 or not len(frames):
        raise ValueError(f"a strip needs frames, got {count} of {len(frames)}")
    if isinstance(references, np.ndarray):
        references = references[None] if references.ndim == 3 else references
    num = len(references)
    named = [f"reference {n + 1}" if num > 1 else "reference" for n in range(num)]
    line = _Line(list(references), named)
    shown = [line.with_frames(frames, count, "frame" if truth is None else "made, frame")]
    if truth is not None:
        shown.append(line.with_frames(truth, count, "real, frame"))
    strip = _draw(shown, num, caption)
    with replacing(path) as temporary:
        strip.save(temporary, format=_STRIP_FORMATS[path.suffix.lower()], quality=92)


@dataclass(frozen=True)
class _Line:
    """Pictures side by side, and what is written under each."""

    pictures: list[np.ndarray]
    labels: list[str]

    def with_frames(self, frames: np.ndarray, count: int, name: str) -> "_Line":
        places = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int)).tolist()
        pictures = [*self.pictures, *(frames[place] for place in places)]
        return _Line(pictures, [*self.labels, *(f"{name} {place}" for place in places)])

    @property
    def gaps(self) -> int:
        """All gaps in px, with a wide one between references and frames."""
        return GAP * (len(self.pictures) + 1)

    def height(self) -> int:
        """Return the height at which the line fills the width."""
        aspect = sum(picture.shape[1] / picture.shape[0] for picture in self.pictures)
        return max(1, min(MAX_HEIGHT, round((WIDTH - 2 * MARGIN - self.gaps) / aspect)))

    def draw(self, num_references: int, height: int) -> Image.Image:
        """Draw the pictures, a label under each, a rule after the references."""
        font = ImageFont.load_default(LABEL_SIZE)
        widths = [max(1, round(height * p.shape[1] / p.shape[0])) for p in self.pictures]
        image = Image.new("RGB", (sum(widths) + self.gaps, height + LABEL_HEIGHT), PAPER)
        draw = ImageDraw.Draw(image)
        left = 0
        for place, (picture, width) in enumerate(zip(self.pictures, widths, strict=True)):
            if num_references and place == num_references:
                draw.line((left + GAP // 2, 0, left + GAP // 2, height - 1), SOFT, 2)
                left += 2 * GAP
            resized = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
            image.paste(resized, (left, 0))
            label = _shortened(self.labels[place], font, width)
            draw.text((left, height + 3), label, SOFT, font)
            left += width + GAP
        return image


def _draw(lines: Sequence[_Line], num_references: int, caption: str) -> Image.Image:
    """Place the lines under each other, and the caption under them."""
    height = min(line.height() for line in lines)
    drawn = [line.draw(num_references, height) for line in lines]
    width = max(image.width for image in drawn) + 2 * MARGIN
    below = MARGIN + sum(image.height for image in drawn)
    bottom = below + (LABEL_HEIGHT if caption else 0) + MARGIN // 2
    strip = Image.new("RGB", (width, bottom), PAPER)
    for place, image in enumerate(drawn):
        strip.paste(image, (MARGIN, MARGIN + sum(above.height for above in drawn[:place])))
    if caption:
        font = ImageFont.load_default(LABEL_SIZE)
        text = _shortened(caption, font, width - 2 * MARGIN)
        ImageDraw.Draw(strip).text((MARGIN, below), text, INK, font)
    return strip


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """Return one line that fits, with an ellipsis where something was cut off."""
    text = " ".join(text[:1000].encode(errors="replace").decode().split())
    if font.getlength(text) <= width:
        return text
    lengths = range(len(text))
    most = bisect_right(lengths, width, key=lambda length: font.getlength(f"{text[:length]}…")) - 1
    return f"{text[:most].rstrip()}…" if most > 0 else ""
