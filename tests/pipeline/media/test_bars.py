"""Bars that a video was padded with are found, and dark scenes are not taken for bars."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from synthetic import moving_shapes, write_video

from pipeline.dataset.units import VideoPart
from pipeline.execution.stage import VideoRow
from pipeline.media.bars import NO_BARS, Bars, find_bars
from pipeline.media.clip_frames import read_clip
from pipeline.media.images import decode_image
from pipeline.media.limits import ProbeConfig
from pipeline.media.probe import probe
from pipeline.media.reader import VideoReader
from pipeline.observing.clips import ClipsConfig, cut_video
from pipeline.observing.observe_config import ObserveConfig
from schemas.tables import Video


def padded(above: int = 0, below: int = 0, left: int = 0, right: int = 0) -> list[np.ndarray]:
    frames = [frame // 2 + 90 for frame in moving_shapes(72, (480, 320))]
    for frame in frames:
        frame[:above] = frame[320 - below :] = 0
        frame[:, :left] = frame[:, 480 - right :] = 0
    return frames


def found(path: Path, frames: list[np.ndarray], **options) -> Bars:
    write_video(path, frames, 24, **options)
    with VideoReader(str(path), ProbeConfig()) as reader:
        return find_bars(reader, 0.0, 3.0)


@pytest.mark.parametrize("group", ["12", "250"])  # with many key frames, and with one
def test_letterbox_and_pillarbox_are_found(tmp_path, group):
    options = {"options": {"g": group}}
    letter = found(tmp_path / "a.mp4", padded(above=40, below=40), **options)
    eighth = pytest.approx(0.125, abs=0.012)
    assert astuple(letter) == (0, 0, eighth, eighth)
    pillar = found(tmp_path / "b.mp4", padded(left=60, right=60), **options)
    assert astuple(pillar) == (eighth, eighth, 0, 0)
    side = found(tmp_path / "c.mp4", padded(left=60), **options)
    assert astuple(side) == (eighth, 0, 0, 0)


def test_what_is_dark_on_one_side_or_now_and_then_is_no_bar(tmp_path):
    assert found(tmp_path / "none.mp4", padded()) == NO_BARS
    fading = padded()
    for frame in fading:  # a wall that lies in the dark, and its edge is not straight
        for row in range(320):
            frame[row, : 40 + row // 4] = 0
    assert found(tmp_path / "side.mp4", fading) == NO_BARS
    changing = [*padded(above=40, below=40)[:36], *padded()[36:]]
    assert found(tmp_path / "now.mp4", changing, options={"g": "12"}) == NO_BARS
    assert found(tmp_path / "black.mp4", [np.zeros((320, 480, 3), np.uint8)] * 30) == NO_BARS


def cut(path: Path, **settings) -> VideoRow:
    video = probe(str(path), path.name, ProbeConfig())
    assert isinstance(video, Video)
    config = ObserveConfig(clips=ClipsConfig(**settings))
    return cut_video(str(path), video, VideoPart(), config)


def test_clips_and_stills_are_cut_without_the_bars(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, padded(above=40, below=40), 24)
    [row] = cut(path).clips
    _, pictures = read_clip(row.mp4, fps=2)
    assert min(int(picture[k].mean()) for picture in pictures for k in (0, -1)) > 60
    assert row.clip.black_border == 0
    assert row.clip.cropped < 0.2
    for still in row.stills:
        picture = decode_image(still.jpeg)
        assert picture.shape == (still.height, still.width, 3)
        assert min(int(picture[k].mean()) for k in (0, -1)) > 60
    [whole] = cut(path, crop_bars=False).clips
    assert whole.clip.clip_id != row.clip.clip_id
    assert whole.clip.black_border > 0.1


@pytest.mark.parametrize("bars", [{"above": 40, "below": 40}, {"left": 60}])
def test_a_place_in_a_clip_is_the_same_place_in_its_stills(tmp_path, bars):
    path = tmp_path / "a.mp4"
    frames = padded(**bars)
    for frame in frames:
        frame[150:170, 230:250] = (255, 0, 0)
    write_video(path, frames, 24, options={"crf": "10"})
    [row] = cut(path).clips
    _, pictures = read_clip(row.mp4, indices=[row.stills[1].frame_index])
    still = row.stills[1]
    x, y = _red(pictures[0])
    at = (x * still.scale + still.left, y * still.scale + still.top)
    assert at == pytest.approx(_red(decode_image(still.jpeg)), abs=1.5)


def _red(rgb: np.ndarray) -> tuple[float, float]:
    values = rgb.astype(int)
    rows, columns = np.nonzero(values[..., 0] - values[..., 1:].max(axis=2) > 120)
    return float(columns.mean()), float(rows.mean())
