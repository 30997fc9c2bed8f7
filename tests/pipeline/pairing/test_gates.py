"""Late thresholds: every row is kept or in the ledger, and a broken part spoils its whole video."""

import rows

from pipeline.dataset.observed import Observed
from pipeline.observing.quality import QualityConfig
from pipeline.observing.tracks import PeopleConfig
from pipeline.pairing.duplicates import DuplicatesConfig
from pipeline.pairing.gates import Gates, LicencesConfig, apply_gates
from schemas.tables import Reject


def make_gates(**changed) -> Gates:
    gates = {
        "licences": LicencesConfig(),
        "quality": QualityConfig(),
        "duplicates": DuplicatesConfig(),
        "people": PeopleConfig(),
    }
    return Gates(**gates | changed)


def observe(*video_ids: str) -> Observed:
    clips = [rows.clip(f"clip-{video_id}", video_id) for video_id in video_ids]
    return Observed(
        videos=[rows.video(video_id) for video_id in video_ids],
        clips=clips,
        tracks=[rows.track(f"track-{clip.video_id}", clip, detector="sure/1") for clip in clips],
    )


def test_a_refused_part_takes_the_whole_video_along():
    observed = observe("a", "b")
    observed.rejects = [Reject("shots", "video", "a-0003", "a", "truncated", False, 0.4, 0.99)]
    kept = apply_gates(observed, observed.videos, make_gates())
    assert [video.video_id for video in kept.videos] == ["b"]
    assert [clip.video_id for clip in kept.clips] == ["b"]
    [line] = kept.ledger.rejects
    assert (line.id, line.reason, line.detail) == (
        "a",
        "incomplete_video",
        "part a-0003: truncated",
    )


def test_only_allowed_licences_enter():
    observed = observe("a")
    kept = apply_gates(observed, observed.videos, make_gates(licences=LicencesConfig(("MIT",))))
    assert kept.videos == kept.clips == kept.tracks == []
    [line] = kept.ledger.rejects
    assert (line.reason, line.detail) == ("licence_refused", "licence 'CC0-1.0', allowed: MIT")


def test_a_clip_without_a_passing_track_has_no_person():
    observed = observe("a", "b")
    small = rows.track("small", observed.clips[0], area=0.001, detector="sure/1")
    observed.tracks = [small, observed.tracks[1]]
    kept = apply_gates(observed, observed.videos, make_gates())
    assert [clip.video_id for clip in kept.clips] == ["b"]
    assert [(line.level, line.reason) for line in kept.ledger.rejects] == [
        ("track", "person_too_small"),
        ("clip", "no_person"),
    ]
    assert kept.ledger.counts["people", "clip"].entered == 2


def test_a_copy_in_another_video_is_dropped_and_names_the_original():
    observed = observe("a", "b")
    first = observed.clips[0]
    observed.clips = [first, rows.clip("clip-b", "b", perceptual_hash=first.perceptual_hash)]
    kept = apply_gates(observed, observed.videos, make_gates())
    assert [clip.clip_id for clip in kept.clips] == ["clip-a"]
    assert [(r.reason, r.detail) for r in kept.ledger.rejects] == [
        ("duplicate_clip", "repeats clip-a")
    ]
