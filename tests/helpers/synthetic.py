"""Tiny test videos, drawn on the spot: moving shapes, cuts, fades, odd containers, bombs."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

NUMBER_BITS = 12
_GROUNDS = ((30, 60, 160), (170, 120, 40), (40, 140, 60), (150, 40, 130), (90, 90, 90))


def moving_shapes(
    num_frames: int, size: tuple[int, int] = (320, 192), shot: int = 0, first: int = 0
) -> list[np.ndarray]:
    """Draw RGB frames (height, width, 3): a disc and a bar that move over a ground of its own.

    `shot` chooses ground and shapes, so that two shots look different; `first` is the number of
    the first frame of the motion.
    """
    width, height = size
    ground = _ground(size, shot)
    frames = []
    for number in range(first, first + num_frames):
        frame = ground.copy()
        x = width // 4 + round(width / 5 * np.sin(number / 9 + shot))
        y = height // 2 + round(height / 6 * np.cos(number / 7))
        cv2.circle(frame, (x, y), height // 5, (240, 220 - 60 * (shot % 4), 60 * shot % 256), -1)
        bar = width * 2 // 3 + round(width / 8 * np.sin(number / 11))
        cv2.rectangle(
            frame, (bar, height // 5), (bar + width // 12, height * 4 // 5), (20,) * 3, -1
        )
        frames.append(frame)
    return frames


def _ground(size: tuple[int, int], shot: int) -> np.ndarray:
    width, height = size
    noise = np.random.default_rng(shot).integers(0, 60, (height // 16, width // 16, 3))
    texture = cv2.resize(noise.astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
    return cv2.add(texture, np.full_like(texture, _GROUNDS[shot % len(_GROUNDS)]))


def number_frame(frame: np.ndarray, number: int) -> np.ndarray:
    """Draw a number into the frame as a row of black and white cells."""
    numbered = frame.copy()
    cell = frame.shape[1] // (NUMBER_BITS + 4)
    for bit in range(NUMBER_BITS):
        colour = (255,) * 3 if number >> bit & 1 else (0,) * 3
        left = cell * (2 + bit)
        cv2.rectangle(numbered, (left, cell), (left + cell - 1, 3 * cell), colour, -1)
    return numbered


def read_number(frame: np.ndarray, drawn_size: tuple[int, int]) -> int:
    """Read the number back from an upright frame that was scaled and cropped around its centre."""
    width, height = drawn_size
    scale = max(frame.shape[1] / width, frame.shape[0] / height)
    left = (width * scale - frame.shape[1]) / 2
    top = (height * scale - frame.shape[0]) / 2
    cell = width // (NUMBER_BITS + 4)
    number = 0
    for bit in range(NUMBER_BITS):
        x = round((cell * (2 + bit) + cell / 2) * scale - left)
        y = round(2 * cell * scale - top)
        number |= int(frame[y, x].mean() > 127) << bit
    return number


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: Fraction | int = 24,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    sar: Fraction | None = None,
    pts: Sequence[int] | None = None,
    full_range: bool = False,
) -> Path:
    """Encode RGB frames; the suffix of the path is the container.

    `rotation` is what a player must turn the picture by, clockwise. `pts` are frame times in
    units of 1/fps, for a variable rate; frames are distributed evenly without it.
    """
    with av.open(str(path), "w") as container:
        stream = None
        for number, frame in enumerate(frames):
            if stream is None:
                stream = cast(VideoStream, container.add_stream(codec, rate=fps))
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = pixel_format
                stream.codec_context.time_base = 1 / Fraction(fps)
                stream.codec_context.thread_count = 1
                # x264's mbtree may give other bytes each time
                steady = {"x264-params": "mbtree=0"} if codec == "libx264" else {}
                stream.codec_context.options = steady | (options or {})
                if sar is not None:
                    stream.codec_context.sample_aspect_ratio = sar
                if rotation:
                    stream.set_display_rotation(-rotation)
                if full_range:
                    stream.codec_context.color_range = 2
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(
                format=pixel_format, dst_color_range=2 if full_range else 1, threads=1
            )
            picture.pts = number if pts is None else pts[number]
            picture.time_base = 1 / Fraction(fps)
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode(None))
    return path


def shots_video(
    path: Path,
    seconds: Sequence[float],
    fps: int = 24,
    size: tuple[int, int] = (320, 192),
    **kwargs,
) -> list[int]:
    """Write shots of the given lengths, cut hard; returns the first frames of all but the first."""
    lengths = [round(length * fps) for length in seconds]
    frames = [f for shot, length in enumerate(lengths) for f in moving_shapes(length, size, shot)]
    write_video(path, frames, fps, **kwargs)
    return [sum(lengths[: number + 1]) for number in range(len(lengths) - 1)]


def dissolve(before: list[np.ndarray], after: list[np.ndarray], length: int) -> list[np.ndarray]:
    """Join two shots by blending the last frames of one with the first of the other."""
    blended = [
        cv2.addWeighted(one, 1 - (i + 1) / (length + 1), other, (i + 1) / (length + 1), 0)
        for i, (one, other) in enumerate(zip(before[-length:], after[:length], strict=True))
    ]
    return before[:-length] + blended + after[length:]


def write_bomb(path: Path, num_frames: int = 120, size: tuple[int, int] = (1920, 1080)) -> Path:
    """Write black frames that take a few kB stored and gigabytes decoded."""
    black = np.zeros((size[1], size[0], 3), np.uint8)
    options = {"preset": "ultrafast", "crf": "51", "x264-params": "keyint=100000:no-scenecut=1"}
    return write_video(path, (black for _ in range(num_frames)), 25, options=options)
