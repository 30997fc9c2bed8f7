"""Who is there for a part of a window gets a clip of that part."""

from pathlib import Path

import numpy as np
import pytest
from rows import clip, track
from synthetic import moving_shapes, number_frame, read_number, write_video

from pipeline.dataset.units import VideoPart
from pipeline.engines.interfaces import Detections, EngineInfo
from pipeline.execution.stage import ClipRow
from pipeline.media.clip_frames import read_clip
from pipeline.media.probe import probe
from pipeline.observing.clips import ClipsConfig, cut_video
from pipeline.observing.observe_config import ObserveConfig
from pipeline.observing.trim import TrackAndTrim, TrimConfig, cut_to, stretch_of
from schemas.tables import Video

CONFIG = ObserveConfig()
SIZE = (480, 320)
NOBODY = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
BOX = np.array([[150.0, 20.0, 330.0, 310.0]], np.float32)


@pytest.fixture(scope="module")
def row(tmp_path_factory) -> ClipRow:
    """A clip of eight seconds whose frames bear their numbers."""
    path: Path = tmp_path_factory.mktemp("trim") / "a.mp4"
    frames = [number_frame(frame, n) for n, frame in enumerate(moving_shapes(128, SIZE))]
    write_video(path, frames, 16, options={"crf": "12"})
    video = probe(str(path), path.name, CONFIG.probe)
    assert isinstance(video, Video)
    [row] = cut_video(str(path), video, VideoPart(), CONFIG).clips
    return row


class Late:
    """A detector that sees somebody in pictures that bear a number from `first` on."""

    info = EngineInfo("late/1", "person_detection", "none", True)

    def __init__(self, first: int) -> None:
        self.first = first

    def detect(self, pictures):
        return [self._look(picture) for picture in pictures]

    def _look(self, picture) -> Detections:
        there = read_number(picture, SIZE) >= self.first
        boxes = BOX * (picture.shape[0] / SIZE[1]) if there else np.zeros((0, 4), np.float32)
        return Detections(boxes, np.full(len(boxes), 0.9, np.float32))


def test_whoever_comes_late_gets_a_clip_of_the_rest(row):
    done = TrackAndTrim(Late(72), CONFIG.tracks, CONFIG.trim, CONFIG.clips).process(row)
    [person] = done.tracks
    assert person.coverage > 0.9
    assert person.clip_id == done.clip.clip_id != row.clip.clip_id
    _, pictures = read_clip(done.mp4)
    numbers = [read_number(picture, SIZE) for picture in pictures]
    assert numbers == list(range(numbers[0], numbers[0] + done.clip.num_frames))
    assert 60 <= numbers[0] <= 76  # between the looks before and after the first that saw somebody
    assert numbers[-1] >= 118
    assert done.clip.start_s == pytest.approx(numbers[0] / 16, abs=0.01)
    assert done.clip.end_s == pytest.approx((numbers[-1] + 1) / 16, abs=0.01)
    assert done.clip.num_people == 1
    assert done.clip.size_bytes == len(done.mp4)
    for still in done.stills:
        assert still.time_s == pytest.approx(done.clip.start_s + still.frame_index / 16, abs=0.07)


def test_a_stretch_in_which_nobody_is_found_again_is_not_cut(row):
    class Once(Late):
        calls = 0

        def detect(self, pictures):
            self.calls += 1
            return super().detect(pictures) if self.calls == 1 else [NOBODY for _ in pictures]

    detector = Once(72)
    done = TrackAndTrim(detector, CONFIG.tracks, CONFIG.trim, CONFIG.clips).process(row)
    assert detector.calls == 2
    assert done.clip.clip_id == row.clip.clip_id
    assert len(done.tracks) == 1


def test_whoever_stays_keeps_the_whole_window(row):
    done = TrackAndTrim(Late(0), CONFIG.tracks, CONFIG.trim, CONFIG.clips).process(row)
    assert done.clip.clip_id == row.clip.clip_id
    assert done.mp4 == row.mp4


def test_the_same_stretch_gives_the_same_bytes_and_hardly_worse_pictures(row):
    first, second = (cut_to(row, 32, 96, CONFIG.clips.encoding) for _ in range(2))
    assert first == second
    _, before = read_clip(row.mp4, indices=[60])
    _, after = read_clip(first.mp4, indices=[28])
    error = float(((before[0].astype(float) - after[0]) ** 2).mean())
    assert 10 * np.log10(255**2 / max(error, 1e-6)) > 38  # dB


def test_a_glimpse_is_no_clip_and_an_empty_room_is_cut_off_a_long_stay():
    window = clip("window", length_s=10.0)

    def stay(seconds: float):
        frames = round(16 * seconds)
        boxes = [[300.0, 60.0, 450.0, 460.0]] * frames
        return track("t", window, boxes=boxes, first_frame=20, coverage=seconds / 10)

    assert stretch_of(window, [stay(1.5)], TrimConfig(), CONFIG.clips) is None
    assert stretch_of(window, [stay(4.0)], TrimConfig(), CONFIG.clips) == (20, 84)
    assert stretch_of(window, [stay(7.0)], TrimConfig(), CONFIG.clips) == (20, 132)
    assert stretch_of(window, [stay(7.0)], TrimConfig(max_empty_s=2.0), CONFIG.clips) is None
    assert stretch_of(window, [stay(8.5)], TrimConfig(), CONFIG.clips) == (20, 160)  # to the end
    assert stretch_of(window, [stay(3.0), track("all", window)], TrimConfig(), CONFIG.clips) is None
    assert stretch_of(window, [], TrimConfig(), CONFIG.clips) is None
    wan = ClipsConfig(max_s=5.0625, frames_from=49, frames_step=4)
    assert stretch_of(window, [stay(4.0)], TrimConfig(), wan) == (20, 81)
    assert stretch_of(window, [stay(2.5)], TrimConfig(), wan) is None
