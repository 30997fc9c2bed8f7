"""Captions are taken apart into statements, and each is held against what an eye saw."""

from benchmarks.captions import KINDS, Seen, Tally, load_seen, statements


def test_every_kind_of_statement_is_found_in_captions():
    first = (
        "A medium shot of two people. One of them has blond hair and is wearing a dark top and "
        "blue bottoms, on the left of the picture, turning the head to the right of the picture, "
        "moving quickly to the right across the picture, with the head tilted to the left. "
        "The background is plain dark green. The scene is dark. The colours are warm. "
        "The camera moves up."
    )
    assert statements(first) == [
        ("size", "medium shot"),
        ("people", "two"),
        ("hair", "blond"),
        ("clothes", "dark top"),
        ("clothes", "blue bottoms"),
        ("place", "left"),
        ("head", "turning the head to the right"),
        ("head", "head tilted to the left"),
        ("motion", "moving to the right"),
        ("background", "plain dark green"),
        ("camera", "up"),
        ("light", "dark"),
        ("tones", "warm"),
    ]
    second = (
        "In front of an orange background, a person, among others, is seen in a tight close-up, "
        "left of the centre, in profile, facing the left of the picture, staying in place. "
        "The view closes in."
    )
    assert statements(second) == [
        ("size", "tight close-up"),
        ("people", "among others"),
        ("place", "left of the centre"),
        ("head", "in profile, facing the left"),
        ("motion", "staying in place"),
        ("background", "orange"),
        ("camera", "closes in"),
    ]
    assert statements("A person.") == []


def test_what_is_not_listed_is_false_and_what_was_not_judged_does_not_count():
    seen = Seen("a.mp4", 0, 5, "anna", {"size": ["close-up"], "clothes": []})
    tally = Tally()
    tally.add("A close-up of a person wearing a red top. The camera is static.", seen)
    assert (tally.said.total(), tally.true.total()) == (2, 1)
    assert [line.split(": ")[1].split(" in ")[0] for line in tally.false] == ["'red top'"]
    assert seen.shows("a.mp4", "anna", 4.9)
    assert not seen.shows("a.mp4", "anna", 5)


def test_the_truth_names_people_and_kinds_that_exist():
    rows = load_seen()
    assert len(rows) >= 60
    assert {kind for row in rows for kind in row.true} == set(KINDS)
    assert all(row.from_s < row.to_s and row.person for row in rows)
