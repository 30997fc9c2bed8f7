"""Small pictures for the report, made from untrusted media in the sandbox's child."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from pipeline.media.images import decode_image, encode_jpeg
from pipeline.media.limits import ProbeConfig, Refused
from pipeline.media.reader import VideoReader
from pipeline.media.sandbox import Announce, Handler
from pipeline.pictures.overlay import mask_overlay

HEIGHT = 104  # pixels of a thumbnail
WIDEST = 185
FRAMES = 3
MOST_REFERENCES = 3
_QUALITY = 68
_BOX = (255, 122, 0)
_LIMITS = ProbeConfig(min_side=2, min_duration_s=0, min_fps=0, integrity="flag",
                      max_frames=20_000, max_expansion=200_000)  # fmt: skip


@dataclass(frozen=True)
class Strip:
    """Pictures of one sample, as JPEG: frames of the clip, references, references cut out."""

    frames: tuple[bytes, ...] = ()
    references: tuple[bytes, ...] = ()
    cutouts: tuple[bytes, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class StripRow:
    """What a strip is drawn from."""

    mp4: bytes = field(default=b"", repr=False)
    num_frames: int = 0
    first_frame: int = 0
    boxes: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    references: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)  # image, mask
    frames: int = FRAMES  # from the first to the last; one is the middle


def strip_row(row: Mapping[str, Any], place: int | None = None, frames: int = FRAMES) -> StripRow:
    """Take what is drawn from a row of samples/; `place` asks for one reference only."""
    references = [
        (
            (reference.get("image") or {}).get("bytes") or b"",
            (reference.get("mask") or {}).get("bytes") or b"",
        )
        for reference in row.get("references") or ()
    ]
    if place is not None:
        references = references[place : place + 1]
    return StripRow(
        (row.get("video") or {}).get("bytes") or b"", int(row.get("num_frames") or 0),
        int(row.get("first_frame") or 0), tuple(tuple(box) for box in row.get("boxes") or ()),
        tuple(references[:MOST_REFERENCES]), frames,
    )  # fmt: skip


def make_handler() -> Handler:
    """Return the function that the child calls on every row."""

    def handle(row: StripRow, announce: Announce) -> Strip:
        announce("thumbnails")
        return draw_strip(row)

    return handle


def draw_strip(row: StripRow) -> Strip:
    """Draw what can be drawn; what cannot is said in `problem`."""
    frames, problem = _frames(row)
    references, cutouts = [], []
    for image, mask in row.references:
        try:
            picture = decode_image(image)
        except ValueError:
            continue
        references.append(_thumbnail(picture))
        cutouts += _cutout(picture, mask)
    return Strip(tuple(frames), tuple(references), tuple(cutouts), problem)


def _cutout(picture: np.ndarray, mask: bytes) -> list[bytes]:
    try:
        person = decode_image(mask)[..., 0]
    except ValueError:
        return []
    if person.shape != picture.shape[:2]:
        return []
    return [_thumbnail(mask_overlay(picture, person))]


def _frames(row: StripRow) -> tuple[list[bytes], str]:
    if not row.mp4:
        return [], "no clip"
    import tempfile

    last = max(row.num_frames - 1, 0)
    places = np.linspace(0, last, row.frames) if row.frames > 1 else np.array([last / 2])
    wanted = set(places.round().astype(int).tolist())
    drawn = []
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(row.mp4)
        file.flush()
        try:
            with VideoReader(file.name, _LIMITS) as reader:
                for number, frame in enumerate(reader.frames()):
                    if number in wanted:
                        picture = frame.picture.to_ndarray(format="rgb24")
                        drawn.append(_thumbnail(_boxed(picture, row, number)))
                    if len(drawn) == len(wanted):
                        break
        except Refused as refused:
            return drawn, str(refused)
    return drawn, "" if drawn else "no frame decodes"


def _boxed(picture: np.ndarray, row: StripRow, number: int) -> np.ndarray:
    place = number - row.first_frame
    if not 0 <= place < len(row.boxes):
        return picture
    box = np.asarray(row.boxes[place], float)
    if box.shape != (4,) or not np.isfinite(box).all():
        return picture
    x0, y0, x1, y1 = (int(np.clip(side, -4096, 8192)) for side in box)
    thick = max(2, round(2 * picture.shape[0] / HEIGHT))
    return cv2.rectangle(np.ascontiguousarray(picture), (x0, y0), (x1, y1), _BOX, thick)


def _thumbnail(picture: np.ndarray) -> bytes:
    scale = min(HEIGHT / picture.shape[0], WIDEST / picture.shape[1])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return encode_jpeg(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), _QUALITY)


def total_bytes(strips: Sequence[Strip]) -> int:
    """Return how much the strips weigh, before base64."""
    return sum(
        len(picture)
        for strip in strips
        for picture in (*strip.frames, *strip.references, *strip.cutouts)
    )
