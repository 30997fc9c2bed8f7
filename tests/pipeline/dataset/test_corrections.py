"""Corrections: a line says one thing, later ones win, and groups of tracks follow them."""

import json
import random

import pytest
from decisions import decision, in_turn

from pipeline.dataset.corrections import CORRECTIONS, read_corrections, write_corrections
from pipeline.dataset.decided import decide
from pipeline.dataset.store import open_store
from schemas.corrections import Correction


def test_the_file_says_what_was_decided_and_reads_back(tmp_path):
    store = open_store(tmp_path)
    made = in_turn(
        decision("merge", "t1 t2 t3", why="the scar"),
        decision("separate", "t1", "t2 t3"),
        decision("name", "t2 t3", value="Zoë"),
        decision("reference", "t2", value="bad", reference_id="r1"),
        decision("caption", "t2", value="She waves."),
        decision("split", "t2", value="test"),
    )
    write_corrections(made, store)
    lines = [json.loads(line) for line in store.read(CORRECTIONS).decode().splitlines()]
    assert lines[0] == {
        "kind": "merge", "people": [["t1", "t2", "t3"]], "by": "ana", "why": "the scar",
        "at": "2026-11-26T00:16:40Z",
    }  # fmt: skip
    assert read_corrections(store) == tuple(made)
    store.write(CORRECTIONS, b"".join(reversed(store.read(CORRECTIONS).splitlines(True))))
    assert read_corrections(store) == tuple(made)  # by time, however the file was put together
    write_corrections([], store)
    assert not store.exists(CORRECTIONS)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("[]", "must be an object"),
        ("{", "Expecting"),
        ('{"kind": "merge"}', "lacks"),
        ('{"kind": "swap", "people": [["a", "b"]]}', "kind must be one of"),
        ('{"kind": ["merge"], "people": [["a", "b"]]}', "kind must be one of"),
        ('{"kind": "merge", "people": [["a"]]}', "two tracks or more"),
        ('{"kind": "merge", "people": [["a"], ["b"]]}', "must have one list"),
        ('{"kind": "different", "people": [["a", "b"]]}', "two lists of tracks"),
        ('{"kind": "separate", "people": [["a"], ["a"]]}', "each in one list once"),
        ('{"kind": "separate", "people": [["a"], []]}', "at least one"),
        ('{"kind": "separate", "people": [["a"], [7]]}', "track ids"),
        ('{"kind": "separate", "people": "ab"}', "list of lists"),
        ('{"kind": "split", "people": [["a"]], "value": "both"}', "'train', 'validation'"),
        ('{"kind": "name", "people": [["a"]], "value": "A\\nB"}', "one line"),
        ('{"kind": "caption", "people": [["a"]], "value": " "}', "must not be empty"),
        ('{"kind": "reference", "people": [["a"]], "value": "bad"}', "reference_id"),
        ('{"kind": "merge", "people": [["a", "b"]], "row": 7}', "unknown keys"),
        ('{"kind": "merge", "people": [["a", "b"]], "at": "today"}', "at must be"),
    ],
)
def test_a_line_that_makes_no_sense_is_named_with_its_fault(tmp_path, line, wrong):
    store = open_store(tmp_path)
    if line.startswith("{") and "people" in line:
        line = json.dumps({"by": "ana", "at": "2026-11-26T00:00:00Z"} | json.loads(line))
    good = json.dumps(decision("merge", "a b").to_json())
    store.write(CORRECTIONS, f"{good}\n{line}\n".encode())
    with pytest.raises(ValueError, match=r"corrections.jsonl, line 2: .*" + wrong):
        read_corrections(store)


def regrouped(groups: str, *corrections: Correction, impossible=()) -> str:
    """Return groups as "a b | c", after the corrections."""
    lists = [group.split() for group in groups.split("|")]
    made = decide(in_turn(*corrections)).regroup(lists, impossible)
    return " | ".join(" ".join(sorted(group)) for group in sorted(made))


@pytest.mark.parametrize(
    ("groups", "corrections", "after"),
    [
        ("a b | c", [], "a b | c"),
        ("a b | c d | e", [decision("merge", "a c")], "a b c d | e"),
        ("a b c", [decision("separate", "a", "b c")], "a | b c"),
        ("a b c d", [decision("separate", "a", "b c")], "a | b c d"),  # d was seen by nobody
        ("a b | c d", [decision("move", "a c d", "b")], "a c d | b"),
        ("a b | c d", [decision("different", "a b", "c d")], "a b | c d"),
        # the later decision wins
        ("a b", [decision("separate", "a", "b"), decision("merge", "a b")], "a b"),
        ("a | b", [decision("merge", "a b"), decision("separate", "a", "b")], "a | b"),
        ("a b | c d", [decision("merge", "a b c d"), decision("separate", "a", "b c d")],
         "a | b c d"),
        ("a | b | c", [decision("merge", "a b c"), decision("separate", "a", "b c")], "a | b c"),
        ("a b | c", [decision("merge", "a b c"), decision("move", "c a", "b")], "a c | b"),
    ],
)  # fmt: skip
def test_groups_follow_the_decisions(groups, corrections, after):
    assert regrouped(groups, *corrections) == after


def test_nobody_is_in_two_places_of_one_frame_whatever_was_decided():
    merge = decision("merge", "a b c")
    assert regrouped("a | b | c", merge, impossible=[("a", "b")]) == "a c | b"


def test_no_track_is_lost_and_every_decision_that_was_not_replaced_holds():
    for seed in range(200):
        draw = random.Random(seed)
        tracks = [f"t{number}" for number in range(14)]
        groups: dict[int, list[str]] = {}
        for track_id in tracks:
            groups.setdefault(draw.randrange(5), []).append(track_id)
        made = []
        for _ in range(draw.randrange(6)):
            some = draw.sample(tracks, draw.randrange(2, 7))
            cut = draw.randrange(1, len(some))
            lists = [some] if draw.random() < 0.5 else [some[:cut], some[cut:]]
            kind = "merge" if len(lists) == 1 else "separate"
            made.append(decision(kind, *map(" ".join, lists)))
        decided = decide(in_turn(*made))
        after = decided.regroup(groups.values())
        assert sorted(id for group in after for id in group) == sorted(tracks)
        home = {id: number for number, group in enumerate(after) for id in group}
        for person in decided.people:
            assert len({home[id] for id in person}) == 1
        for one, other in decided.apart:
            assert home[decided.people[one][0]] != home[decided.people[other][0]]
        if made:  # the last word always holds
            heads = [{home[id] for id in tracks} for tracks in made[-1].people]
            assert all(len(head) == 1 for head in heads)
            assert len({min(head) for head in heads}) == len(heads)
