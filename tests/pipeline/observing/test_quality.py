"""Quality measures rise with what they are named after, and the gate keeps real people."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic import moving_shapes

from pipeline.dataset.units import VideoPart
from pipeline.media.probe import probe
from pipeline.observing.clips import cut_video
from pipeline.observing.observe_config import ObserveConfig
from pipeline.observing.quality import (
    Quality,
    QualityConfig,
    QualityMeter,
    black_border,
    light_of_people,
)
from pipeline.pictures.hashes import hash_distance
from pipeline.pictures.lettering import text_mask
from schemas.reasons import Reason
from schemas.tables import Clip, Video

NUMBER = 32
SIZE = (448, 256)


def lumas(number: int = NUMBER) -> list[np.ndarray]:
    """Limited-range luma of a moving, textured scene."""
    return [_limited(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY)) for f in moving_shapes(number, SIZE)]


def _limited(grey: np.ndarray) -> np.ndarray:
    return np.rint(16 + grey.astype(float) * 219 / 255).astype(np.uint8)


def measure(frames: list[np.ndarray]) -> Quality:
    meter = QualityMeter(fps=16)
    for frame in frames:
        meter.add(frame)
    return meter.finish()


def textured() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (64, 112)).astype(np.uint8)
    return _limited(cv2.resize(noise, (896, 512), interpolation=cv2.INTER_CUBIC))


def test_blur_lowers_sharpness_only() -> None:
    sharp = measure(lumas())
    blurred = measure([cv2.GaussianBlur(frame, (0, 0), 4) for frame in lumas()])
    assert blurred.sharpness < sharp.sharpness / 5
    assert blurred.brightness == pytest.approx(sharp.brightness, abs=0.01)


@pytest.mark.parametrize(("level", "share"), [(16, 0.0), (235, 1.0), (126, 0.5)])
def test_flat_pictures_have_the_brightness_that_they_show(level: int, share: float) -> None:
    quality = measure([np.full((256, 448), level, np.uint8)] * NUMBER)
    assert quality.brightness == pytest.approx(share, abs=0.01)
    assert (quality.contrast, quality.motion, quality.sharpness) == (0.0, 0.0, 0.0)
    assert (quality.dark, quality.bright) == (float(share == 0), float(share == 1))


@pytest.mark.parametrize("shift", [(2, 0), (0, -1), (-3, 2)])
def test_pan_is_measured_in_pixels_a_frame(shift: tuple[int, int]) -> None:
    ground = textured()
    frames = [
        ground[128 - shift[1] * k :, 224 - shift[0] * k :][:256, :448].copy() for k in range(NUMBER)
    ]
    quality = measure(frames)
    assert quality.camera_pan == pytest.approx(shift, abs=0.25)
    assert quality.camera_motion == pytest.approx(np.hypot(*shift), rel=0.15)
    assert quality.motion == pytest.approx(np.hypot(*shift), rel=0.2)


def test_zoom_is_measured_as_growth_a_second() -> None:
    ground = textured()
    frames = []
    for k in range(NUMBER):
        matrix = cv2.getRotationMatrix2D((448, 256), 0, 1.005**k)
        frames.append(cv2.warpAffine(ground, matrix, (896, 512))[128:384, 224:672].copy())
    quality = measure(frames)
    assert quality.camera_zoom == pytest.approx(0.005 * 16, rel=0.3)
    assert quality.camera_pan == pytest.approx((0, 0), abs=0.2)


def test_person_before_a_still_ground_is_motion_but_not_the_camera() -> None:
    quality = measure(lumas(48))
    assert quality.motion > 0.2
    assert quality.camera_motion < quality.motion / 2


def test_repeated_source_frames_do_not_hide_motion() -> None:
    doubled = [frame for frame in lumas() for _ in range(2)]
    assert measure(doubled).motion == pytest.approx(measure(lumas()).motion / 2, rel=0.25)


def test_black_bars_are_measured_but_dark_scenes_are_not() -> None:
    picture = np.full((256, 448), 90, np.uint8)
    assert black_border(picture) == 0
    boxed = picture.copy()
    boxed[:32] = boxed[-32:] = 2
    assert black_border(boxed) == pytest.approx(64 / 256)
    dark = np.zeros((256, 448), np.uint8)
    dark[40:60, 10:30] = dark[200:250, 400:440] = 80
    assert black_border(dark) < 0.6
    assert black_border(np.zeros((256, 448), np.uint8)) == 1


def test_subtitles_count_as_text_and_scenery_does_not() -> None:
    plain = lumas()
    assert measure(plain).text_area == 0
    written = [frame.copy() for frame in plain]
    for frame in written:
        for colour, width in ((16, 4), (235, 1)):
            where = (60, 235)
            cv2.putText(frame, "where were you last night", where, 0, 0.6, colour, width)
    assert 0.01 < measure(written).text_area < 0.1
    passing = [*written[:9], *plain[9:]]
    assert measure(passing).text_area < measure(written).text_area
    assert text_mask(np.zeros((256, 448), np.uint8)).sum() == 0


def test_hash_is_close_for_copies_and_far_for_others() -> None:
    one = measure(lumas()).perceptual_hash
    copy = measure([cv2.convertScaleAbs(f, alpha=0.9, beta=4) for f in lumas()]).perceptual_hash
    ground = textured()
    other = measure([ground[:256, :448]] * NUMBER).perceptual_hash
    assert len(one) == 48
    assert hash_distance(one, one) == 0
    assert hash_distance(one, copy) <= 6
    assert hash_distance(one, other) >= 16


def test_hashes_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="equally long"):
        hash_distance("0" * 16, "0" * 48)


def test_clip_of_one_frame_can_be_measured() -> None:
    assert measure(lumas(1)).motion == 0.0


def clip_with(quality: Quality) -> Clip:
    others = {
        each.name: "" if each.type is str else 0
        for each in dataclasses.fields(Clip)
        if each.default is dataclasses.MISSING
    }
    return Clip(**{**others, **dataclasses.asdict(quality)})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sharpness": 2.0}, Reason.BLURRY),
        ({"brightness": 0.01}, Reason.TOO_DARK),
        ({"dark": 0.95}, Reason.TOO_DARK),
        ({"bright": 0.9}, Reason.TOO_BRIGHT),
        ({"contrast": 0.01}, Reason.LOW_CONTRAST),
        ({"black_border": 0.4}, Reason.BLACK_BORDERS),
        ({"motion": 0.0}, Reason.TOO_STILL),
        ({"motion": 40.0}, Reason.TOO_FAST),
        ({"text_area": 0.2}, Reason.BURNED_IN_TEXT),
    ],
)
def test_gate_names_the_reason_with_value_and_threshold(change: dict, reason: Reason) -> None:
    good = dataclasses.replace(measure(lumas(48)), sharpness=300.0)
    assert QualityConfig().check(clip_with(good)) is None
    rejected = QualityConfig().check(clip_with(dataclasses.replace(good, **change)))
    assert rejected is not None
    assert rejected.reason == reason
    assert rejected.value == next(iter(change.values()))
    assert rejected.threshold is not None


@pytest.mark.media
@pytest.mark.slow
def test_gate_keeps_people_and_drops_photographs(media: Path) -> None:
    people = ["lp-driving-d12.mp4", "movienet-test.mp4", "intel-asl-book.mkv", "lp-source-s32.mp4"]
    for name in people:
        assert all(QualityConfig().check(clip) is None for clip in _clips(media / "videos" / name))
    photographs = _clips(media / "videos" / "psd-testvideo.mp4")
    assert all(QualityConfig().check(clip) is not None for clip in photographs)


def _clips(path: Path) -> list[Clip]:
    config = ObserveConfig()
    video = probe(str(path), "video", config.probe)
    assert isinstance(video, Video)
    return [row.clip for row in cut_video(str(path), video, VideoPart(), config).clips]


def test_people_decide_what_is_too_bright_and_too_dark() -> None:
    good = clip_with(dataclasses.replace(measure(lumas(48)), sharpness=300.0))
    studio = dataclasses.replace(good, bright=0.9, dark=0.0)
    refused = QualityConfig().check(studio)
    assert refused is not None
    assert refused.reason == Reason.TOO_BRIGHT
    assert QualityConfig().check(dataclasses.replace(studio, person_bright=0.2)) is None
    blown = QualityConfig().check(dataclasses.replace(studio, person_bright=0.8))
    assert blown is not None
    assert (blown.reason, blown.value) == (Reason.TOO_BRIGHT, 0.8)
    stage = dataclasses.replace(good, dark=0.9)
    assert QualityConfig().check(dataclasses.replace(stage, person_dark=0.3)) is None


def test_the_light_of_people_is_that_of_their_boxes() -> None:
    picture = np.full((200, 300, 3), 255, np.uint8)
    picture[50:150, 100:200] = 120
    box = np.array([100, 50, 200, 150], np.float32)
    assert light_of_people([picture], [box]) == (0.0, 0.0)
    dark, bright = light_of_people([picture], [np.array([0, 0, 300, 200], np.float32)])
    assert (dark, bright) == (0.0, pytest.approx(5 / 6, abs=0.03))
    assert all(np.isnan(light_of_people([], [])))
