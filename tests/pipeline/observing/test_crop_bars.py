"""Bars that only one shot of a video has are cut off its clips and stills."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import moving_shapes, write_video

from pipeline.dataset.units import VideoPart
from pipeline.execution.stage import ClipRow
from pipeline.media.clip_frames import read_clip
from pipeline.media.images import decode_image
from pipeline.media.probe import probe
from pipeline.observing.clips import cut_video
from pipeline.observing.crop_bars import CropBars
from pipeline.observing.observe_config import ObserveConfig
from schemas.tables import Video

CONFIG = ObserveConfig()
BAR = 24  # of 320 rows
MARK = (slice(200, 216), slice(300, 316))  # a white square in every frame


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> ClipRow:
    """A clip whose upper rows are black, as if its bars had not been found in the whole video."""
    path: Path = tmp_path_factory.mktemp("bars") / "a.mp4"
    frames = [np.maximum(frame, 70) for frame in moving_shapes(40, (480, 320))]
    for frame in frames:
        frame[:BAR] = 0
        frame[MARK] = 255
    write_video(path, frames, 16, options={"crf": "10"})
    video = probe(str(path), path.name, CONFIG.probe)
    assert isinstance(video, Video)
    config = replace(CONFIG, clips=replace(CONFIG.clips, crop_bars=False))
    [row] = cut_video(str(path), video, VideoPart(), config).clips
    assert row.clip.black_border == pytest.approx(BAR / 320, abs=0.01)
    return row


def middle_of_mark(picture: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(picture.min(axis=2) > 225)
    return np.array([np.median(columns), np.median(rows)]) + 0.5


def test_a_bar_is_gone_and_the_clip_has_its_size(row: ClipRow) -> None:
    done = CropBars(CONFIG.clips).process(row)
    assert done.clip.black_border == 0
    assert (done.clip.width, done.clip.height) == (row.clip.width, row.clip.height)
    assert done.clip.num_frames == row.clip.num_frames
    assert done.clip.clip_id != row.clip.clip_id
    _, pictures = read_clip(done.mp4, indices=[0, 20])
    assert min(picture[0].mean() for picture in pictures) > 60
    assert all(decode_image(still.jpeg)[0].mean() > 60 for still in done.stills)


def test_a_point_of_the_clip_is_still_found_in_the_still(row: ClipRow) -> None:
    done = CropBars(CONFIG.clips).process(row)
    _, [picture] = read_clip(done.mp4, indices=[done.stills[1].frame_index])
    still = done.stills[1]
    placed = middle_of_mark(picture) * still.scale + [still.left, still.top]
    assert placed == pytest.approx(middle_of_mark(decode_image(still.jpeg)), abs=1.5)
    assert decode_image(still.jpeg).shape[:2] == (still.height, still.width)


def test_a_clip_without_bars_and_one_that_may_keep_them_stay_as_they_are(row: ClipRow) -> None:
    clear = replace(row, clip=replace(row.clip, black_border=0.0))
    assert CropBars(CONFIG.clips).process(clear) is clear
    assert CropBars(replace(CONFIG.clips, crop_bars=False)).process(row) is row


def test_the_same_clip_is_cropped_to_the_same_bytes(row: ClipRow) -> None:
    first, second = (CropBars(CONFIG.clips).process(row) for _ in range(2))
    assert first.mp4 == second.mp4
