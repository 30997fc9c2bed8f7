"""Every measure against a slow, obvious reference, and on cases whose answer is known."""

import itertools
import math

import numpy as np
import pytest
from present import there
from rows import looks_like, person

from pipeline.evaluate.bootstrap import IntervalEstimate, estimate, estimate_crossed
from pipeline.evaluate.characters import match_cast
from pipeline.evaluate.copying import (
    copy_paste,
    correlation,
    head_and_shoulders,
    pose_change,
)
from pipeline.evaluate.identity import cosine, self_consistency, summarise
from pipeline.evaluate.motion import MotionMeter
from pipeline.evaluate.protocols import PROTOCOLS, find_protocol


def test_identity_agrees_with_a_loop():
    draws = np.random.default_rng(0)
    cosines = [None if draws.random() < 0.2 else float(draws.uniform(-0.2, 0.9)) for _ in range(40)]
    times = [n / 8 for n in range(40)]
    found = summarise(cosines, times)
    seen = [(t, c) for t, c in zip(times, cosines, strict=True) if c is not None]
    assert found.num_detected == len(seen)
    assert found.detection_rate == pytest.approx(len(seen) / 40)
    assert found.mean_detected == pytest.approx(sum(c for _, c in seen) / len(seen))
    assert found.mean_zero_if_missing == pytest.approx(sum(c for _, c in seen) / 40)
    assert found.least == min(c for _, c in seen)
    slope, _ = np.polyfit([t for t, _ in seen], [c for _, c in seen], 1)
    assert found.drift_per_s == pytest.approx(slope)
    first, last = seen[0][0], seen[-1][0]
    early = [c for t, c in seen if t <= first + (last - first) / 3]
    late = [c for t, c in seen if t >= last - (last - first) / 3]
    assert found.late_minus_early == pytest.approx(np.mean(late) - np.mean(early))


def test_a_person_who_is_lost_drifts():
    found = summarise([0.9 - 0.1 * t for t in range(8)], [float(t) for t in range(8)])
    assert found.drift_per_s == pytest.approx(-0.1)
    assert found.late_minus_early == pytest.approx(-0.5)


def test_videos_without_faces_and_of_one_frame():
    nobody = summarise([None, None], [0.0, 1.0])
    assert (nobody.mean_detected, nobody.mean_zero_if_missing, nobody.detection_rate) == (
        None,
        0,
        0,
    )
    assert (nobody.least, nobody.drift_per_s, nobody.late_minus_early) == (None, None, None)
    once = summarise([0.7], [0.0])
    assert (once.mean_detected, once.mean_zero_if_missing, once.drift_per_s) == (0.7, 0.7, None)
    with pytest.raises(ValueError, match="0 cosines come with 0 times"):
        summarise([], [])


def test_self_consistency_agrees_with_vbench_written_out():
    vectors = np.random.default_rng(1).standard_normal((9, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    total = 0.0
    for n in range(1, 9):
        before, first = float(vectors[n] @ vectors[n - 1]), float(vectors[n] @ vectors[0])
        total += (max(0.0, before) + max(0.0, first)) / 2
    assert self_consistency(vectors) == pytest.approx(total / 8)
    assert self_consistency(np.repeat(vectors[:1], 4, 0)) == pytest.approx(1.0)
    assert self_consistency(vectors[:1]) is None


def test_cosine_of_nothing_is_nothing():
    assert cosine(np.zeros(3), np.ones(3)) is None
    assert cosine(np.ones(3), 2 * np.ones(3)) == pytest.approx(1.0)


def test_copy_paste_bounds():
    apart = 0.5
    assert copy_paste(1.0, apart, apart) == pytest.approx(-1.0)  # the true clip itself
    assert copy_paste(apart, 1.0, apart) == pytest.approx(1.0)  # the reference itself
    assert copy_paste(0.7, 0.7, apart) == pytest.approx(0.0)
    theta = math.acos(0.6) - math.acos(0.8)
    assert copy_paste(0.6, 0.8, 0.3) == pytest.approx(theta / math.acos(0.3))
    assert -1 <= copy_paste(0.2, 1.0, 1.0) <= 1  # one and the same picture divides by nothing


def test_a_copy_correlates_and_another_pose_does_not():
    noise = np.random.default_rng(2).integers(0, 255, (12, 12, 3)).astype(np.uint8)
    picture = np.kron(noise, np.ones((16, 16, 1), np.uint8))
    face = np.array([70, 60, 110, 100], np.float32)
    one = head_and_shoulders(picture, face)
    brighter = np.clip(picture.astype(int) // 2 + 60, 0, 255).astype(np.uint8)
    assert correlation(one, one) == pytest.approx(1.0)
    assert correlation(one, head_and_shoulders(brighter, face)) > 0.98
    assert correlation(one, head_and_shoulders(picture[:, ::-1].copy(), face)) < 0.6


def test_pose_change_ignores_place_size_and_tilt():
    points = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], float)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    assert pose_change(points, 3 * points @ turn.T + 11) == pytest.approx(0.0, abs=1e-9)
    turned = points.copy()
    turned[2, 0] += 15  # the nose moves aside: the head turns
    assert there(pose_change(points, turned)) > 0.1
    assert pose_change(points, np.full((5, 2), np.nan)) is None


def test_motion_of_a_still_and_of_a_moving_picture():
    ground = np.random.default_rng(3).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    import cv2

    ground = cv2.resize(ground, (480, 320), interpolation=cv2.INTER_CUBIC)
    still, moving = MotionMeter(), MotionMeter()
    for n in range(5):
        still.add(ground)
        moving.add(np.roll(ground, 3 * n, axis=1))
    assert still.finish().length < 0.01  # the noise of the method
    found = moving.finish()
    assert found.length == pytest.approx(3 * 256 / 320, rel=0.2)
    # OpenS2V-Eval averages both components with their signs: half of a sideways flow
    assert found.drift == pytest.approx(found.length / 2, rel=0.2)
    alone = MotionMeter()
    alone.add(ground)
    assert alone.finish().length == 0.0


def test_matching_agrees_with_every_assignment():
    references = np.stack([person(n) for n in range(3)])
    faces = np.stack([looks_like(person(n), 0.6, seed=n) for n in (2, 0, 1)])
    best = max(
        sum(float(references[c] @ faces[f]) for c, f in enumerate(order)) / 3
        for order in itertools.permutations(range(3))
    )
    found = match_cast(references, [faces])
    assert found.matched == pytest.approx(best)
    assert (found.missing, found.swap_rate) == (0, 0)


def test_swapped_and_missing_characters_are_counted():
    references = np.stack([person(0), person(1)])
    right = np.stack([person(0), person(1)])
    only_one = person(0)[None]
    found = match_cast(references, [right, right[::-1], only_one, np.zeros((0, 16))])
    assert (found.matched, found.swap_rate) == (1.0, 0.0)  # order in the picture means nothing
    assert found.missing == pytest.approx(3 / 8)
    twice = np.stack([person(0), looks_like(person(0), 0.95, 5)])
    assert match_cast(references, [twice]).swap_rate == 0.5  # both faces are the first character
    with pytest.raises(ValueError, match="at least one character"):
        match_cast(np.zeros((0, 4)), [right])


def test_intervals_agree_with_the_closed_form():
    values = np.random.default_rng(4).normal(0.5, 0.1, 200)
    found = there(estimate([*values], [*range(200)]))
    half = 1.96 * values.std() / math.sqrt(200)
    assert found.mean == pytest.approx(values.mean())
    assert bounds(found) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.15 * half
    )
    assert estimate([*values], [*range(200)]) == found  # seeded


def test_videos_of_one_identity_are_not_independent():
    values = np.random.default_rng(5).normal(0.5, 0.1, 20)
    copied = [float(v) for v in values for _ in range(10)]
    of_identity = estimate(copied, [n for n in range(20) for _ in range(10)])
    alone = estimate([*values], [*range(20)])
    assert bounds(of_identity) == pytest.approx(bounds(alone))
    naive = estimate(copied, [*range(200)])
    assert np.ptp(bounds(naive)) < 0.5 * np.ptp(bounds(of_identity))
    assert there(estimate([1.0, 2.0], ["same", "same"])).low is None
    assert estimate([], []) is None


def test_two_factors_are_wider_than_one():
    draws = np.random.default_rng(6)
    raters, items = draws.normal(0, 1, 12), draws.normal(0, 1, 12)
    values = [float(r + i) for r in raters for i in items]
    by_rater = [n for n in range(12) for _ in range(12)]
    by_item = [n for _ in range(12) for n in range(12)]
    both = estimate_crossed(values, [by_rater, by_item])
    assert np.ptp(bounds(both)) > 1.2 * np.ptp(bounds(estimate_crossed(values, [by_rater])))
    with pytest.raises(ValueError, match="2 values come with 1 groups"):
        estimate_crossed([1.0, 2.0], [["a"]])


def bounds(found: IntervalEstimate | None) -> tuple[float, float]:
    return there(there(found).low), there(there(found).high)


@pytest.mark.parametrize(
    ("name", "number_of_frames", "cosines", "expected"),
    [
        ("contextanyone", 32, [0.4, -0.2, None], 0.1),
        ("opens2v-v1", 32, [0.4, -0.2, None], 0.2),  # clamped, faceless frames skipped
        ("opens2v-v1", 32, [None, None], 0.0),
        ("consisid", 16, [0.4, -0.2, None], 0.2),
        ("msrvtt-p", 81, [0.4, 0.2, None], 0.2),  # faceless frames count as 0
    ],
)
def test_protocols_count_as_they_say(name, number_of_frames, cosines, expected):
    protocol = find_protocol(name)
    assert len(protocol.frames.indices(81)) == number_of_frames
    assert protocol.score(cosines) == pytest.approx(expected)


def test_protocol_presets_are_pinned():
    told = {
        name: (p.frames.kind, p.frames.number, p.value, p.face, p.padded_retry, p.clamped,
               p.missing, p.low, p.detectors, p.recognisers)
        for name, p in PROTOCOLS.items()
    }  # fmt: skip
    scrfd, r50 = ("insightface-det_10g/1",), ("arcface-w600k_r50/1",)
    r100 = ("arcface-glintr100/1",)
    assert told == {
        "contextanyone":
            ("uniform", 32, "face", "largest", False, False, "skipped", 0.0, scrfd, r50),
        "opens2v-v1": ("uniform", 32, "face", "largest", True, True, "skipped", 0.0, scrfd, r50),
        "vbench-subject": ("all", 0, "self", "largest", False, False, "skipped", 0.1462, (), ()),
        "multi-shot": ("all", 0, "shots", "best", False, False, "skipped", 0.0, scrfd, r50),
        "msrvtt-p": ("all", 0, "face", "largest", False, False, "zero", 0.0, (), r100),
        "consisid": ("uniform", 16, "face", "largest", False, True, "skipped", 0.0, scrfd, r100),
    }  # fmt: skip
    uniform = PROTOCOLS["opens2v-v1"].frames
    assert uniform.indices(81)[:4] == [0, 2, 5, 7]  # rounded down, as numpy's integer linspace
    assert uniform.indices(81)[-1] == 80
    assert uniform.indices(1) == [0] * 32
    with pytest.raises(ValueError, match="without frames"):
        uniform.indices(0)
    with pytest.raises(ValueError, match="--protocol must be one of contextanyone, opens2v-v1"):
        find_protocol("vbench")
