"""Characters: who is who, whatever the order, and never two people in one."""

import random
from dataclasses import replace

import numpy as np
import pytest
from rows import WINDOWS, clip, embedding, looks_like, person, track

from pipeline.pairing.characters import CharactersConfig, find_characters
from pipeline.pairing.linkage import link
from schemas.reasons import Reason


def cast(people: dict[str, tuple[int, str]], cosine: float = 0.95, start_s: float = 0.0):
    """Build one clip, track and vector per name; value: (person number, video)."""
    clips, tracks, embeddings = {}, [], []
    for seed, (name, (number, video)) in enumerate(sorted(people.items())):
        made = clip(f"clip-{name}", video, f"shot-{name}", start_s=start_s + 10.0 * seed)
        clips[made.clip_id] = made
        tracks.append(track(name, made))
        embeddings.append(embedding(looks_like(person(number), cosine, seed), name))
    return clips, tracks, embeddings


def names_of(result) -> dict[str, str]:
    return {row.track_id: row.character_id for row in result.tracks}


def test_tracks_of_one_person_become_one_character_inside_and_across_videos():
    clips, tracks, embeddings = cast(
        {"a1": (0, "x"), "a2": (0, "x"), "a3": (0, "y"), "b1": (1, "x"), "b2": (1, "z")}
    )
    names = names_of(find_characters(tracks, clips, embeddings, WINDOWS))
    assert names["a1"] == names["a2"] == names["a3"]
    assert names["b1"] == names["b2"] != names["a1"]


def test_order_of_the_input_does_not_matter():
    people = {f"t{i:02}": (i % 7, f"video-{i % 4}") for i in range(60)}
    clips, tracks, embeddings = cast(people, cosine=0.9)
    expected = find_characters(tracks, clips, embeddings, WINDOWS)
    for seed in range(3):
        shuffled = random.Random(seed)
        shuffled.shuffle(tracks)
        shuffled.shuffle(embeddings)
        mixed = dict(shuffled.sample(list(clips.items()), len(clips)))
        again = find_characters(tracks, mixed, embeddings, WINDOWS)
        assert again == expected


def test_two_people_in_one_clip_stay_two_even_when_they_look_alike():
    scene = clip("scene")
    left, right = track("left", scene, left=50), track("right", scene, left=500)
    embeddings = [embedding(person(0), "left"), embedding(person(0), "right")]
    names = names_of(find_characters([left, right], {"scene": scene}, embeddings, WINDOWS))
    assert len(set(names.values())) == 2


def test_two_people_in_one_clip_stay_two_when_a_third_video_would_join_them():
    clips, tracks, embeddings = cast({"other": (0, "elsewhere")})
    scene = clip("scene")
    clips["scene"] = scene
    tracks += [track("left", scene, left=50), track("right", scene, left=500)]
    embeddings += [embedding(looks_like(person(0), 0.97, s), s_id) for s, s_id in
                   ((11, "left"), (12, "right"))]  # fmt: skip
    config = CharactersConfig(min_margin=0.0)
    result = find_characters(tracks, clips, embeddings, WINDOWS, config)
    names = names_of(result) | dict.fromkeys(result.rejected, "rejected")
    assert names["left"] != names["right"]


def test_twins_in_one_clip_make_their_other_tracks_ambiguous():
    clips, tracks, embeddings = cast({"later": (0, "video")}, 0.999, start_s=100.0)
    scene = clip("scene")
    clips["scene"] = scene
    tracks += [track("left", scene, left=50), track("right", scene, left=500)]
    embeddings += [embedding(looks_like(person(0), 0.999, 5), "left")]
    embeddings += [embedding(looks_like(person(0), 0.999, 6), "right")]
    result = find_characters(tracks, clips, embeddings, WINDOWS)
    rejected = result.rejected["later"]
    assert rejected.reason == Reason.IDENTITY_AMBIGUOUS
    assert rejected.threshold == CharactersConfig().min_margin
    assert rejected.value is not None
    assert rejected.value < CharactersConfig().min_margin


def test_overlapping_clips_of_one_shot_show_the_same_person_once():
    first, second = clip("one", start_s=0.0), clip("two", start_s=1.0)
    tracks = [track("first", first, left=300), track("second", second, left=300)]
    tracks.append(track("stranger", second, left=600))
    vectors = [embedding(looks_like(person(0), 0.5, 1), "first")]  # too far apart to link by looks
    vectors.append(embedding(looks_like(person(0), 0.5, 2), "second"))
    vectors.append(embedding(looks_like(person(0), 0.5, 1), "stranger"))  # looks just like first
    result = find_characters(tracks, {"one": first, "two": second}, vectors, WINDOWS)
    names = names_of(result) | dict.fromkeys(result.rejected, "rejected")
    assert names["first"] == names["second"] != names["stranger"]


def test_cross_video_links_need_the_cross_video_window():
    clips, tracks, embeddings = cast({"a": (0, "x"), "b": (0, "y")})
    embeddings = [embedding(person(0), "a"), embedding(looks_like(person(0), 0.65, 3), "b")]
    assert len(set(names_of(find_characters(tracks, clips, embeddings, WINDOWS)).values())) == 2
    lower = CharactersConfig(cross_video=0.6)
    found = find_characters(tracks, clips, embeddings, WINDOWS, lower)
    assert len(set(names_of(found).values())) == 1


def test_mixed_recognisers_are_refused_by_name():
    clips, tracks, embeddings = cast({"a": (0, "x"), "b": (0, "y")})
    embeddings[1] = embedding(person(0), "b", recogniser="another/2")
    with pytest.raises(ValueError, match=r"another/2.*test-recogniser/1"):
        find_characters(tracks, clips, embeddings, WINDOWS)


def test_tracks_without_a_usable_vector_are_rejected_not_lost():
    clips, tracks, embeddings = cast({"a": (0, "x"), "b": (0, "x"), "c": (1, "x"), "d": (1, "x")})
    embeddings[1] = embedding(np.zeros(16), "b")
    embeddings[2] = embedding(np.full(16, np.nan), "c")
    result = find_characters(tracks, clips, embeddings[:3], WINDOWS)
    assert [row.track_id for row in result.tracks] == ["a"]
    reasons = {track_id: row.reason for track_id, row in result.rejected.items()}
    assert reasons == dict.fromkeys("bcd", Reason.UNCONFIRMED_PERSON)


def test_no_tracks_are_no_characters():
    result = find_characters([], {}, [], WINDOWS)
    assert (list(result.tracks), dict(result.rejected), result.suspects) == ([], {}, ())


def test_character_of_old_tracks_stays_when_strangers_are_added():
    clips, tracks, embeddings = cast({"a1": (0, "x"), "a2": (0, "y")})
    before = names_of(find_characters(tracks, clips, embeddings, WINDOWS))
    more = cast({"0-new": (3, "x"), "z-new": (4, "y")}, start_s=100.0)
    clips, tracks, embeddings = clips | more[0], tracks + more[1], embeddings + more[2]
    after = names_of(find_characters(tracks, clips, embeddings, WINDOWS))
    assert {name: after[name] for name in before} == before


def test_near_misses_are_listed_for_the_audit():
    clips, tracks, embeddings = cast({"a": (0, "x"), "b": (0, "y")})
    embeddings = [embedding(person(0), "a"), embedding(looks_like(person(0), 0.67, 3), "b")]
    (suspect,) = find_characters(tracks, clips, embeddings, WINDOWS).suspects
    assert suspect.kind == "split"
    assert suspect.similarity == pytest.approx(0.67, abs=1e-5)


def test_windows_outside_the_cosine_range_are_refused():
    with pytest.raises(ValueError, match=r"same_video.*1\.5"):
        CharactersConfig(same_video=1.5)


def slow_link(vectors: np.ndarray, threshold: float, cannot: set[tuple[int, int]]):
    """Average linkage as it is defined: all pairs looked at again after every merge."""
    clusters = [[i] for i in range(len(vectors))]
    while True:
        best = (threshold, -1, -1)
        for i in range(len(clusters)):
            for j in range(i + 1, len(clusters)):
                pairs = [tuple(sorted((a, b))) for a in clusters[i] for b in clusters[j]]
                if cannot & set(pairs):
                    continue
                mean = float(np.mean([vectors[a] @ vectors[b] for a, b in pairs]))
                if mean > best[0]:
                    best = (mean, i, j)
        if best[1] < 0:
            firsts = {row: min(cluster) for cluster in clusters for row in cluster}
            return [firsts[row] for row in range(len(vectors))]
        clusters[best[1]] += clusters.pop(best[2])


@pytest.mark.parametrize("seed", range(5))
def test_linkage_agrees_with_its_definition(seed):
    random_ = np.random.default_rng(seed)
    vectors = random_.standard_normal((4, 8))[random_.integers(0, 4, 40)]
    vectors = vectors + 0.8 * random_.standard_normal(vectors.shape)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    drawn = (sorted(random_.choice(40, 2, replace=False)) for _ in range(30))
    cannot = {(int(a), int(b)) for a, b in drawn}
    assert link(vectors, 0.3, cannot).tolist() == slow_link(vectors, 0.3, cannot)


def in_shot(name: str, start_s: float, left: float, shot: str = "shot"):
    made = clip(f"clip-{name}", "film", shot, start_s=start_s, length_s=5.0)
    return made, track(name, made, left=left)


CLOTHES = replace(WINDOWS, prove=False)


def test_clothes_alone_join_nobody_and_are_listed_as_suspects():
    clips, tracks, embeddings = cast({"a1": (0, "x"), "a2": (0, "x"), "a3": (0, "y")}, 0.99)
    result = find_characters(tracks, clips, embeddings, CLOTHES)
    assert len(set(names_of(result).values())) == 3
    assert {row.kind for row in result.suspects} == {"split"}
    assert not result.rejected


def test_who_stands_where_the_last_clip_of_the_shot_ended_is_the_same_person():
    made = [in_shot("a", 0.0, 50), in_shot("b", 5.0, 60), in_shot("c", 5.0, 500)]
    made.append(in_shot("d", 10.0, 60, "another shot"))
    clips = {each.clip_id: each for each, _ in made}
    tracks = [each for _, each in made]
    embeddings = [
        embedding(looks_like(person(0), 0.99, n), t.track_id) for n, t in enumerate(tracks)
    ]
    names = names_of(find_characters(tracks, clips, embeddings, CLOTHES))
    assert names["a"] == names["b"]
    assert len({names["a"], names["c"], names["d"]}) == 3


@pytest.mark.parametrize(("looks", "characters"), [(2, 2), (3, 1)])
def test_two_looks_do_not_find_somebody_in_another_video(looks, characters):
    clips, tracks, embeddings = cast({"a1": (0, "x"), "a2": (0, "y")})
    embeddings[1] = replace(embeddings[1], num_images=looks)
    names = names_of(find_characters(tracks, clips, embeddings, WINDOWS))
    assert len(set(names.values())) == characters


def test_two_people_of_one_clip_of_whom_one_is_hardly_seen_stay_two():
    scene = clip("scene")
    left, right = track("left", scene, left=50), track("right", scene, left=500)
    seen, hardly = embedding(person(0), "left"), embedding(person(0), "right")
    embeddings = [seen, replace(hardly, num_images=1)]
    names = names_of(find_characters([left, right], {"scene": scene}, embeddings, WINDOWS))
    assert len(set(names.values())) == 2


def test_clothes_join_who_soon_comes_back_to_the_same_place_of_a_shot_and_nobody_else():
    """Two men in black who stood there half a minute apart became one."""
    made = [in_shot("a", 0.0, 50), in_shot("b", 15.0, 60), in_shot("c", 30.0, 500)]
    made += [in_shot("d", 35.0, 60), in_shot("late", 50.0, 60)]
    clips = {each.clip_id: each for each, _ in made}
    tracks = [each for _, each in made]
    who = {"a": 0, "b": 0, "c": 0, "d": 1, "late": 0}  # d wears something else
    embeddings = [
        embedding(looks_like(person(k), 0.99, n), name) for n, (name, k) in enumerate(who.items())
    ]
    names = names_of(find_characters(tracks, clips, embeddings, CLOTHES))
    assert names["a"] == names["b"]
    assert len(set(names.values())) == 4
