"""Probing tells what a file is, or why it is refused, before it is decoded."""

import dataclasses
import os
from pathlib import Path
from typing import Any, cast

import pytest
from synthetic import moving_shapes, write_bomb, write_video

from pipeline.execution.stage import Rejected
from pipeline.media.probe import ProbeConfig, probe
from schemas.reasons import Reason
from schemas.tables import Video

LIMITS = ProbeConfig()


def video_of(path: Path, limits: ProbeConfig = LIMITS) -> Video:
    video = probe(str(path), "id", limits)
    assert isinstance(video, Video), video
    return video


def rejected_of(path: Path, limits: ProbeConfig = LIMITS) -> Rejected:
    rejected = probe(str(path), "id", limits)
    assert isinstance(rejected, Rejected), rejected
    return rejected


def test_facts_of_a_plain_file(tmp_path: Path) -> None:
    video = video_of(write_video(tmp_path / "a.mp4", moving_shapes(48), 24))
    assert (video.codec, video.pixel_format, video.bit_depth) == ("h264", "yuv420p", 8)
    assert (video.width, video.height, video.coded_width, video.coded_height) == (320, 192) * 2
    assert (video.num_frames, video.num_frames_declared) == (0, 48)
    assert (video.fps, video.constant_fps) == (pytest.approx(24), True)
    assert video.duration_s == pytest.approx(2.0)
    assert (video.rotation, video.pixel_aspect, video.sound_codec) == (0, 1.0, "")
    assert not video.truncated


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "mov"])
def test_constant_rate_is_known_in_every_container(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    video = video_of(write_video(path, moving_shapes(48), 25, options={"bf": "0"}))
    assert (video.fps, video.constant_fps) == (pytest.approx(25, rel=1e-3), True)


def test_variable_rate_is_seen_and_its_mean_is_right(tmp_path: Path) -> None:
    pts = [i + i // 2 for i in range(48)]  # every third frame of a constant rate is missing
    video = video_of(write_video(tmp_path / "a.mp4", moving_shapes(48), 24, pts=pts))
    assert not video.constant_fps
    assert video.fps == pytest.approx(47 / (pts[-1] / 24), rel=1e-3)


def test_bomb_is_refused_without_decoding_it(tmp_path: Path) -> None:
    rejected = rejected_of(write_bomb(tmp_path / "bomb.mp4"))
    assert rejected.reason == Reason.DECOMPRESSION_BOMB
    assert rejected.value is not None
    assert rejected.value > 20_000 == rejected.threshold


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"min_duration_s": 3.0}, Reason.VIDEO_TOO_SHORT),
        ({"max_duration_s": 1.5}, Reason.VIDEO_TOO_LONG),
        ({"max_frames": 40}, Reason.VIDEO_TOO_LONG),
        ({"min_fps": 25.0}, Reason.FRAME_RATE_OUT_OF_RANGE),
        ({"max_fps": 20.0}, Reason.FRAME_RATE_OUT_OF_RANGE),
        ({"min_side": 193}, Reason.PICTURE_TOO_SMALL),
        ({"max_size_bytes": 1000}, Reason.FILE_TOO_LARGE),
    ],
)
def test_every_limit_refuses_with_value_and_threshold(
    tmp_path: Path, change: dict, reason: Reason
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_shapes(48), 24)
    rejected = rejected_of(path, dataclasses.replace(LIMITS, **change))
    assert rejected.reason == reason
    assert rejected.threshold == next(iter(change.values()))
    assert rejected.value is not None
    assert rejected.detail


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_file_cut_off_anywhere_is_never_kept_silently(tmp_path: Path, suffix: str) -> None:
    options = {"g": "12", "bf": "2", "movflags": "+faststart"} if suffix == "mp4" else {"g": "12"}
    whole = tmp_path / f"whole.{suffix}"
    write_video(whole, moving_shapes(96), 24, options=options)
    if suffix == "mp4":
        whole = _with_index_in_front(whole)
    content = whole.read_bytes()
    for percent in range(4, 98, 6):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(content[: len(content) * percent // 100])
        rejected = probe(str(cut), "id", LIMITS)
        assert isinstance(rejected, Rejected), f"{percent} % of a {suffix} was kept"
        assert rejected.reason in (Reason.TRUNCATED, Reason.NOT_A_VIDEO, Reason.DAMAGED)


def _with_index_in_front(path: Path) -> Path:
    import av

    front = path.with_name("front.mp4")
    with (
        av.open(str(path)) as source,
        av.open(str(front), "w", options={"movflags": "+faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return front


def test_truncated_file_can_be_flagged_instead(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", moving_shapes(96), 24)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    video = video_of(path, dataclasses.replace(LIMITS, integrity="flag"))
    assert video.truncated


def test_integrity_takes_two_words_only() -> None:
    with pytest.raises(ValueError, match="'ignore'"):
        ProbeConfig(integrity=cast(Any, "ignore"))


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving_shapes(24))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("runs as root, who may read everything")
    assert rejected_of(path).reason == Reason.UNREADABLE


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert rejected_of(tmp_path / "none.mp4").reason == Reason.UNREADABLE


@pytest.mark.media
def test_facts_of_the_real_files(media: Path) -> None:
    videos = media / "videos"
    upright = {
        "lp-driving-d9.mp4": (480, 480),
        "mmaction-demo.mp4": (427, 256),
        "psd-issue-195-aspect-ratio.mp4": (1024, 576),
        "lp-source-s20.mp4": (480, 908),
    }
    for name, size in upright.items():
        video = video_of(videos / name)
        assert (video.width, video.height) == size, name
    phone = video_of(media / "odd" / "derived-phone-upright-by-rotation.mp4")
    assert (phone.rotation, phone.width, phone.height) == (90, 720, 1280)
    assert video_of(media / "odd" / "tc-nasa_13013.mp4").num_video_streams == 2
    assert video_of(media / "odd" / "derived-hevc-10bit-juggle.mp4").bit_depth == 10
    variable = [
        path.name
        for folder in ("videos", "odd")
        for path in sorted((media / folder).iterdir())
        if isinstance(video := probe(str(path), "id", LIMITS), Video) and not video.constant_fps
    ]
    assert variable == ["psd-goldeneye-vfr-drop3.mp4", "tc-var_fps_video.mp4"]


@pytest.mark.media
def test_no_good_file_is_refused(media: Path) -> None:
    for path in sorted((media / "videos").iterdir()):
        video_of(path)
