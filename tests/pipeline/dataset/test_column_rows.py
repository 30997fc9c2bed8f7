"""Rows that lie on disk as columns answer as a list of the same rows does."""

import tempfile

import numpy as np
import pytest
import rows

from pipeline.dataset import column_rows
from pipeline.dataset.column_rows import RowLog, RowSpill
from pipeline.dataset.parquet import encode_rows
from pipeline.dataset.row_sets import (
    ByKey,
    MadeTogether,
    OneOfFew,
    Places,
    encoded,
    grouped,
    ids_of,
    in_order,
    plus,
    spread,
    take,
    values,
    where,
    with_columns,
    without,
)
from schemas.columns import from_table, to_table
from schemas.tables import FaceBox, Track


def people(number: int) -> list[Track]:
    """Return tracks of four videos, each with values that Arrow holds exactly."""
    found = []
    for index in range(number):
        clip = rows.clip(f"clip{index:03}", f"video{index % 4}")
        measured = dict.fromkeys(("score", "area", "own_similarity", "next_similarity"), 0.25)
        faces = [FaceBox(place, [1.0, 2.0, 3.0, 4.0], [], 0.5, -8.0) for place in range(index % 3)]
        looks = [bytes([index, 1])] * (index % 2)
        name = f"track{number - index:03}"
        found.append(rows.track(name, clip, motion=2.0, faces=faces, looks=looks, **measured))
    return found


@pytest.fixture(params=["one piece", "many pieces"])
def spilled(request, monkeypatch):
    """Return rows and the same ones on disk, in pieces as they come when there are millions."""
    if request.param == "many pieces":
        monkeypatch.setattr(column_rows, "_BATCH_BYTES", 20_000)
        monkeypatch.setattr(column_rows, "_COLLECTED", 20)
        monkeypatch.setattr(column_rows, "_TEXTS", 20)
    tracks, spill = people(50), RowSpill(Track)
    for first in range(0, 50, 3):
        spill.add(to_table(tracks[first : first + 3], Track))
    return tracks, spill.rows()


def test_rows_are_read_back_in_any_order(spilled):
    tracks, stored = spilled
    assert list(stored) == tracks
    assert stored[-1] == tracks[-1]
    places = np.random.default_rng(1).permutation(50)
    shuffled = [tracks[place] for place in places]
    assert take(stored, places) == take(tracks, places) == shuffled
    assert list(where(stored, places)[5:20]) == shuffled[5:20]
    assert list(where(stored, places % 2 == 0)) == list(where(tracks, places % 2 == 0))


def test_a_list_and_columns_are_used_alike(spilled):
    for each in spilled:
        assert ids_of(in_order(each, "video_id", "track_id"), "track_id") == [
            track.track_id for track in sorted(each, key=lambda row: (row.video_id, row.track_id))
        ]
        groups = dict(grouped(each, "video_id"))
        assert list(groups) == ["video0", "video1", "video2", "video3"]
        assert groups["video1"] == [track for track in each if track.video_id == "video1"]
        known = ByKey(each, "track_id")
        assert known["track007"].track_id == "track007"
        assert len(known) == 50
        assert known.get("nobody") is None


def test_changed_columns_go_along_and_the_rows_stay_as_they_were(spilled):
    names = encoded(f"hero{index % 5}" for index in range(50))
    descriptions = [f"é{index}" for index in range(50)]
    for each in spilled:
        named = with_columns(each, {"character_id": names, "description": descriptions})
        some = where(named, np.arange(40, 10, -7))
        assert [row.character_id for row in some] == [
            f"hero{place % 5}" for place in (0, 3, 1, 4, 2)
        ]
        assert [row.description for row in some] == ["é40", "é33", "é26", "é19", "é12"]
        assert [row.description for row in named[15:45]] == descriptions[15:45]
        assert encode_rows(named, Track) == encode_rows(list(named), Track)
        assert values(named, "character_id").tolist() == names.tolist()
        assert {row.character_id for row in each} == {""}
        bare = without(some, "boxes", "looks")
        assert ids_of(bare, "track_id") == ids_of(some, "track_id")
        assert {row.character_id for row in bare} == {row.character_id for row in some}
    assert {len(row.boxes) + len(row.looks) for row in without(spilled[1], "boxes", "looks")} == {0}
    [more] = people(1)
    assert list(plus(spilled[1], [more])) == plus(spilled[0], [more])


def test_columns_become_the_file_that_objects_become(spilled):
    tracks, stored = spilled
    places = np.random.default_rng(2).permutation(50)
    assert encode_rows(where(stored, places), Track) == encode_rows(take(tracks, places), Track)
    assert encode_rows(where(stored, places[:0]), Track) == encode_rows([], Track)


def test_members_made_together_are_those_that_are_made_alone():
    asked = []

    def ten_times(some):
        asked.append(len(some))
        return [10 * each for each in some]

    made = MadeTogether(range(150), ten_times)
    assert list(made) == [10 * each for each in range(150)]
    assert max(asked) > 1
    assert (made[7], made[-1]) == (70, 1490)
    assert list(made[100:3:-40]) == [1000, 600, 200]
    assert list(made[:0]) == []


def test_rows_noted_one_by_one_come_back_and_none_is_noted_after_that():
    log = RowLog(Track, people(150))
    for row in people(250):
        log.append(row)
    assert list(log) == [*people(150), *people(250)]
    assert len(log) == 400
    with pytest.raises(AssertionError, match="before they are read"):
        log.extend(people(1))


def test_rows_with_equal_columns_stay_in_their_order():
    log = RowLog(Track, people(250))
    by_video = in_order(log.rows(), "video_id", "score")
    assert list(by_video) == sorted(people(250), key=lambda row: row.video_id)


def test_rows_of_an_older_code_have_the_defaults_of_later_columns():
    spill = RowSpill(Track)
    spill.add(to_table(people(3), Track).drop_columns(["motion", "looks", "detector"]))
    read = list(spill.rows())
    assert np.isnan([row.motion for row in read]).all()
    assert [row.looks for row in read] == [[]] * 3
    assert [row.detector for row in read] == [""] * 3


def test_nothing_is_left_behind_by_a_process_that_dies(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spill = RowSpill(Track)
    spill.add(to_table(people(3), Track))
    stored = spill.rows()
    assert not list(tmp_path.iterdir())  # the files have no names: they end with the process
    assert len(list(stored)) == 3


def test_columns_by_id():
    ids = encoded(["b", "d", "a", "b"])
    places = Places(ids)
    assert (places["b"], places["a"], list(places.all_of("b"))) == (0, 2, [0, 3])
    assert "c" not in places
    found = spread(encoded(["a", "x", "d"]), ids[1:3], np.array([1.5, 2.5]), missing=-1.0)
    assert found.tolist() == [2.5, -1.0, 1.5]
    assert dict(OneOfFew(ids[:3], np.array([1, 0, 1]), ["zero", "one"])) == {
        "a": "one", "b": "one", "d": "zero",
    }  # fmt: skip


def test_rows_come_out_of_a_table_as_they_went_in():
    tracks = people(9)
    data = to_table(tracks, Track)
    assert from_table(data, Track) == tracks
    assert from_table(data.slice(2, 5), Track) == tracks[2:7]
    clips = [rows.clip("a", aesthetic=None), rows.clip("b", aesthetic=0.5, speech=0.25)]
    read = from_table(to_table(clips, type(clips[0])), type(clips[0]))
    assert [(row.aesthetic, row.speech) for row in read] == [(None, None), (0.5, 0.25)]
