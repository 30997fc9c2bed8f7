"""Clips of a public-domain portrait that moves, for tests that need a real face."""

import io
from collections.abc import Sequence

import av
import cv2
import numpy as np
import rows

from pipeline.execution.stage import ClipRow, Still
from pipeline.media.images import encode_jpeg

WIDTH, HEIGHT, FPS = 640, 480, 16


def portrait() -> np.ndarray:
    """Return a 512x512 portrait of an astronaut (NASA, public domain)."""
    from skimage import data

    return data.astronaut()


def recoloured(picture: np.ndarray, degrees: int = 90) -> np.ndarray:
    """Return the picture with all hues turned: the same shapes, other clothes, hair and skin."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + degrees // 2) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def ground(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return a grey-green wall with some texture and nobody in front of it."""
    noise = np.random.default_rng(0).normal(0, 1, (height // 16, width // 16, 1))
    coarse = cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.array([96, 120, 104]) + 14 * coarse[..., None], 0, 255).astype(np.uint8)


def placed(left: int, top: int, size: int = 300, person: np.ndarray | None = None) -> np.ndarray:
    """Return the wall with the portrait, `size` pixels wide, at (left, top)."""
    picture = ground()
    source = portrait() if person is None else person
    small = cv2.resize(source, (size, size), interpolation=cv2.INTER_AREA)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + size, WIDTH), min(top + size, HEIGHT)
    picture[y0:y1, x0:x1] = small[y0 - top : y1 - top, x0 - left : x1 - left]
    return picture


def walking(seconds: float = 3.0, person: np.ndarray | None = None) -> list[np.ndarray]:
    """Return frames in which the portrait moves from left to right, its foot on the edge."""
    number = round(seconds * FPS)
    return [placed(30 + round(200 * k / number), 160, 320, person) for k in range(number)]


def encoded(frames: Sequence[np.ndarray]) -> bytes:
    """Return the frames as H.264 in MP4."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16", "preset": "veryfast", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def clip_row(frames: Sequence[np.ndarray], name: str = "portrait", scale: float = 1.0) -> ClipRow:
    """Return a clip of the frames, with two stills a second, `scale` times as large."""
    height, width = frames[0].shape[:2]
    mp4 = encoded(frames)
    clip = rows.clip(
        name, length_s=len(frames) / FPS, mp4=mp4, width=width, height=height,
        num_frames=len(frames), scale=1 / scale, num_people=0,
    )  # fmt: skip
    size = (round(width * scale), round(height * scale))
    stills = tuple(
        Still(
            frame_index=i, time_s=i / FPS, width=size[0], height=size[1], scale=scale, left=0.0,
            top=0.0, jpeg=encode_jpeg(cv2.resize(frames[i], size), 95),
        )
        for i in range(0, len(frames), FPS // 2)
    )  # fmt: skip
    return ClipRow(clip, mp4, stills)
