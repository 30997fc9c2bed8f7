"""Small inputs that were once refused or misread, each for a kind of fault, with the truth."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from places import ROOT
from synthetic import moving_shapes, number_frame, read_number, write_video

from pipeline.dataset.units import VideoPart, split_video
from pipeline.execution.stage import Rejected, VideoRow
from pipeline.media.clip_frames import read_clip
from pipeline.media.geometry import Orientation, orientation_of
from pipeline.media.images import decode_image
from pipeline.media.limits import ProbeConfig
from pipeline.media.probe import probe
from pipeline.media.reader import VideoReader
from pipeline.observing.clips import ClipsConfig, cut_video
from pipeline.observing.shots import ShotsConfig
from schemas.reasons import Reason
from schemas.tables import Video


@dataclass(frozen=True)
class Config:
    """The settings that cutting reads."""

    probe: ProbeConfig = field(default_factory=ProbeConfig)
    shots: ShotsConfig = field(default_factory=ShotsConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)


LIMITS = ProbeConfig()
CONFIG = Config()
SHORT = Config(clips=ClipsConfig(min_s=0.5))
SIZE = (320, 192)


@pytest.fixture(scope="module")
def cases() -> Path:
    for place in (os.environ.get("CONTEXTANYONE_CASES"), ROOT.parent / "shared" / "cases"):
        if place and (Path(place) / "intake").is_dir():
            return Path(place)
    pytest.skip("cases absent: set CONTEXTANYONE_CASES to the folder with intake/")


def video_of(path: Path) -> Video:
    video = probe(str(path), "video", LIMITS)
    assert isinstance(video, Video), video
    return video


def cut(path: Path, config: Config = CONFIG) -> VideoRow:
    row = cut_video(str(path), video_of(path), VideoPart(), config)
    assert row.video is not None, row.ledger.rejects
    return row


@pytest.mark.parametrize(
    ("name", "frames", "fps"),
    [
        ("stream_copy_trim_editlist_small.mp4", 302, 25),
        ("stream_copy_trim_editlist_dog_preroll6frames.mp4", 122, 29.24),
        ("edit_list_end_trim.mp4", 75, 25),
        ("mpegts_gop10s_use_part_s_6.ts", 500, 25),
        ("vp8_altref_2pass.webm", 150, 25),
        ("avi_dropped_frames_null_chunks.avi", 135, 22.48),
        ("hevc_open_gop_segment_cra_rasl.ts", 46, 25),
        ("ts_segments_concatenated_cc_reset.ts", 150, 25),
        ("ts_cut_mid_gop.ts", 425, 25),
        ("time_gap_60s.mp4", 150, 25),
        ("preview_stream_first.mp4", 150, 25),
        ("ts_sar_changes_midstream_mpeg2.ts", 126, 25),
        ("good_wmv.wmv", 150, 25),
        ("good_mpg.mpg", 150, 25),
    ],
)
def test_good_case_comes_in_whole(cases: Path, name: str, frames: int, fps: float) -> None:
    path = cases / "intake" / name
    row = cut(path)
    assert row.video is not None
    assert row.video.num_frames == frames
    assert row.video.fps == pytest.approx(fps, abs=0.01)
    assert (row.video.decode_errors, row.video.truncated) == (0, False)


@pytest.mark.parametrize("part_s", [3.0, 6.0, 7.3])
def test_every_frame_comes_once_without_an_index(cases: Path, part_s: float) -> None:
    assert_parts_make_the_whole(cases / "intake" / "mpegts_gop10s_use_part_s_6.ts", part_s)


@pytest.mark.parametrize("suffix", ["ts", "mpg", "mkv", "mp4", "avi", "flv"])
@pytest.mark.parametrize("part_s", [2.5, 7.0])
def test_every_frame_comes_once_from_any_container(
    tmp_path: Path, suffix: str, part_s: float
) -> None:
    codec = "mpeg2video" if suffix == "mpg" else "libx264"
    options = {"g": "250", "keyint_min": "250", "sc_threshold": "0", "bf": "2"}
    path = tmp_path / f"a.{suffix}"
    write_video(path, moving_shapes(300, (160, 96)), 25, codec, options)
    assert_parts_make_the_whole(path, part_s)


def assert_parts_make_the_whole(path: Path, part_s: float) -> None:
    video = video_of(path)
    with VideoReader(str(path), LIMITS) as reader:
        whole = [(frame.index, frame.pts) for frame in reader.frames()]
    parted = []
    for part in split_video(video, part_s):
        with VideoReader(str(path), LIMITS) as reader:
            fps = video.fps if video.constant_fps else None
            start_s = part.start_s if part.index else -np.inf
            parted += [(f.index, f.pts) for f in reader.frames(start_s, part.end_s, fps)]
            assert reader.count.frames >= reader.count.packets
    assert parted == whole


def test_a_gap_in_time_ends_the_clip_where_its_last_frame_ends(cases: Path) -> None:
    row = cut(cases / "intake" / "time_gap_60s.mp4")
    assert row.video is not None
    assert [shot.opened_by for shot in row.video.shots] == ["start", "gap"]
    first, second = (clip.clip for clip in row.clips)
    assert first.end_s == pytest.approx(3.04, abs=0.05)
    assert second.start_s >= 62.9
    assert second.end_s == pytest.approx(66, abs=0.05)


def test_a_change_of_pixel_aspect_begins_another_shot(cases: Path) -> None:
    row = cut(cases / "intake" / "ts_sar_changes_midstream_mpeg2.ts")
    assert [(clip.clip.width, clip.clip.height) for clip in row.clips] == [(720, 544), (832, 480)]


def test_a_change_of_size_begins_another_shot(tmp_path: Path) -> None:
    parts = [
        write_video(tmp_path / f"{number}.ts", moving_shapes(50, size), 25).read_bytes()
        for number, size in enumerate(((480, 320), (320, 480)))
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    row = cut(tmp_path / "joined.ts", SHORT)
    assert row.video is not None
    assert [shot.opened_by for shot in row.video.shots] == ["start", "size"]
    sizes = [(clip.clip.width > clip.clip.height) for clip in row.clips]
    assert sizes == [True, False]


def test_joined_recordings_whose_clocks_start_anew_come_in_whole(tmp_path: Path) -> None:
    frames = [number_frame(frame, number) for number, frame in enumerate(moving_shapes(120))]
    parts = [
        write_video(tmp_path / f"{number}.ts", frames[start : start + 60], 25).read_bytes()
        for number, start in enumerate((0, 60))
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(parts))
    row = cut(path, SHORT)
    assert row.video is not None
    assert row.video.num_frames == 120
    shown = [numbers_in(clip.mp4) for clip in row.clips]
    assert [(one[0], one[-1] >= 57) for one in shown] == [(1, True), (60, True)]
    assert max(shown[0]) < 60
    assert_parts_make_the_whole(path, 2.0)


@pytest.mark.parametrize("suffix", ["ts", "flv"])
def test_sound_that_begins_late_is_no_damage(tmp_path: Path, suffix: str) -> None:
    silent = write_video(tmp_path / f"silent.{suffix}", moving_shapes(60), 25).read_bytes()
    loud = with_sound(tmp_path / f"loud.{suffix}", moving_shapes(60, shot=1)).read_bytes()
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(silent + (loud if suffix == "ts" else loud[13:]))  # without FLV's header
    row = cut(path, SHORT)
    assert row.video is not None
    assert row.video.num_frames == 120


def with_sound(path: Path, frames: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height = SIZE
        audio = container.add_stream("aac", rate=44100)
        silence = np.zeros((2, 1024), np.float32)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(video.encode(picture))
        for number in range(44100 * len(frames) // (25 * 1024)):
            sound = av.AudioFrame.from_ndarray(silence, format="fltp", layout="stereo")
            sound.rate, sound.pts = 44100, 1024 * number
            container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return path


def numbers_in(mp4: bytes) -> list[int]:
    return [read_number(picture, SIZE) for picture in read_clip(mp4)[1]]


def test_fragments_whose_times_start_late_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "late.mp4"
    with av.open(
        str(path), "w", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    ) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = SIZE
        stream.options = {"g": "25"}
        for number, frame in enumerate(moving_shapes(75)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = 2500 + number, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    row = cut(path)
    assert row.video is not None
    assert row.video.num_frames == 75
    assert_parts_make_the_whole(path, 1.3)


def test_capture_that_begins_inside_a_group_of_pictures_starts_at_its_first_key_frame(
    tmp_path: Path,
) -> None:
    for codec, options in (
        ("libx264", {"g": "25", "bf": "2"}),
        ("mpeg2video", {"g": "25", "bf": "2"}),
        ("libx265", {"x265-params": "keyint=25:open-gop=1:log-level=none"}),
    ):
        whole = write_video(tmp_path / f"{codec}.ts", moving_shapes(150), 25, codec, options)
        content = whole.read_bytes()
        path = tmp_path / f"{codec}-cut.ts"
        path.write_bytes(content[len(content) // 4 // 188 * 188 :])
        row = cut(path)
        assert row.video is not None
        assert row.video.num_frames >= 75
        assert row.video.decode_errors == 0


def test_mirrored_picture_is_shown_as_a_player_shows_it(cases: Path) -> None:
    path = cases / "intake" / "mirror_hflip_matrix.mp4"
    video = video_of(path)
    assert (video.rotation, video.mirrored) == (0, True)
    (row, *_) = cut(path).clips
    with VideoReader(str(path), LIMITS) as reader:
        stored = next(reader.frames()).picture.to_ndarray(format="rgb24")
    (_, (shown, *_)) = read_clip(row.mp4, indices=[0])
    assert_alike(shown, stored[:, ::-1])


@pytest.mark.parametrize(("hflip", "vflip"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_every_display_matrix_is_honoured_in_clips_and_stills(
    tmp_path: Path, rotation: int, hflip: bool, vflip: bool
) -> None:
    path = tmp_path / "a.mp4"
    frame = moving_shapes(1, (320, 256))[0]
    frame[:40, :60] = (250, 30, 30)
    _write_turned(path, frame, lambda stream: stream.set_display_rotation(rotation, hflip, vflip))
    turned = np.rot90(frame, rotation // 90)
    expected = turned[:: -1 if vflip else 1, :: -1 if hflip else 1]
    (row,) = cut(path, SHORT).clips
    (_, (shown,)) = read_clip(row.mp4, indices=[0])
    assert_alike(shown, expected)
    assert_alike(decode_image(row.stills[0].jpeg), expected)


def _write_turned(path: Path, frame: np.ndarray, turn: Callable[[av.VideoStream], None]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frame.shape[:2]
        turn(stream)
        for _ in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def assert_alike(shown: np.ndarray, expected: np.ndarray) -> None:
    """Compare pictures of other sizes, around their centres."""
    scale = max(shown.shape[0] / expected.shape[0], shown.shape[1] / expected.shape[1])
    whole = cv2.resize(np.ascontiguousarray(expected), None, fx=scale, fy=scale)
    top, left = (whole.shape[0] - shown.shape[0]) // 2, (whole.shape[1] - shown.shape[1]) // 2
    whole = whole[max(0, top) :, max(0, left) :][: shown.shape[0], : shown.shape[1]]
    assert np.abs(shown[: whole.shape[0], : whole.shape[1]].astype(int) - whole).mean() < 8


PATCHES = (
    *((0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 60, 60)),
    *((60, 160, 70), (60, 80, 200), (210, 170, 140), (90, 60, 45)),
)


@pytest.mark.parametrize(
    ("name", "is_grey"),
    [("colour_bt2020_sdr_primaries.mp4", False), ("colour_hevc_monochrome_limited.mp4", True)],
)
def test_colours_of_a_case_are_right_in_clip_and_still(
    cases: Path, name: str, is_grey: bool
) -> None:
    (row,) = cut(cases / "intake" / name).clips
    expected = np.array(PATCHES, float)
    if is_grey:
        expected = np.repeat(expected @ (0.299, 0.587, 0.114), 3).reshape(8, 3)
    _, (clip,) = read_clip(row.mp4, indices=[0])
    for picture in (clip, decode_image(row.stills[0].jpeg)):
        height, width = picture.shape[:2]
        rows, columns = height * np.array((1, 3)) // 4, width * np.array((1, 3, 5, 7)) // 8
        assert np.abs(picture[rows][:, columns].reshape(8, 3) - expected).max() <= 4


def test_dolby_vision_that_others_cannot_show_is_refused_by_its_name(cases: Path) -> None:
    path = cases / "intake" / "colour_dolby_vision_profile5_lookalike.mp4"
    refused = probe(str(path), "video", LIMITS)
    assert isinstance(refused, Rejected)
    assert refused.reason == Reason.UNSUPPORTED_COLOURS
    assert "Dolby Vision profile 5" in refused.detail


def test_default_stream_is_taken_and_never_a_preview(cases: Path) -> None:
    video = video_of(cases / "intake" / "preview_stream_first.mp4")
    assert (video.width, video.height, video.num_video_streams) == (512, 512, 2)


def test_upright_picture_needs_no_turn() -> None:
    assert orientation_of(av.VideoFrame(16, 16, "yuv420p")) == Orientation()
