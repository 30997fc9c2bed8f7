"""Clips hold exactly the frames that they claim, and nothing of a neighbour shot."""

import hashlib
import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from places import GOLDEN
from present import there
from synthetic import (
    dissolve,
    moving_shapes,
    number_frame,
    read_number,
    shots_video,
    write_bomb,
    write_video,
)

from pipeline.dataset.units import VideoPart
from pipeline.execution.stage import ClipRow, Count, Rejected, VideoRow
from pipeline.media.clip_frames import read_clip
from pipeline.media.images import decode_image
from pipeline.media.limits import ProbeConfig
from pipeline.media.probe import probe
from pipeline.media.reader import VideoReader
from pipeline.observing.clips import ClipsConfig, cut_video
from pipeline.observing.observe_config import ObserveConfig
from schemas.reasons import Reason
from schemas.tables import Video

SIZE = (320, 192)


CONFIG = ObserveConfig()
SHORT = ObserveConfig(clips=ClipsConfig(min_s=0.5, max_s=2.0))


def cut(path: Path, config: ObserveConfig = CONFIG, part: VideoPart | None = None) -> VideoRow:
    video = probe(str(path), "video", config.probe)
    assert isinstance(video, Video), video
    return cut_video(str(path), video, part or VideoPart(), config)


def numbers_in(row: ClipRow, size: tuple[int, int] = SIZE) -> list[int]:
    """Read the source frame numbers that were drawn into the clip's frames."""
    _, pictures = read_clip(row.mp4)
    return [read_number(picture, size) for picture in pictures]


def numbered(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [number_frame(frame, number) for number, frame in enumerate(frames)]


def shown_at(times_s: list[float], start_s: float, num_frames: int, fps: int = 16) -> list[int]:
    """The slow, obvious resampling: the last frame at or before each tick from start_s on."""
    first = math.ceil(start_s * fps - 1e-9)
    ticks = [(first + k) / fps for k in range(num_frames)]
    return [max(i for i, t in enumerate(times_s) if t <= tick + 1e-9) for tick in ticks]


@pytest.mark.parametrize("fps", [10, 16, 24, 25, 30, 60])
def test_clip_shows_what_a_player_would_show_at_every_tick(tmp_path: Path, fps: int) -> None:
    frames = numbered(moving_shapes(3 * fps))
    path = write_video(tmp_path / "a.mp4", frames, fps, options={"crf": "12", "bf": "2"})
    (row,) = cut(path).clips
    assert row.clip.num_frames == 48
    assert numbers_in(row) == shown_at([i / fps for i in range(3 * fps)], 0.0, 48)


def test_variable_rate_is_resampled_by_time(tmp_path: Path) -> None:
    pts = [i + i // 2 for i in range(60)]
    frames = numbered(moving_shapes(60))
    path = write_video(tmp_path / "a.mp4", frames, 24, options={"crf": "12"}, pts=pts)
    (row,) = cut(path).clips
    assert row.clip.num_frames == pytest.approx(90 / 24 * 16, abs=1)
    assert numbers_in(row) == shown_at([p / 24 for p in pts], 0.0, row.clip.num_frames)


@pytest.mark.parametrize("guard", [0, 2, 5])
def test_clips_keep_the_guard_on_both_sides_of_a_cut(tmp_path: Path, guard: int) -> None:
    path = tmp_path / "a.mp4"
    frames = moving_shapes(60) + moving_shapes(66, shot=1) + moving_shapes(70, shot=2)
    write_video(path, numbered(frames), 24, options={"crf": "12"})
    config = ObserveConfig(clips=ClipsConfig(min_s=0.5, guard=guard))
    clips = cut(path, config).clips
    shots = [(0, 60 - guard), (60 + guard, 126 - guard), (126 + guard, 196)]
    assert len(clips) == 3
    for row, (first, end) in zip(clips, shots, strict=True):
        shown = numbers_in(row)
        assert (row.clip.start_frame, row.clip.end_frame) == (shown[0], shown[-1] + 1)
        assert first <= shown[0] <= first + 1
        assert end - 2 <= shown[-1] < end


def test_no_frame_of_a_dissolve_reaches_a_clip(tmp_path: Path) -> None:
    frames = dissolve(moving_shapes(72), moving_shapes(84, shot=1), 12)
    clips = cut(write_video(tmp_path / "a.mp4", frames, 24)).clips
    assert [row.clip.end_frame <= 60 for row in clips] == [True, False]
    assert clips[1].clip.start_frame >= 72
    assert all(row.clip.num_frames >= 32 for row in clips)


def test_long_shot_is_cut_at_the_maximum_and_the_short_rest_is_accounted(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    shots_video(path, [4.9])
    row = cut(path, ObserveConfig(clips=ClipsConfig(min_s=1.0, max_s=2.0)))
    assert [(c.clip.start_s, c.clip.num_frames) for c in row.clips] == [(0.0, 32), (2.0, 32)]
    (reject,) = row.ledger.rejects
    assert (reject.reason, reject.stage, reject.level) == ("clip_too_short", "clips", "clip")
    assert (reject.value, reject.threshold) == (pytest.approx(0.9, abs=0.07), 1.0)
    assert row.ledger.counts == {
        ("shots", "video"): Count(kept=1),
        ("clips", "clip"): Count(kept=2, rejected=1),
    }


@pytest.mark.parametrize(
    ("frames_from", "frames_step", "lengths"),
    [(1, 1, [32, 32, 14]), (9, 8, [25, 25, 25]), (17, 4, [29, 29, 17]), (22, 17, [22, 22, 22])],
)
def test_clips_have_the_lengths_that_a_trainer_takes(
    tmp_path: Path, frames_from: int, frames_step: int, lengths: list[int]
) -> None:
    frames = numbered(moving_shapes(78))
    path = write_video(tmp_path / "a.mp4", frames, 16, options={"crf": "12"})
    clips = ClipsConfig(
        min_s=0.5, max_s=2.0, frames_from=frames_from, frames_step=frames_step, guard=0
    )
    row = cut(path, ObserveConfig(clips=clips))
    assert [clip.clip.num_frames for clip in row.clips] == lengths
    for clip in row.clips:
        shown = numbers_in(clip)
        assert shown == list(range(clip.clip.start_frame, clip.clip.end_frame))
        assert len(shown) == clip.clip.num_frames
        assert all(0 <= still.frame_index < clip.clip.num_frames for still in clip.stills)
        assert clip.clip.end_s == pytest.approx(clip.clip.end_frame / 16)


def test_a_shot_that_is_too_short_for_a_trainer_is_lost_by_that_length(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    shots_video(path, [4.0])
    clips = ClipsConfig(max_s=5.0625, frames_from=81, frames_step=4)
    row = cut(path, ObserveConfig(clips=clips))
    (only,) = row.clips
    assert only.clip.reference_only
    assert only.clip.num_frames == 64  # references may have any length
    clips = replace(clips, min_reference_s=5.0)
    (reject,) = cut(path, ObserveConfig(clips=clips)).ledger.rejects
    assert (reject.reason, reject.threshold) == ("clip_too_short", 81 / 16)


def test_overlapping_clips_show_the_same_frames_where_they_overlap(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(moving_shapes(96)), options={"crf": "12"})
    config = ObserveConfig(clips=ClipsConfig(min_s=1.0, max_s=2.0, stride_s=1.0))
    clips = cut(path, config).clips
    assert [row.clip.start_s for row in clips] == [0.0, 1.0, 2.0, 3.0]
    shown = [numbers_in(row) for row in clips]
    assert shown[0][16:] == shown[1][:16]
    assert shown[1][16:] == shown[2][:16]


def test_a_frame_shown_too_long_ends_the_clip(tmp_path: Path) -> None:
    pts = [*range(60), *range(60 + 240, 120 + 240)]  # ten seconds of standstill in between
    path = write_video(tmp_path / "a.mp4", numbered(moving_shapes(120)), 24, pts=pts)
    clips = cut(path, ObserveConfig(probe=ProbeConfig(min_fps=5.0))).clips
    assert [row.clip.num_frames for row in clips] == [pytest.approx(46, abs=2), 40]
    assert clips[0].clip.end_frame <= 60 <= clips[1].clip.start_frame


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    shots_video(path, [2.6, 2.6])
    assert cut(path) == cut(path)


def test_ids_follow_content_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    shots_video(path, [2.6])
    (one,) = cut(path).clips
    (other,) = cut(path, ObserveConfig(clips=replace(ClipsConfig(), fps=12))).clips
    assert one.clip.clip_id != other.clip.clip_id
    assert one.clip.shot_id == other.clip.shot_id
    assert one.clip.sha256 == hashlib.sha256(one.mp4).hexdigest()


def test_parts_cover_every_frame_once(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    shots_video(path, [3.0, 4.0, 3.0], options={"g": "24", "bf": "2"})
    parts = [VideoPart(0, 2, 0.0, 5.0), VideoPart(1, 2, 5.0, math.inf)]
    rows = [cut(path, SHORT, part) for part in parts]
    videos = [row.video for row in rows]
    assert all(videos)
    assert [video.num_frames for video in videos if video] == [120, 120]
    shots = [(s.start_frame, s.end_frame, s.opened_by) for v in videos if v for s in v.shots]
    assert shots == [(0, 72, "start"), (72, 120, "cut"), (120, 168, "part"), (168, 240, "cut")]
    starts = [row.clip.start_frame for video in rows for row in video.clips]
    assert starts == sorted(starts)


def test_stills_map_clip_pixels_to_their_own(tmp_path: Path) -> None:
    frames = moving_shapes(60, (1280, 720))
    for frame in frames:
        cv2.circle(frame, (900, 150), 20, (255, 0, 0), -1)
    (row,) = cut(write_video(tmp_path / "a.mp4", frames, 24, options={"crf": "12"})).clips
    assert [still.frame_index for still in row.stills] == [0, 8, 16, 24, 32]
    indices, pictures = read_clip(row.mp4, indices=[still.frame_index for still in row.stills])
    for still, picture in zip(row.stills, pictures, strict=True):
        full = decode_image(still.jpeg)
        assert full.shape == (still.height, still.width, 3) == (720, 1280, 3)
        x, y = _red_spot(picture)
        at = np.array((x, y)) * still.scale + (still.left, still.top)
        assert np.abs(at - _red_spot(full)).max() < 2
        assert np.abs(np.array(_red_spot(full)) - (900, 150)).max() < 2
    assert indices == [still.frame_index for still in row.stills]


def _red_spot(rgb: np.ndarray) -> tuple[float, float]:
    red = (rgb[..., 0] > 180) & (rgb[..., 1] < 90) & (rgb[..., 2] < 90)
    y, x = np.nonzero(red)
    return float(x.mean()), float(y.mean())


def test_too_small_a_picture_is_refused_before_decoding(tmp_path: Path) -> None:
    row = cut(write_video(tmp_path / "a.mp4", moving_shapes(60, (160, 96)), 24))
    assert row.video is None
    (reject,) = row.ledger.rejects
    assert (reject.reason, reject.level) == (Reason.UPSCALED_TOO_MUCH, "video")
    assert reject.value == pytest.approx(2.6)
    assert reject.threshold == 1.5


def test_damaged_video_goes_with_all_its_clips_or_is_flagged(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    shots_video(path, [3.0, 3.0], options={"g": "12"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1500] = np.random.default_rng(3).bytes(1500)
    path.write_bytes(content)
    refused = probe(str(path), "video", CONFIG.probe)
    if isinstance(refused, Video):
        row = cut(path)
        assert row.clips == ()
        refused = Rejected(Reason(next(iter(row.ledger.rejects)).reason))
    assert refused.reason in (Reason.DAMAGED, Reason.TRUNCATED)
    flagging = ObserveConfig(probe=ProbeConfig(integrity="flag"))
    flagged = cut(path, flagging)
    assert flagged.video is not None
    assert flagged.video.decode_errors > 0 or flagged.video.truncated


def test_bomb_that_passes_the_probe_still_stops_while_cutting(tmp_path: Path) -> None:
    path = write_bomb(tmp_path / "bomb.mp4")
    lenient = probe(str(path), "video", ProbeConfig(max_expansion=1e9))
    assert isinstance(lenient, Video)
    row = cut_video(str(path), lenient, VideoPart(), CONFIG)
    assert row.video is None
    assert next(iter(row.ledger.rejects)).reason == Reason.DECOMPRESSION_BOMB


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "webm"])
def test_good_file_in_any_container_raises_no_alarm(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx" if suffix == "webm" else "libx264"
    options = (
        {"auto-alt-ref": "1", "lag-in-frames": "16"}
        if suffix == "webm"
        else {"bf": "3", "x264-params": "open-gop=1:keyint=24"}
    )
    path = write_video(tmp_path / f"a.{suffix}", moving_shapes(72), 24, codec, options)
    row = cut(path)
    assert row.ledger.rejects == []
    assert row.video is not None
    assert row.video.num_frames == 72
    assert [clip.clip.num_frames for clip in row.clips] == [48]


@pytest.mark.parametrize(
    "wrong", [{"min_s": 0.0}, {"min_s": 11.0}, {"stride_s": 0.0}], ids=lambda wrong: str(wrong)
)
def test_senseless_lengths_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        ClipsConfig(**wrong)


# --- real media -------------------------------------------------------------------------------


def _files(media: Path) -> Iterator[Path]:
    for folder in ("videos", "odd"):
        yield from sorted((media / folder).iterdir())


def _outcome(path: Path) -> dict:
    video = probe(str(path), path.name, CONFIG.probe)
    if isinstance(video, Rejected):
        return {"stage": "probe", "reason": str(video.reason)}
    row = cut_video(str(path), video, VideoPart(), CONFIG)
    if row.video is None:
        return {"stage": "shots", "reason": next(iter(row.ledger.rejects)).reason}
    return {
        "frames": row.video.num_frames,
        "shots": len(row.video.shots),
        "clips": [[c.clip.width, c.clip.height, c.clip.num_frames] for c in row.clips],
    }


@pytest.mark.media
@pytest.mark.slow
def test_every_odd_file_has_its_known_outcome(media: Path) -> None:
    golden = GOLDEN / "odd.json"
    outcomes = {path.name: _outcome(path) for path in sorted((media / "odd").iterdir())}
    assert outcomes == json.loads(golden.read_text())


@pytest.mark.media
@pytest.mark.parametrize(
    "name",
    [
        "videos/movienet-test.mp4",
        "videos/moore-talk1.mp4",
        "videos/derived-intercut-two-people.mp4",
        "videos/psd-issue-195-aspect-ratio.mp4",
        "odd/psd-goldeneye-vfr-drop3.mp4",
        "odd/psd-issue-134-rotate.mp4",
    ],
)
@pytest.mark.slow
def test_no_real_clip_holds_a_frame_of_a_neighbour_shot(media: Path, name: str) -> None:
    path = media / name
    truth = json.loads((GOLDEN / "cuts.json").read_text())[name]["cuts"]
    row = cut(path)
    assert row.clips
    for each in row.clips:
        clip = each.clip
        inside = [cut_at for cut_at in truth if clip.start_frame < cut_at < clip.end_frame]
        assert not inside, f"clip {clip.start_frame} to {clip.end_frame} spans {inside}"
        before = [cut_at - 1 for cut_at in truth if cut_at <= clip.start_frame][-1:]
        after = [cut_at for cut_at in truth if cut_at >= clip.end_frame][:1]
        _assert_nearest_to_own_frame(path, each, [*before, *after])
        assert clip.num_frames / 16 == pytest.approx(clip.end_s - clip.start_s, abs=2 / 16)


def _assert_nearest_to_own_frame(path: Path, row: ClipRow, foreign: list[int]) -> None:
    """Compare the clip's ends with the source: with their own frames, and the neighbours'."""
    clip = row.clip
    ends = [clip.start_frame, clip.end_frame - 1]
    with VideoReader(str(path), CONFIG.probe) as reader:
        source = {
            frame.index: _thumb(frame.picture.to_ndarray(format="rgb24")).astype(int)
            for frame in reader.frames()
            if frame.index in (*ends, *foreign)
        }
    _, pictures = read_clip(row.mp4, indices=[0, clip.num_frames - 1])
    for picture, own in zip(pictures, ends, strict=True):
        shown = _thumb(np.rot90(picture) if clip.height > clip.width else picture)
        error = np.abs(shown - source[own]).mean()
        assert error < 10
        assert all(np.abs(shown - source[other]).mean() > 2 * error for other in foreign)


def _thumb(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    rgb = rgb[height // 8 : -height // 8, width // 8 : -width // 8]
    return cv2.resize(rgb, (48, 32), interpolation=cv2.INTER_AREA)


@pytest.mark.media
def test_real_clips_are_constant_16_fps_from_zero(media: Path) -> None:
    for each in cut(media / "videos" / "movienet-test.mp4").clips:
        with av.open(io.BytesIO(each.mp4), "r") as container:
            frames = [
                (there(f.pts) * there(f.time_base), f.width, f.height)
                for f in container.decode(video=0)
            ]
        assert [time * 16 for time, _, _ in frames] == list(range(each.clip.num_frames))
        assert {(w, h) for _, w, h in frames} == {(each.clip.width, each.clip.height)}


def test_a_shot_as_long_as_the_shortest_is_shortened_by_its_guards_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    shots_video(path, [2.0, 2.0, 2.0])
    clips = cut(path).clips
    assert len(clips) == 3
    assert not any(row.clip.reference_only for row in clips)
    assert clips[1].clip.num_frames < 32  # two seconds, less the guards


def test_a_shot_of_half_a_second_is_kept_for_references(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    shots_video(path, [2.5, 0.6, 2.5])
    rows = cut(path, CONFIG).clips
    assert [row.clip.reference_only for row in rows] == [False, True, False]
    [short] = [row for row in rows if row.clip.reference_only]
    assert len(short.stills) >= 2
    assert short.clip.num_frames < 10
    for still in short.stills:
        picture = decode_image(still.jpeg)
        assert picture.shape == (still.height, still.width, 3)
    none = ClipsConfig(min_reference_s=2.0)
    assert len(cut(path, ObserveConfig(clips=none)).clips) == 2
