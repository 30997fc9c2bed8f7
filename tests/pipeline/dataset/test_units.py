"""A unit exists once its receipt does, and is a pure function of bytes and settings."""

import itertools
import math
from dataclasses import replace

import pytest
import rows

from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.observed import read_observed
from pipeline.dataset.store import LocalStore
from pipeline.dataset.units import (
    Identified,
    Unit,
    VideoPart,
    commit_unit,
    drop_unit,
    is_observed,
    plan_units,
    read_receipts,
    split_video,
    unit_folder,
)
from pipeline.execution.stage import ClipRow, Ledger, Rejected, VideoRow
from schemas.columns import to_table
from schemas.reasons import Reason
from schemas.tables import Clip, Input, Shot, Track


def make_unit(video_id="v1", part=None, shots=()):
    video = replace(rows.video(video_id), shots=list(shots), num_frames=100, duration_s=4.0)
    unit = Unit(f"/videos/{video_id}.mp4", video_id, video, part or VideoPart())
    clip = rows.clip(f"c-{unit.unit_id}", video_id, shots[0].shot_id if shots else "shot")
    track = rows.track(f"t-{unit.unit_id}", clip)
    ledger = Ledger()
    ledger.keep("clips", "clip")
    rejected = Rejected(Reason.CLIP_TOO_SHORT, 1.0, 2.0)
    ledger.reject(rejected.entry("clips", "clip", "short", video_id))
    observed = VideoRow(video, (ClipRow(clip, b"mp4", tracks=(track,)),), ledger)
    return unit, observed


def shot(shot_id, start, end, opened_by):
    return Shot(shot_id, start * 25, end * 25, float(start), float(end), opened_by)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_was_committed_is_read_back(tmp_path):
    store = LocalStore(str(tmp_path))
    unit, observed = make_unit()
    receipt = commit_unit(unit, observed, store)
    assert read_receipts(store) == {unit.unit_id: receipt}
    read = read_observed([receipt], store)
    # as text: what was not measured is NaN, which equals nothing
    assert repr(to_table(read.clips, Clip).to_pylist()) == repr(
        to_table([observed.clips[0].clip], Clip).to_pylist()
    )
    assert repr(to_table(read.tracks, Track).to_pylist()) == repr(
        to_table(observed.clips[0].tracks, Track).to_pylist()
    )
    assert [(r.id, r.reason, r.value) for r in read.rejects] == [("short", "clip_too_short", 1.0)]
    assert (read.counts["clips", "clip"].kept, read.counts["clips", "clip"].rejected) == (1, 1)
    assert read.unit_of_clip == {observed.clips[0].clip.clip_id: unit.unit_id}


def test_the_same_unit_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        commit_unit(*make_unit(), LocalStore(str(tmp_path / name)))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_a_unit_without_a_receipt_does_not_exist(tmp_path):
    store = LocalStore(str(tmp_path))
    unit, observed = make_unit()
    commit_unit(unit, observed, store)
    store.delete(f"{unit_folder(unit.unit_id)}/receipt.json")
    assert read_receipts(store) == {}
    drop_unit(unit.unit_id, store)
    assert store.list("units") == []


@pytest.mark.parametrize(
    ("duration_s", "parts"),
    [(4.0, 1), (600.0, 1), (601.0, 2), (7200.0, 12)],
)
def test_a_long_video_is_cut_into_parts_without_gap_or_overlap(duration_s, parts):
    cut = split_video(rows.video(duration_s=duration_s), 600.0)
    assert len(cut) == parts
    assert (cut[0].start_s, cut[-1].end_s) == (0.0, math.inf)
    for left, right in itertools.pairwise(cut):
        assert left.end_s == right.start_s
        assert (right.index, right.count) == (left.index + 1, parts)


def test_the_same_bytes_are_observed_once():
    found = [Identified(f"/{name}.mp4", "same", rows.video("same")) for name in "cab"]
    units = plan_units(found, 600.0)
    assert [unit.uri for unit in units] == ["/a.mp4"]


def test_changed_bytes_or_a_missing_part_are_looked_at_again(tmp_path):
    store = LocalStore(str(tmp_path))
    unit, observed = make_unit(part=VideoPart(0, 2, 0.0, 600.0))
    receipts = {unit.unit_id: commit_unit(unit, observed, store)}
    video = InputVideo("/videos/v1.mp4", size_bytes=10, changed="monday")
    known = Input(video.uri, 10, "monday", "v1", num_parts=2)
    assert not is_observed(video, known, receipts)
    second, observed = make_unit(part=VideoPart(1, 2, 600.0, math.inf))
    receipts[second.unit_id] = commit_unit(second, observed, store)
    assert is_observed(video, known, receipts)
    assert not is_observed(replace(video, changed="tuesday"), known, receipts)
    assert not is_observed(video, None, receipts)


def test_a_shot_that_a_part_border_cuts_in_two_is_one_shot(tmp_path):
    store = LocalStore(str(tmp_path))
    first = make_unit(part=VideoPart(0, 2), shots=[shot("s1", 0, 4, "start")])
    second = make_unit(
        part=VideoPart(1, 2), shots=[shot("s2", 4, 6, "part"), shot("s3", 6, 8, "cut")]
    )
    receipts = [commit_unit(*each, store) for each in (first, second)]
    read = read_observed(receipts, store)
    assert [clip.shot_id for clip in read.clips] == ["s1", "s1"]
    [video] = read.videos
    assert (video.num_frames, video.duration_s, len(video.shots)) == (200, 8.0, 3)
