"""Small rows for tests: every column filled, the interesting ones chosen by the test."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.engines.interfaces import SimilarityWindows
from pipeline.media.images import encode_jpeg, encode_png_mask
from schemas.tables import Candidate, Clip, Embedding, Track, Video

RECOGNISER = "test-recogniser/1"
WINDOWS = SimilarityWindows(same_video=0.6, cross_video=0.7, reference_floor=0.4, duplicate=0.99)


def hash_of(*parts: Any, digits: int = 16) -> str:
    """Return hex digits that differ in about half their bits from those of other parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:digits]


def video(video_id: str = "video", **columns: Any) -> Video:
    """Return a 60 s video of 1280x720 at 24 frames a second."""
    row = Video(
        video_id=video_id, uri=f"{video_id}.mp4", licence="CC0-1.0", source="test",
        given_caption="", size_bytes=1000, container="mp4", codec="h264", pixel_format="yuv420p",
        bit_depth=8, coded_width=1280, coded_height=720, rotation=0, pixel_aspect=1.0, width=1280,
        height=720, fps=24.0, constant_fps=True, num_frames=1440, num_frames_declared=1440,
        duration_s=60.0, num_video_streams=1, sound_codec="", decode_errors=0, truncated=False,
        shots=[],
    )  # fmt: skip
    return replace(row, **columns)


def clip(
    clip_id: str,
    video_id: str = "video",
    shot_id: str = "shot",
    start_s: float = 0.0,
    length_s: float = 2.0,
    mp4: bytes = b"clip",
    **columns: Any,
) -> Clip:
    """Return an ordinary clip of 832x480 at 16 frames a second."""
    row = Clip(
        clip_id=clip_id, video_id=video_id, shot_id=shot_id, start_pts=round(start_s * 24),
        end_pts=round((start_s + length_s) * 24), timebase_num=1, timebase_den=24,
        start_s=start_s, end_s=start_s + length_s, start_frame=round(start_s * 24),
        end_frame=round((start_s + length_s) * 24), width=832, height=480, size_class=480,
        fps=16.0, num_frames=round(16 * length_s), scale=0.65, cropped=0.0, size_bytes=len(mp4),
        sha256=hashlib.sha256(mp4).hexdigest(), sharpness=200.0, brightness=0.5, contrast=0.2,
        dark=0.0, bright=0.0, black_border=0.0, motion=0.5, camera_motion=0.0,
        camera_pan=[0.0, 0.0], camera_zoom=0.0, text_area=0.0,
        perceptual_hash=hash_of("clip", clip_id, digits=48), num_people=1,
    )  # fmt: skip
    return replace(row, **columns)


def track(track_id: str, of: Clip, left: float = 300.0, **columns: Any) -> Track:
    """Return a person of 150x400 px who stands still at `left` through the whole clip."""
    boxes = [[left, 60.0, left + 150, 460.0]] * of.num_frames
    row = Track(
        track_id=track_id, clip_id=of.clip_id, video_id=of.video_id, shot_id=of.shot_id,
        detector="test-detector/1", first_frame=0, boxes=boxes, detected=[True] * len(boxes),
        score=0.9, coverage=1.0, area=0.15, purity=1.0, shot_size="full", faces=[],
        face_rate=1.0, top_colour="red", bottom_colour="blue",
    )  # fmt: skip
    return replace(row, **columns)


def candidate(reference_id: str, of: Track, time_s: float, **columns: Any) -> Candidate:
    """Return a good frontal candidate without pixels."""
    row = Candidate(
        reference_id=reference_id, track_id=of.track_id, clip_id=of.clip_id, video_id=of.video_id,
        shot_id=of.shot_id, time_s=time_s, width=200, height=300, box=[20.0, 20.0, 180.0, 280.0],
        face=[], size_px=200.0, sharpness=150.0, exposure=0.9, frontal=1.0, yaw=0.0,
        occlusion=0.0, truncation=0.0, whole_body=True, mask_area=0.6, mask_engine="test-mask/1",
        perceptual_hash=hash_of("candidate", reference_id), quality=0.8, image=b"", mask=b"",
    )  # fmt: skip
    return replace(row, **columns)


def embedding(
    vector: Sequence[float] | np.ndarray,
    track_id: str,
    reference_id: str = "",
    recogniser: str = RECOGNISER,
) -> Embedding:
    """Return the identity vector of a track, or of one of its images."""
    return Embedding(
        track_id=track_id,
        reference_id=reference_id,
        video_id="video",
        recogniser=recogniser,
        weights_digest="none",
        num_images=8,
        vector=[float(value) for value in vector],
    )


def person(number: int, size: int = 16) -> np.ndarray:
    """Return the direction of person `number`; different people are orthogonal."""
    return np.eye(size)[number]


def looks_like(direction: np.ndarray, cosine: float, seed: int) -> np.ndarray:
    """Return a unit vector at this cosine to `direction`, turned to a random side."""
    random = np.random.default_rng(seed).standard_normal(direction.size)
    random -= (random @ direction) * direction
    return cosine * direction + np.sqrt(1 - cosine**2) * random / np.linalg.norm(random)


def pixels(width: int = 200, height: int = 300, seed: int = 0) -> tuple[bytes, bytes]:
    """Return (JPEG, PNG mask) of a red oval person on a green ground."""
    y, x = np.mgrid[0:height, 0:width]
    inside = ((x - width / 2) / (0.3 * width)) ** 2 + ((y - height / 2) / (0.4 * height)) ** 2 < 1
    image = np.zeros((height, width, 3), np.uint8)
    image[...] = (30, 160 + seed % 40, 40)
    image[inside] = (200, 40, 40)
    return encode_jpeg(image), encode_png_mask((inside * 255).astype(np.uint8))
