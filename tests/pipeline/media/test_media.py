"""Opening refuses what is hostile; decoding keeps time, orientation, shape and colour."""

import io
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from present import there
from synthetic import moving_shapes, number_frame, read_number, write_bomb, write_video

from pipeline.execution.stage import Rejected
from pipeline.media.clip_frames import read_clip, read_luma
from pipeline.media.containers import open_container
from pipeline.media.encode import ClipEncoder, EncodingConfig
from pipeline.media.fit import Fit, Fitter, StillMaker, buckets, fit_picture
from pipeline.media.geometry import Orientation, orientation_of
from pipeline.media.images import decode_image, encode_jpeg, encode_png_mask
from pipeline.media.limits import ProbeConfig, Refused
from pipeline.media.pixels import Scaler, planes_of
from pipeline.media.probe import probe
from pipeline.media.reader import VideoReader, check_expansion
from pipeline.media.sandbox import Child, Died, SandboxConfig
from schemas.reasons import Reason
from schemas.tables import Video

LIMITS = ProbeConfig()


def reason_of(path: Path) -> Reason:
    with pytest.raises(Refused) as refused, VideoReader(str(path), LIMITS):
        pass
    return refused.value.rejected.reason


def _exhaust(reader: VideoReader) -> None:
    for _ in reader.frames():
        pass


def test_files_that_are_no_video_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "byte.mp4").write_bytes(b"x")
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    (tmp_path / "pointer.mp4").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    reasons = {path.stem: reason_of(path) for path in tmp_path.iterdir()}
    assert reasons == {
        "empty": Reason.UNREADABLE,
        "folder": Reason.UNREADABLE,
        "fifo": Reason.UNREADABLE,
        "loop": Reason.UNREADABLE,
        "byte": Reason.NOT_A_VIDEO,
        "text": Reason.NOT_A_VIDEO,
        "pointer": Reason.NOT_A_VIDEO,
    }


def test_known_container_that_is_not_read_is_refused_by_its_name(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.h264", moving_shapes(30))
    with pytest.raises(Refused) as refused, VideoReader(str(path), LIMITS):
        pass
    assert refused.value.rejected.reason == Reason.UNSUPPORTED_CONTAINER
    assert refused.value.rejected.detail == "container h264 is not supported"


def test_path_with_a_null_byte_is_refused() -> None:
    assert reason_of(Path("a\0b.mp4")) == Reason.UNREADABLE


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("concat.mp4", "ffconcat version 1.0\nfile target.mp4\n"),
        (
            "list.mp4",
            "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\ntarget.mp4\n#EXT-X-ENDLIST\n",
        ),
        (
            "stream.mp4",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        ),
    ],
)
def test_playlist_in_disguise_never_opens_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    target = write_video(tmp_path / "target.mp4", moving_shapes(24))
    old = target.stat().st_atime_ns
    os.utime(target, ns=(10**9, 10**9))
    (tmp_path / name).write_text(text)
    assert reason_of(tmp_path / name) == Reason.NOT_A_VIDEO
    assert target.stat().st_atime_ns == 10**9 != old, "the target was read"


def test_name_that_looks_like_a_protocol_is_a_plain_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mp4", moving_shapes(24)).rename("concat:a.mp4")
    with VideoReader("concat:a.mp4", LIMITS) as reader:
        assert sum(1 for _ in reader.frames()) == 24


def test_declared_picture_over_the_cap_is_refused_before_decoding(tmp_path: Path) -> None:
    path = write_video(tmp_path / "large.mp4", moving_shapes(2, (640, 384)))
    with pytest.raises(Refused) as refused, VideoReader(str(path), ProbeConfig(max_pixels=200_000)):
        pass
    assert refused.value.rejected.reason in (Reason.PICTURE_TOO_LARGE, Reason.NOT_A_VIDEO)


def make_exhauster():
    """Made in the child: reads a file to its end or its refusal."""

    def exhaust(path: str, announce) -> tuple[str, int, float]:
        with VideoReader(path, LIMITS) as reader:
            try:
                _exhaust(reader)
            except Refused as refused:
                return str(refused.rejected.reason), reader.count.frames, own_peak_mib()
        return "", reader.count.frames, 0.0

    return exhaust


def own_peak_mib() -> float:
    """Return this process's peak; ru_maxrss would count the parent that it was forked from."""
    status = Path("/proc/self/status").read_text()
    [kib] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(kib) / 1024


def test_bomb_stops_at_the_cap_within_512_MiB_of_the_child(tmp_path: Path) -> None:
    path = write_bomb(tmp_path / "bomb.mp4")
    expansion = 120 * 1920 * 1080 * 1.5 / path.stat().st_size
    assert expansion > 20_000, "the drawn bomb is none"
    child = Child(make_exhauster, SandboxConfig())
    result = child.call(str(path))
    assert not isinstance(result, Died)
    reason, frames, peak_mib = result
    child.close()
    assert reason == Reason.DECOMPRESSION_BOMB
    assert frames < 120
    assert peak_mib < 512


def test_expansion_is_decoded_over_stored_bytes() -> None:
    check_expansion(1000, 1, ProbeConfig(max_expansion=1500))
    with pytest.raises(Refused):
        check_expansion(1001, 1, ProbeConfig(max_expansion=1500))


def test_frame_and_time_caps_hold_while_decoding(tmp_path: Path) -> None:
    path = str(write_video(tmp_path / "long.mp4", moving_shapes(48)))
    for limits in (ProbeConfig(max_frames=30), ProbeConfig(max_duration_s=1.0)):
        with VideoReader(path, limits) as reader:
            with pytest.raises(Refused) as refused:
                _exhaust(reader)
            assert reader.count.frames < 48
        assert refused.value.rejected.reason == Reason.VIDEO_TOO_LONG


def test_size_change_in_mid_stream_is_refused(tmp_path: Path) -> None:
    parts = []
    for number, size in enumerate(((320, 192), (256, 160))):
        part = write_video(tmp_path / f"{number}.ts", moving_shapes(24, size))
        parts.append(part.read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    with pytest.raises(Refused) as refused, VideoReader(str(joined), LIMITS) as reader:
        _exhaust(reader)
    assert refused.value.rejected.reason == Reason.SIZE_CHANGES


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi", "ts", "webm"])
def test_every_frame_comes_once_and_in_order(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx" if suffix == "webm" else "libx264"
    options = {"bf": "2", "b-adapt": "0"} if codec == "libx264" else {}
    numbered = [number_frame(f, i) for i, f in enumerate(moving_shapes(40))]
    path = write_video(tmp_path / f"a.{suffix}", numbered, 25, codec, options)
    with VideoReader(str(path), LIMITS) as reader:
        scale = Scaler(320, 192, "rgb24")
        frames = [
            (frame.index, frame.pts, read_number(scale(frame.picture).to_ndarray(), (320, 192)))
            for frame in reader.frames()
        ]
        times = [float((pts - frames[0][1]) * reader.timebase) for _, pts, _ in frames]
    assert [number for _, _, number in frames] == list(range(40))
    assert [index for index, _, _ in frames] == list(range(40))
    assert np.allclose(times, np.arange(40) / 25, atol=0.0011)


@pytest.mark.parametrize("fps", [24.0, None], ids=["seeking", "counting"])
def test_a_part_has_the_frames_and_numbers_of_the_whole(tmp_path: Path, fps: float | None) -> None:
    path = str(write_video(tmp_path / "a.mp4", moving_shapes(240), options={"g": "48", "bf": "2"}))
    with VideoReader(path, LIMITS) as reader:
        whole = [(frame.index, frame.pts) for frame in reader.frames()]
    parted = []
    for start_s, end_s in ((0.0, 3.3), (3.3, 7.0), (7.0, float("inf"))):
        with VideoReader(path, LIMITS) as reader:
            parted += [(f.index, f.pts) for f in reader.frames(start_s, end_s, fps)]
    assert parted == whole


def test_seeking_to_a_part_does_not_decode_what_lies_before(tmp_path: Path) -> None:
    frames = moving_shapes(480, (160, 96))
    path = str(write_video(tmp_path / "a.mp4", frames, options={"g": "24"}))
    with VideoReader(path, LIMITS) as reader:
        next(reader.frames(15.0, fps=24.0))
        packet_bytes = next(reader.packets()).pos or 0
    assert packet_bytes > os.path.getsize(path) / 2


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotated_picture_stands_upright(tmp_path: Path, rotation: int) -> None:
    upright = moving_shapes(26, (320, 192))
    stored = [np.rot90(frame, rotation // 90) for frame in upright]
    path = str(write_video(tmp_path / "a.mp4", stored, rotation=rotation))
    video = probe(path, "x", LIMITS)
    assert isinstance(video, Video)
    assert (video.rotation, video.width, video.height) == (rotation, 320, 192)
    with VideoReader(path, LIMITS) as reader:
        picture = next(reader.frames()).picture
    assert orientation_of(picture) == Orientation(rotation)
    still = StillMaker(video, 1920)(picture)
    assert np.abs(still.astype(int) - upright[0]).mean() < 6
    fit = fit_picture(video, (240,), 1.5)
    assert isinstance(fit, Fit)
    fitted = Scaler(*_size(fit), "rgb24")(Fitter(fit)(picture)).to_ndarray()
    expected = cv2.resize(upright[0], (fit.scaled_width, fit.scaled_height))
    expected = expected[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width]
    assert np.abs(fitted.astype(int) - expected).mean() < 8


def _size(fit) -> tuple[int, int]:
    return fit.width, fit.height


def test_anamorphic_picture_gets_square_pixels(tmp_path: Path) -> None:
    path = str(write_video(tmp_path / "a.mp4", moving_shapes(26), sar=Fraction(16, 11)))
    video = probe(path, "x", LIMITS)
    assert isinstance(video, Video)
    assert (video.width, video.height) == (465, 192)
    fit = fit_picture(video, (240,), 1.5)
    assert isinstance(fit, Fit)
    assert (fit.width, fit.height) == (480, 192)
    assert abs(fit.scaled_width / fit.scaled_height - 465 / 192) < 0.02


@pytest.mark.parametrize(
    ("pixel_format", "full_range", "codec"),
    [
        ("yuv420p", False, "libx264"),
        ("yuvj420p", True, "libx264"),
        ("yuv444p", False, "libx264"),
        ("yuv422p", False, "libx264"),
        ("yuv420p10le", False, "libx264"),
        ("gbrp", False, "libx264rgb"),
    ],
)
def test_brightness_and_colour_survive_every_pixel_format(
    tmp_path: Path, pixel_format: str, full_range: bool, codec: str
) -> None:
    frame = np.zeros((192, 320, 3), np.uint8)
    colours = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 60, 60), (60, 90, 200)]
    for number, colour in enumerate(colours):
        frame[:, number * 64 : number * 64 + 64] = colour
    if codec == "libx264rgb":
        codec, pixel_format = "libx264rgb", "rgb24"
    path = str(
        write_video(tmp_path / "a.mkv", [frame] * 30, 24, codec, {"crf": "4"}, pixel_format,
                    full_range=full_range)
    )  # fmt: skip
    with VideoReader(path, LIMITS) as reader:
        picture = Scaler(320, 192, "yuv420p")(next(reader.frames()).picture)
    luma = planes_of(picture)[0]
    assert abs(int(luma[90, 32]) - 16) <= 2, "black is 16 in limited range"
    assert abs(int(luma[90, 96]) - 235) <= 2, "white is 235 in limited range"
    rgb = Scaler(320, 192, "rgb24")(picture).to_ndarray()
    for number, colour in enumerate(colours):
        assert np.abs(rgb[90, number * 64 + 32].astype(int) - colour).max() <= 6


def test_interlaced_video_loses_its_combs_and_keeps_its_frames(tmp_path: Path) -> None:
    woven = []
    for number in range(30):
        frame = np.full((192, 320, 3), 60, np.uint8)
        for field in (0, 1):  # the bar moves on between the two fields of a frame
            left = 40 + 2 * (2 * number + field) * 2
            frame[field::2, left : left + 40] = 220
        woven.append(frame)
    options = {"x264-params": "tff=1:crf=8", "flags": "+ildct+ilme"}
    path = str(write_video(tmp_path / "a.mp4", woven, 25, options=options))
    with VideoReader(path, LIMITS) as reader:
        frames = [(f.pts, planes_of(f.picture)[0].astype(int)) for f in reader.frames()]
    with av.open(path) as container:
        raw = [(f.pts, f.interlaced_frame, planes_of(f)[0].astype(int)) for f in container.decode()]
    assert all(interlaced for _, interlaced, _ in raw), "the drawn video is not interlaced"
    assert [pts for pts, _ in frames] == [pts for pts, _, _ in raw]
    assert _combs(frames[10][1]) < _combs(raw[10][2]) / 4


def _combs(luma: np.ndarray) -> float:
    """Return how much neighbouring lines differ more than lines of the same field do."""
    lines = np.abs(luma[1:-1] - luma[:-2]).mean()
    return float(lines - np.abs(luma[2:] - luma[:-2]).mean())


def test_hdr_is_refused_where_it_is_not_to_be_tone_mapped(tmp_path: Path) -> None:
    options = {"x264-params": "transfer=smpte2084:colorprim=bt2020:colormatrix=bt2020nc"}
    path = write_video(tmp_path / "hdr.mp4", moving_shapes(26), options=options)
    rejected = probe(str(path), "x", ProbeConfig(hdr="refuse"))
    assert isinstance(rejected, Rejected)
    assert rejected.reason == Reason.UNSUPPORTED_TRANSFER
    assert isinstance(probe(str(path), "x", LIMITS), Video)


def test_encoded_clip_is_constant_tagged_and_the_same_every_time() -> None:
    def encode() -> bytes:
        encoder = ClipEncoder(320, 192, 16, EncodingConfig(), matrix=1)
        for frame in moving_shapes(40):
            encoder.write(av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p"))
        return encoder.close()

    first = encode()
    assert first == encode()
    with av.open(io.BytesIO(first), "r") as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.frames, stream.start_time) == (16, 40, 0)
        assert (stream.codec_context.color_range, stream.codec_context.colorspace) == (1, 1)
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert [there(p.pts) * there(stream.time_base) * 16 for p in packets] == list(range(40))
        assert all(packet.pts == packet.dts for packet in packets)
        assert "creation_time" not in container.metadata


def test_read_clip_takes_what_was_asked_for() -> None:
    encoder = ClipEncoder(320, 192, 16, EncodingConfig(), matrix=1)
    for number, frame in enumerate(moving_shapes(40)):
        numbered = av.VideoFrame.from_ndarray(number_frame(frame, number), "rgb24")
        encoder.write(numbered.reformat(format="yuv420p"))
    mp4 = encoder.close()
    given: list[tuple[dict[str, Any], list[int]]] = [
        ({}, list(range(40))),
        ({"fps": 4.0}, list(range(0, 40, 4))),
        ({"indices": [7, 0, 39]}, [0, 7, 39]),
    ]
    for asked, expected in given:
        indices, pictures = read_clip(mp4, **asked)
        assert indices == expected
        assert [read_number(picture, (320, 192)) for picture in pictures] == expected
        assert pictures[0].shape == (192, 320, 3)


def test_luma_is_read_of_the_same_frames_and_pictures_of_some_of_them() -> None:
    encoder = ClipEncoder(320, 192, 16, EncodingConfig(), matrix=1)
    for frame in moving_shapes(20):
        encoder.write(av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p"))
    mp4 = encoder.close()
    indices, pictures = read_clip(mp4, fps=8.0)
    seen = [(index, luma.copy(), picture) for index, luma, picture in read_luma(mp4, 8.0, 4)]
    assert [index for index, _, _ in seen] == indices
    for position, (_, luma, picture) in enumerate(seen):
        expected = np.round(16 + 219 / 255 * (pictures[position] @ [0.2126, 0.7152, 0.0722]))
        assert np.abs(luma - expected).mean() < 2  # chroma is stored at half the size
        if position % 4 == 0:
            assert np.array_equal(there(picture), pictures[position])
        else:
            assert picture is None


def test_pictures_survive_their_encoding() -> None:
    picture = moving_shapes(1)[0]
    decoded = decode_image(encode_jpeg(picture, 95))
    assert np.abs(decoded.astype(int) - picture).mean() < 3
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20] = 255
    assert np.array_equal(decode_image(encode_png_mask(mask))[..., 0], mask)


def test_image_over_the_cap_or_broken_is_an_error() -> None:
    with pytest.raises(ValueError, match="320x192"):
        decode_image(encode_jpeg(moving_shapes(1)[0]), max_pixels=1000)
    with pytest.raises(ValueError, match="image"):
        decode_image(b"no image at all")


def test_buckets_are_multiples_of_16_and_near_their_class() -> None:
    for size_class in (480, 320, 240):
        area = size_class * size_class * 832 / 480
        for width, height in buckets(size_class):
            assert width % 16 == height % 16 == 0
            assert 0.9 <= width * height / area <= 1.06, (width, height)
    assert (832, 480) in buckets(480)
    for width, height in buckets(480, 32):
        assert (width % 32, height % 32) == (0, 0)
    assert {(832, 480), (480, 832)} <= set(buckets(480, 32))
    assert (480, 832) in buckets(480)
    assert (416, 240) in buckets(240)


@pytest.mark.media
def test_every_good_file_decodes_without_complaint(media: Path) -> None:
    for path in sorted((media / "videos").iterdir()):
        with open_container(str(path), LIMITS), VideoReader(str(path), LIMITS) as reader:
            for _ in zip(range(40), reader.frames(), strict=False):
                pass
            assert (reader.count.errors, reader.count.corrupt) == (0, 0), path.name
            assert reader.count.unsorted == 0, path.name
