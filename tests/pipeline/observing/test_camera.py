"""The camera's motion is told beside people, or not at all."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import rows

from pipeline.execution.stage import ClipRow
from pipeline.observing.camera import MeasureCamera
from pipeline.observing.quality import QualityMeter
from schemas.tables import Clip

WIDTH, HEIGHT, NUMBER = 448, 256, 32
HEAD = [60.0, 0.0, 388.0, 256.0]  # a person who fills most of the picture


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(40, 215, (64, 112)).astype(np.uint8)
    return cv2.resize(noise, (896, 512), interpolation=cv2.INTER_CUBIC)


def measured(head_px: float, ground_px: float, plain_ground: bool = False) -> Clip:
    """Return a clip whose head and ground move so many pixels a frame to the right."""
    ground = np.full((512, 896), 120, np.uint8) if plain_ground else texture(1)
    head, meter = texture(2), QualityMeter(fps=16)
    left, _, right, _ = (int(side) for side in HEAD)
    for frame in range(NUMBER):
        behind, before = 224 - round(ground_px * frame), 224 - round(head_px * frame)
        picture = ground[128:384, behind : behind + WIDTH].copy()
        picture[20:, left + 20 : right - 20] = head[148:384, before : before + right - left - 40]
        meter.add(picture)
    clip = rows.clip("clip", width=WIDTH, height=HEIGHT, num_frames=NUMBER)
    quality = meter.finish()
    clip = replace(clip, camera_motion=quality.camera_motion, camera_pan=quality.camera_pan)
    track = rows.track("track", clip, boxes=[HEAD] * NUMBER)
    row = ClipRow(clip=clip, mp4=b"", tracks=(track,), movements=meter.movements)
    done = MeasureCamera().process(row)
    assert done.movements == (), "they are not carried further"
    return done.clip


def test_a_moving_head_before_a_still_ground_is_no_moving_camera():
    clip = measured(head_px=2, ground_px=0)
    assert clip.camera_motion < 0.1


def test_a_camera_that_follows_a_head_pans():
    clip = measured(head_px=0, ground_px=2)
    assert clip.camera_pan == pytest.approx([2.0, 0.0], abs=0.3)
    assert clip.camera_motion == pytest.approx(2.0, rel=0.2)


def test_before_a_plain_wall_the_camera_is_unknown():
    clip = measured(head_px=2, ground_px=0, plain_ground=True)
    assert math.isnan(clip.camera_motion)
    assert math.isnan(clip.camera_zoom)


def test_a_clip_without_people_keeps_what_was_measured_of_all_of_it():
    clip = rows.clip("clip", camera_motion=1.5)
    assert MeasureCamera().process(ClipRow(clip=clip, mp4=b"")).clip == clip
