"""Long videos in little memory: a frame is free as soon as nobody needs it."""

import gc

import av
import pytest
from synthetic import moving_shapes, write_video

from pipeline.dataset.units import VideoPart
from pipeline.media.probe import probe
from pipeline.observing.clips import cut_video
from pipeline.observing.observe_config import ObserveConfig
from schemas.tables import Video


@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_no_frame_waits_for_the_collector(tmp_path, without_collector):
    frames = [frame for shot in range(3) for frame in moving_shapes(60, (320, 240), shot)]
    path = str(write_video(tmp_path / "three_shots.mp4", frames))
    config = ObserveConfig()
    video = probe(path, "v", config.probe)
    assert isinstance(video, Video)
    cut = cut_video(path, video, VideoPart(), config)
    assert len(cut.clips) == 3
    assert [one for one in gc.get_objects() if isinstance(one, av.VideoFrame)] == []
