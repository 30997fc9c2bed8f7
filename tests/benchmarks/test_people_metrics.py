"""The yardstick for people gives what a hand counts on cases that fit on a page."""

from dataclasses import astuple, replace

import numpy as np
import pytest
import rows
from places import GOLDEN

from benchmarks.people_metrics import (
    Moment,
    Place,
    Seen,
    Truth,
    clusters_of,
    identity_pairs,
    judge_references,
    load_truth,
    match,
    score_clip,
)
from schemas.tables import Reference

TRUTH = GOLDEN / "people_truth.json"
CLIP = rows.clip("clip", length_s=4.0, width=800, height=400, scale=0.5)  # of 1600 x 1000
PLACE = Place(CLIP, 1600, 1000)  # 50 clip pixels are cut off above and below
LEFT, RIGHT = np.array([0.1, 0.2, 0.3, 0.8]), np.array([0.6, 0.2, 0.8, 0.8])


def moment(time_s, ignore=(), **people):
    seen = {name: Seen(box, whole=False, face=False) for name, box in people.items()}
    return Moment(time_s, seen, np.array(ignore, np.float32).reshape(-1, 4))


def track(name, *boxes, first_frame=0):
    """Return a track with these boxes, in shares of the source, for a second each."""
    placed = [box * np.array([800, 500, 800, 500]) - np.array([0, 50, 0, 50]) for box in boxes]
    dense = [box.tolist() for box in placed for _ in range(16)]
    return replace(rows.track(name, CLIP), boxes=dense, first_frame=first_frame)


def test_boxes_of_a_clip_lead_back_to_the_source():
    assert PLACE.boxes(track("a", LEFT), 0.5) == pytest.approx(LEFT)
    assert PLACE.boxes(track("a", LEFT), 1.5) is None
    assert PLACE.boxes(track("a", LEFT, first_frame=16), 0.5) is None


def test_a_perfect_answer_has_no_fault():
    truth = Truth(tuple(moment(t, ann=LEFT, bob=RIGHT) for t in (0.5, 1.5, 9.0)))
    score = score_clip(PLACE, [track("a", LEFT, LEFT), track("b", RIGHT, RIGHT)], truth)
    assert (score.expected, score.found, score.false, score.switches) == (4, 4, 0, 0)
    assert score.precision == score.recall == 1
    assert (score.person_of("a"), score.person_of("b")) == ("ann", "bob")


def test_paths_that_cross_over_switch_twice():
    truth = Truth(tuple(moment(t, ann=LEFT, bob=RIGHT) for t in (0.5, 1.5)))
    score = score_clip(PLACE, [track("a", LEFT, RIGHT), track("b", RIGHT, LEFT)], truth)
    assert score.switches == 2
    assert score.recall == 1


def test_somebody_lost_and_found_as_another_is_one_switch():
    truth = Truth(tuple(moment(t, ann=LEFT) for t in (0.5, 1.5, 2.5)))
    parts = [track("a", LEFT), track("b", LEFT, first_frame=32)]
    score = score_clip(PLACE, parts, truth)
    assert (score.found, score.switches) == (2, 1)


def test_a_box_on_nobody_counts_unless_it_lies_where_nobody_asks():
    boxes = [track("a", RIGHT)]
    assert score_clip(PLACE, boxes, Truth((moment(0.5),))).false == 1
    assert score_clip(PLACE, boxes, Truth((moment(0.5, [[0.5, 0, 1, 1]]),))).false == 0


def test_matching_makes_most_pairs_before_best_pairs():
    people = np.array([[0, 0, 10, 10], [3, 0, 13, 10]], np.float32)
    boxes = np.array([[1, 0, 11, 10], [-3, 0, 7, 10]], np.float32)
    assert dict(match(boxes, people)) == {0: 1, 1: 0}  # greedy would leave the second without


def test_pairs_of_tracks_are_counted_as_by_hand():
    person = {"a": "ann", "b": "ann", "c": "ann", "d": "bob", "e": "", "f": ""}
    character = {"a": "1", "b": "1", "c": "2", "d": "1", "e": "3", "f": "3"}
    pairs = identity_pairs(person, character)
    assert (pairs.true, pairs.claimed, pairs.right) == (3, 4, 1)  # ab ac bc; ab ad bd ef; ab
    assert pairs.f1 == pytest.approx(2 / 7)


def test_a_wrong_pair_counts_as_across_only_where_two_videos_are_joined():
    person, character = {"a": "ann", "b": "bob", "c": "cid"}, dict.fromkeys("abc", "1")
    pairs = identity_pairs(person, character, {"a": "x", "b": "x", "c": "y"})
    assert (pairs.claimed, pairs.right, pairs.wrong_across) == (3, 0, 2)


def test_clusters_are_measured_as_by_hand():
    person = {"a": "ann", "b": "ann", "c": "bob", "d": "bob"}
    right = clusters_of(person, {"a": "1", "b": "1", "c": "2", "d": "2"})
    assert astuple(right) == pytest.approx((1, 1, 1, 1, 2, 2))
    one = clusters_of(person, dict.fromkeys("abcd", "1"))
    assert astuple(one) == pytest.approx((0.5, 1, 0, 0.5, 1, 2))
    apart = clusters_of(person, {"a": "1", "b": "2", "c": "3", "d": "4"})
    assert astuple(apart) == pytest.approx((1, 0.5, 2 / 3, 1, 4, 2))


def reference(track_id, time_s, whole_body=False):
    columns = dict.fromkeys(Reference.__dataclass_fields__, "")
    columns |= {"track_id": track_id, "time_s": time_s, "whole_body": whole_body, "clip_id": "clip"}
    return Reference(**columns)  # type: ignore[arg-type]


def test_references_are_judged_by_whom_the_track_shows_then():
    whole = Seen(LEFT, whole=True, face=True)
    first = replace(
        moment(0.5, ann=LEFT, bob=RIGHT), people={"ann": whole, "bob": Seen(RIGHT, False, True)}
    )
    truth = Truth((first, moment(1.5, ann=LEFT, bob=RIGHT)))
    switching = track("a", LEFT, RIGHT)
    score = score_clip(PLACE, [switching], truth)
    score.who["a"]["ann"] += 1  # mostly ann
    chosen = [reference("a", 0.5, whole_body=True), reference("a", 1.5, whole_body=True)]
    unlabelled = [reference("a", 9.0, whole_body=True)]
    samples = [("a", "clip", chosen), ("a", "clip", unlabelled)]
    result = judge_references(samples, score, {"v": truth}, {"a": "v"})
    assert (result.number, result.right, result.own_clip) == (3, 2, 3)
    assert (result.could_be_whole, result.whole) == (1, 1)
    assert (result.flags, result.flags_right) == (2, 1)


def test_the_truth_file_is_whole():
    truths = load_truth(TRUTH)
    assert len(truths) == 41
    tuned, unseen = (
        {name for truth in truths.values() if truth.tuned_on == on for name in truth.people}
        for on in (True, False)
    )
    assert min(len(tuned), len(unseen)) >= 30
    assert not tuned & unseen
    for name, truth in truths.items():
        times = [each.time_s for each in truth.moments]
        assert times == sorted(set(times)), name
        for each in truth.moments:
            for seen in each.people.values():
                assert (seen.box[:2] < seen.box[2:]).all(), (name, each.time_s)
                assert seen.box.min() >= 0, (name, each.time_s)
                assert seen.box.max() <= 1, (name, each.time_s)
    assert truths["derived-intercut-two-people.mp4"].people == {"d3-woman", "d9-man"}
    for name in ("tc-dog_eating_854132.mp4", "sam2-blackswan.mp4", "psd-testvideo.mp4"):
        assert truths[name].people == set()
