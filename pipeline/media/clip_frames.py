"""Decode frames of the clips that we encoded ourselves."""

import io
import math
from collections.abc import Iterator, Sequence

import av
import numpy as np

from pipeline.media.pixels import Scaler, planes_of


def read_clip(
    mp4: bytes, fps: float | None = None, indices: Sequence[int] | None = None
) -> tuple[list[int], list[np.ndarray]]:
    """Decode frames of one of our clips, as RGB uint8 (height, width, 3).

    By default all of them; `fps` takes that many a second, evenly; `indices` takes those.
    Returns the frames' indices in the clip and the pictures, in time order.
    """
    wanted = set(indices) if indices is not None else None
    taken: list[int] = []
    pictures: list[np.ndarray] = []
    with av.open(io.BytesIO(mp4), "r", format="mp4", options={"threads": "1"}) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        if wanted is None and fps is not None:
            wanted = set(_even_indices(stream.frames, float(stream.average_rate or fps), fps))
        scaler = None
        for index, picture in enumerate(container.decode(stream)):
            if wanted is None or index in wanted:
                scaler = scaler or Scaler(picture.width, picture.height, "rgb24")
                taken.append(index)
                pictures.append(scaler(picture).to_ndarray())
            if wanted is not None and len(taken) == len(wanted):
                break
    return taken, pictures


def read_luma(
    mp4: bytes, fps: float, picture_step: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """Yield `fps` frames a second of one of our clips: their index in it, luma, and picture.

    The luma is uint8 (height, width), in limited range as it is stored; the RGB picture is made of
    every `picture_step`-th only, from the first on, because that costs more than decoding.
    """
    with av.open(io.BytesIO(mp4), "r", format="mp4", options={"threads": "1"}) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        wanted = set(_even_indices(stream.frames, float(stream.average_rate or fps), fps))
        scaler, number = None, 0
        for index, picture in enumerate(container.decode(stream)):
            if index not in wanted:
                continue
            shown = None
            if number % picture_step == 0:
                scaler = scaler or Scaler(picture.width, picture.height, "rgb24")
                shown = scaler(picture).to_ndarray()
            yield index, planes_of(picture)[0], shown
            number += 1


def _even_indices(num_frames: int, rate: float, fps: float) -> Iterator[int]:
    step = max(1.0, rate / fps)
    return (round(k * step) for k in range(math.ceil(num_frames / step)))
