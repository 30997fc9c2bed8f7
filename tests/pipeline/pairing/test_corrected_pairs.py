"""What a person corrected goes before what vectors say, in characters, references and splits."""

from typing import Any

import pytest
from decisions import decision, in_turn
from rows import WINDOWS, candidate, clip, embedding, looks_like, person, pixels, track

from pipeline.engines.identity.spaces import Space
from pipeline.pairing.pair_config import PairConfig
from pipeline.pairing.samples import plan_samples
from pipeline.pairing.splits import SplitsConfig
from schemas.reasons import Reason


class Filmed:
    """One clip, track, two images and all vectors for each name; who it looks like."""

    def __init__(self, people: dict[str, int], video: str = "video") -> None:
        self.clips, self.tracks, self.candidates, self.embeddings = [], [], [], []
        for number, (name, who) in enumerate(people.items()):
            made = clip(f"clip-{name}", f"{video}-{name}", f"shot-{name}", start_s=20.0 * number)
            seen = track(name, made)
            self.clips.append(made)
            self.tracks.append(seen)
            self.embeddings.append(embedding(looks_like(person(who), 0.97, number), name))
            for place in range(2):
                image, mask = pixels(seed=place)
                id = f"{name}-{place}"
                time_s = made.start_s + 0.5 * place
                self.candidates.append(candidate(id, seen, time_s, image=image, mask=mask))
                look = looks_like(person(who), 0.95, 100 + 10 * number + place)
                self.embeddings.append(embedding(look, name, id))

    def plan(self, *corrections, config=None, windows: Any = WINDOWS):
        return plan_samples(
            self.clips, self.tracks, self.candidates, self.embeddings, windows, config,
            in_turn(*corrections),
        )  # fmt: skip


def people_of(plans) -> list[str]:
    found = {}
    for row in plans.characters.tracks:
        found.setdefault(row.character_id, []).append(row.track_id)
    return sorted(" ".join(sorted(ids)) for ids in found.values())


def references_of(plans, track_id: str) -> list[str]:
    [plan] = [plan for plan in plans.samples if plan.track_id == track_id]
    return [row.reference_id for row in plan.references]


TWO = {"a1": 0, "a2": 0, "b1": 1, "b2": 1}


def test_a_merge_gives_one_character_whose_references_no_cosine_refuses():
    filmed = Filmed(TWO)
    assert people_of(filmed.plan()) == ["a1 a2", "b1 b2"]
    merged = filmed.plan(decision("merge", "a1 a2 b1 b2"))
    assert people_of(merged) == ["a1 a2 b1 b2"]
    [(character, _)] = merged.characters.members()
    assert all(plan.character_id == character for plan in merged.samples)
    used = {id.split("-")[0] for row in ("a1", "a2") for id in references_of(merged, row)}
    assert used & {"b1", "b2"}  # strangers by their vectors, the same person by decision
    assert merged.characters.suspects == ()


def test_a_separated_track_gets_no_reference_of_the_other_person():
    filmed = Filmed({"a1": 0, "a2": 0, "twin": 0})
    assert people_of(filmed.plan()) == ["a1 a2 twin"]
    parted = filmed.plan(decision("separate", "twin", "a1 a2"))
    assert people_of(parted) == ["a1 a2", "twin"]
    assert {id.split("-")[0] for id in references_of(parted, "twin")} == {"twin"}
    assert {id.split("-")[0] for id in references_of(parted, "a1")} == {"a2"}
    assert parted.characters.suspects == ()  # nobody is asked again
    assert parted.characters.rejected == {}  # and nobody called ambiguous


def test_a_moved_track_is_the_other_persons():
    moved = Filmed(TWO).plan(decision("move", "b1 b2 a2", "a1"))
    assert people_of(moved) == ["a1", "a2 b1 b2"]


def test_faces_and_bodies_that_do_not_compare_are_joined_by_a_person():
    spaces = [Space("face", 0, 8, WINDOWS), Space("body", 8, 16, WINDOWS)]
    filmed = Filmed({"face": 0, "back": 9})
    assert people_of(filmed.plan(windows=spaces)) == ["back", "face"]
    merged = filmed.plan(decision("merge", "face back"), windows=spaces)
    assert people_of(merged) == ["back face"]
    [(character, _)] = merged.characters.members()
    assert merged.characters.spaces[character] == "face body"


def test_two_who_share_a_frame_stay_two_people():
    filmed = Filmed({"a1": 0, "b1": 1})
    filmed.tracks.append(track("beside", filmed.clips[0], left=600.0))
    filmed.embeddings.append(embedding(looks_like(person(2), 0.97, 7), "beside"))
    merged = filmed.plan(decision("merge", "a1 beside"))
    assert people_of(merged) == ["a1", "b1", "beside"]


def test_a_name_stays_with_most_of_its_tracks():
    from pipeline.pairing.characters import describe_characters

    filmed = Filmed(TWO)
    plans = filmed.plan(decision("name", "a1 a2", value="Ana"), decision("merge", "a1 a2 b1"))
    names = {row.num_tracks: row.name for row in describe_characters(plans.characters, "r", "d")}
    assert names == {4: "Ana"}


def test_a_bad_picture_is_used_nowhere_and_the_best_comes_first():
    filmed = Filmed({"a1": 0, "a2": 0, "a3": 0})
    first = references_of(filmed.plan(), "a1")
    [worst] = [id for id in first if id != first[0]][-1:]
    plans = filmed.plan(
        decision("reference", first[0][:2], reference_id=first[0], value="bad"),
        decision("reference", worst[:2], reference_id=worst, value="best"),
    )
    again = references_of(plans, "a1")
    assert again[0] == worst
    assert all(first[0] not in references_of(plans, row.track_id) for row in plans.samples)
    lines = [row for row in plans.ledger.rejects if row.reason == Reason.VETOED]
    assert lines[0].detail.endswith("a person marked it bad")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_chosen_split_takes_the_whole_group(split):
    filmed = Filmed(TWO)
    config = PairConfig(splits=SplitsConfig(train=1.0, validation=0.0, test=0.0))
    wish = decision("split", "a1", value=split)
    plans = filmed.plan(decision("split", "a2", value="train"), wish, config=config)
    found = {plan.track_id: plan.split for plan in plans.samples}
    assert found == {"a1": split, "a2": split, "b1": "train", "b2": "train"}


def test_without_corrections_nothing_changes():
    filmed = Filmed(TWO)
    nothing = filmed.plan(decision("different", "a1 a2", "b1 b2"))
    assert repr(list(filmed.plan().samples)) == repr(list(nothing.samples))
