"""Who may be a sample: a lone person, the main one of a group; half a second serves others."""

from typing import Any

import rows

from pipeline.dataset.observed import Observed
from pipeline.observing.quality import QualityConfig
from pipeline.observing.tracks import PeopleConfig
from pipeline.pairing.duplicates import DuplicatesConfig
from pipeline.pairing.gates import Gates, LicencesConfig, apply_gates
from pipeline.pairing.pair_config import PairConfig
from pipeline.pairing.people import GroupsConfig, check_track
from pipeline.pairing.samples import plan_samples
from schemas.reasons import Reason

PEOPLE, GROUPS = PeopleConfig(), GroupsConfig()
SURE: dict[str, Any] = {"detector": "sure/1"}


def reason(track, clip):
    refused = check_track(track, clip, PEOPLE, GROUPS)
    return refused and refused.reason


def test_the_main_person_of_a_group_passes_and_a_crowd_does_not():
    group, crowd = rows.clip("group", num_people=6), rows.clip("crowd", num_people=15)
    assert reason(rows.track("main", group, **SURE), group) is None
    assert reason(rows.track("main", crowd, **SURE), crowd) == Reason.TOO_MANY_PEOPLE


def test_whoever_comes_and_goes_in_a_group_stays_out():
    group = rows.clip("group", num_people=6)
    for lost in ({"coverage": 0.7}, {"purity": 0.8}, {"area": 0.05}, {"face_rate": 0.3}):
        assert reason(rows.track("t", group, **SURE, **lost), group) == Reason.TOO_MANY_PEOPLE


def test_a_whole_body_counts_in_any_pose_and_a_trunk_does_not():
    clip = rows.clip("clip")
    lying = [[100.0, 300.0, 700.0, 450.0]] * clip.num_frames
    trunk = [[100.0, 200.0, 500.0, 480.0]] * clip.num_frames  # cut off below
    faceless = {"face_rate": 0.0, **SURE}
    assert reason(rows.track("yoga", clip, boxes=lying, **faceless), clip) is None
    assert reason(rows.track("desk", clip, boxes=trunk, **faceless), clip) == Reason.BODY_PART


def test_people_of_half_a_second_are_references_and_no_samples():
    long = rows.clip("long", shot_id="one")
    short = rows.clip("short", shot_id="two", start_s=5, length_s=0.5, reference_only=True)
    tracks = [rows.track("in long", long, **SURE), rows.track("in short", short, **SURE)]
    observed = Observed(videos=[rows.video()], clips=[long, short], tracks=tracks)
    gates = Gates(LicencesConfig(), QualityConfig(), DuplicatesConfig(), PEOPLE)
    kept = apply_gates(observed, observed.videos, gates)
    assert {track.track_id for track in kept.tracks} == {"in long", "in short"}
    candidates = [rows.candidate(f"r {t.track_id}", t, 5.2) for t in tracks]
    faces = ([1.0, 0.0], [0.85, 0.5268])
    vectors = []
    for track, image, vector in zip(tracks, candidates, faces, strict=True):
        vectors.append(rows.embedding(vector, track.track_id))
        vectors.append(rows.embedding(vector, track.track_id, image.reference_id))
    plans = plan_samples(kept.clips, kept.tracks, candidates, vectors, rows.WINDOWS, PairConfig())
    assert [plan.track_id for plan in plans.samples] == ["in long"]
    assert [row.track_id for row in plans.samples[0].references] == ["in short"]
