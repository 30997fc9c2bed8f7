"""Who is seen without a face: told by place and by what is worn, and else nobody's."""

from dataclasses import replace

import numpy as np
import pytest
from rows import WINDOWS, candidate, clip, embedding, track, video

from pipeline.dataset.observed import Observed
from pipeline.engines.identity.spaces import Space, Turned, Worn, join
from pipeline.observing.quality import QualityConfig
from pipeline.observing.tracks import PeopleConfig
from pipeline.pairing.characters import CharactersConfig, find_in_spaces
from pipeline.pairing.duplicates import DuplicatesConfig
from pipeline.pairing.gates import Gates, LicencesConfig, apply_gates
from pipeline.pairing.pair_config import PairConfig
from pipeline.pairing.samples import find_cast, plan_cast
from schemas.reasons import Reason

FACE = 4  # numbers of a face, then as many of what is worn
WORN = Worn(((FACE, 2 * FACE),), least=0.8, margin=0.2, floor=0.65)
CLOTHES = replace(WINDOWS, same_video=0.95, prove=False)
SPACES = (
    Space("face", 0, FACE, WINDOWS),
    Space("body", FACE, 2 * FACE, CLOTHES, WORN),
)
RED, BLUE = [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]
DARK_RED, VIOLET = [0.9, 0.1, 0.42, 0.0], [0.75, 0.66, 0.0, 0.0]


def row(worn, face: int | None = None) -> np.ndarray:
    """Return the vector of somebody whose face is unknown without a number."""
    known = np.zeros((1, FACE), np.float32)
    if face is not None:
        known[0, face] = 1
    block = np.array([worn], np.float32)
    return join([known, block / np.linalg.norm(block)])[0]


def scene(**people):
    """Build a track a second apart in a shot of its own: name -> (vector, start_s)."""
    clips, tracks, embeddings = {}, [], []
    for name, (vector, start_s) in people.items():
        made = clip(f"clip {name}", shot_id=f"shot {name}", start_s=start_s)
        clips[made.clip_id] = made
        tracks.append(track(name, made))
        embeddings.append(embedding(vector, name))
    return tracks, clips, embeddings


def names(rows, config: CharactersConfig | None = None):
    tracks, clips, embeddings = rows
    found, _ = find_in_spaces(tracks, clips, embeddings, SPACES, config)
    return {each.track_id: each.character_id for each in found.tracks}, found


def test_who_turns_away_in_the_next_shot_is_told_by_clothes_that_nobody_else_wears():
    rows = scene(ann=(row(RED, 0), 0), bob=(row(BLUE, 1), 3), back=(row(DARK_RED), 6))
    who, found = names(rows)
    assert who["back"] == who["ann"] != who["bob"]
    assert found.spaces[who["ann"]] == "face body"


@pytest.mark.parametrize(
    "people",
    [
        pytest.param({"ann": (row(RED, 0), 0)}, id="with nobody to compare"),
        pytest.param(
            {"ann": (row(RED, 0), 0), "bob": (row(VIOLET, 1), 3)}, id="others wear nearly the same"
        ),
        pytest.param(
            {"ann": (row(RED, 0), 40), "bob": (row(BLUE, 1), 3)}, id="the same, but much later"
        ),
        pytest.param(
            {"ann": (row(RED), 0), "bob": (row(BLUE, 1), 3)}, id="the same, but no face is known"
        ),
    ],
)
def test_what_is_worn_alone_proves_nobody(people):
    who, _ = names(scene(**people, back=(row(DARK_RED), 6)))
    assert who["back"] != who["ann"]


def test_two_of_one_frame_stay_two_and_what_both_wear_tells_nobody_else_either():
    shared = clip("shared")
    clips = {"shared": shared, "later": clip("later", shot_id="later", start_s=3)}
    tracks = [track("ann", shared, left=50), track("bob", shared, left=500)]
    tracks += [track("cid", clips["later"], left=50), track("back", clips["later"], left=500)]
    vectors = {"ann": row(BLUE, 0), "bob": row(RED, 1), "cid": row(DARK_RED, 2), "back": row(RED)}
    rows = (tracks, clips, [embedding(vector, name) for name, vector in vectors.items()])
    who, _ = names(rows)
    assert who["back"] == who["bob"]
    vectors["cid"] = row([1.0, 0.01, 0.0, 0.0], 2)  # is beside her, and she is not he
    vectors["back"] = row([1.0, 0.02, 0.0, 0.0])
    rows = (tracks, clips, [embedding(vector, name) for name, vector in vectors.items()])
    who, _ = names(rows)
    assert len(set(who.values())) == 4


def test_those_who_may_be_one_are_listed_for_a_person_and_joined_by_no_setting_of_zero():
    rows = scene(ann=(row(RED, 0), 0), bob=(row(VIOLET, 1), 3), back=(row(DARK_RED), 6))
    who, found = names(rows)
    asked = {(each.character_id, each.other_character_id) for each in found.suspects}
    assert (who["back"], who["ann"]) in asked
    sure = scene(ann=(row(RED, 0), 0), bob=(row(BLUE, 1), 3), back=(row(DARK_RED), 6))
    apart, _ = names(sure, CharactersConfig(near_s=0))
    assert apart["back"] != apart["ann"]


def test_who_goes_on_in_the_next_clip_of_the_shot_is_one_person_with_and_without_a_face():
    first, second = clip("one", start_s=0.0), clip("two", start_s=2.0)
    tracks = [track("front", first), track("back", second)]
    embeddings = [embedding(row(RED, 0), "front"), embedding(row(BLUE), "back")]
    who, _ = names((tracks, {"one": first, "two": second}, embeddings))
    assert who["front"] == who["back"]


def test_a_face_turned_away_tells_between_people_whose_clothes_are_alike():
    turned = Turned((0, FACE), (2 * FACE, 3 * FACE), least=0.5, margin=0.15)
    spaces = (SPACES[0], replace(SPACES[1], turned=turned))

    def seen(worn, face=None, side=None):
        blocks = np.zeros((3, 1, FACE), np.float32)
        blocks[1, 0] = np.array(worn) / np.linalg.norm(worn)
        if face is not None:
            blocks[0, 0, face] = 1
        if side is not None:
            blocks[2, 0] = side
        return join(list(blocks))[0]

    def joined(side, worn=RED):
        rows = scene(
            ann=(seen(RED, 0), 0), bob=(seen(DARK_RED, 1), 3), back=(seen(worn, side=side), 6)
        )
        found, _ = find_in_spaces(*rows, spaces)
        who = {each.track_id: each.character_id for each in found.tracks}
        return [name for name in ("ann", "bob") if who[name] == who["back"]]

    assert joined([0.8, 0.2, 0.56, 0.0]) == ["ann"]
    assert joined([0.2, 0.8, 0.56, 0.0]) == ["bob"]
    assert joined([0.6, 0.55, 0.58, 0.0]) == []  # of both a little
    assert joined([0.8, 0.2, 0.56, 0.0], BLUE) == []  # in other clothes
    assert joined(None) == []


def test_faces_that_nearly_agree_join_who_is_clearly_alike_and_wears_about_the_same():
    turned = Turned((0, FACE), (2 * FACE, 3 * FACE), least=0.5, margin=0.15)
    spaces = (SPACES[0], replace(SPACES[1], turned=turned))

    def seen(face, worn=RED):
        blocks = np.zeros((3, 1, FACE), np.float32)
        blocks[0, 0] = np.array(face) / np.linalg.norm(face)
        blocks[1, 0] = np.array(worn) / np.linalg.norm(worn)
        return join(list(blocks))[0]

    def joined(again, bob=(0.0, 1.0, 0.0, 0.0), start_s=6, **worn):
        rows = scene(
            ann=(seen([1.0, 0.0, 0.0, 0.0]), 0),
            bob=(seen(bob), 3),
            again=(seen(again, **worn), start_s),
        )
        found, _ = find_in_spaces(*rows, spaces)
        who = {each.track_id: each.character_id for each in found.tracks}
        return [name for name in ("ann", "bob") if who[name] == who["again"]]

    nearly = WINDOWS.same_video - 0.02
    again = [nearly, 0.0, (1 - nearly**2) ** 0.5, 0.0]
    assert joined(again) == ["ann"]
    assert joined(again, worn=BLUE) == []  # in other clothes
    assert joined(again, start_s=60) == []  # much later
    assert joined(again, bob=(0.0, 0.73, 0.68, 0.0)) == []  # bob is nearly as like (0.55)


def plan(tracks, clips, embeddings, candidates, spare=None):
    embeddings = [*embeddings, *candidates.values()]
    images = [
        candidate(name, next(each for each in tracks if each.track_id == vector.track_id), 100.0)
        for name, vector in candidates.items()
    ]
    cast = find_cast(list(clips.values()), tracks, embeddings, SPACES, spare=spare or {})
    return cast, plan_cast(cast, images, embeddings, PairConfig())


def test_a_back_stands_beside_a_face_and_says_that_clothes_were_compared():
    tracks, clips, embeddings = scene(
        ann=(row(RED, 0), 0), bob=(row(BLUE, 1), 3), back=(row(DARK_RED), 6)
    )
    seen = {"from behind": embedding(row(DARK_RED), "back", "from behind")}
    _, plans = plan(tracks, clips, embeddings, seen)
    [reference] = next(each for each in plans.samples if each.track_id == "ann").references
    assert (reference.reference_id, reference.compared) == ("from behind", "worn")
    assert reference.similarity == pytest.approx(0.9, abs=0.02)
    seen["another coat"] = embedding(row(BLUE), "back", "another coat")
    _, plans = plan(tracks, clips, embeddings, seen)
    [reference] = next(each for each in plans.samples if each.track_id == "ann").references
    assert reference.reference_id == "from behind"


def test_who_is_there_for_too_short_is_a_reference_of_whom_it_is_and_else_refused():
    tracks, clips, embeddings = scene(ann=(row(RED, 0), 0), bob=(row(BLUE, 1), 3))
    for name, face in (("passing", 0), ("stranger", 2)):
        where = clips["clip bob"]
        short = replace(track(name, where, left=600), first_frame=0, coverage=0.3)
        tracks.append(replace(short, boxes=short.boxes[:10], detector="sure/1"))
        embeddings.append(embedding(row(RED, face), name))
    surely = [replace(each, detector="sure/1") for each in tracks]
    observed = Observed(videos=[video()], clips=[*clips.values()], tracks=surely)
    gates = Gates(LicencesConfig(), QualityConfig(), DuplicatesConfig(), PeopleConfig())
    kept = apply_gates(observed, observed.videos, gates)
    assert set(kept.spare) == {"passing", "stranger"}
    images = {"short look": embedding(row(RED, 0), "passing", "short look")}
    cast, plans = plan(kept.tracks, clips, embeddings, images, kept.spare)
    assert cast.found.rejected["stranger"].reason == Reason.TRACK_TOO_SHORT
    chosen = {each.track_id: [r.reference_id for r in each.references] for each in plans.samples}
    assert chosen == {"ann": ["short look"]}


def test_half_a_second_that_stands_still_is_a_reference_all_the_same():
    still = clip("still", motion=0.0)
    assert QualityConfig().check(still)
    assert QualityConfig().check(replace(still, reference_only=True)) is None
