"""A long video is observed in parts by many workers and comes out as one video."""

import itertools

import pytest
from runs import curate, rows
from synthetic import moving_shapes, write_video

SETTINGS = [
    "--set",
    "observe.part_s=20",
    "--set",
    "observe.clips.max_s=2",
    "--set",
    "observe.clips.min_s=1",
]


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """Three shots: 0 to 16 s, 16 to 30 s (over the border at 20 s), 30 to 45 s."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    frames = [
        frame
        for shot, seconds in enumerate((16, 14, 15))
        for frame in moving_shapes(24 * seconds, (320, 240), shot)
    ]
    return write_video(path, frames, 24)


@pytest.mark.slow
def test_parts_join_into_one_video_without_gap_or_double(long_video, tmp_path):
    curate(tmp_path, long_video, extra=SETTINGS)
    [video] = rows(tmp_path, "videos")
    assert video["num_frames"] == 45 * 24
    assert video["duration_s"] == pytest.approx(45, abs=0.1)
    opened = [(round(shot["start_s"]), shot["opened_by"]) for shot in video["shots"]]
    assert opened == [(0, "start"), (16, "cut"), (20, "part"), (30, "cut"), (40, "part")]
    clips = sorted(rows(tmp_path, "clips"), key=lambda clip: clip["start_s"])
    assert len({clip["shot_id"] for clip in clips}) == 3
    for before, after in itertools.pairwise(clips):
        assert before["end_s"] <= after["start_s"] + 1e-6
    assert clips[0]["start_s"] < 0.1
    assert clips[-1]["end_s"] > 43
    covered = sum(clip["end_s"] - clip["start_s"] for clip in clips)
    assert covered > 40
