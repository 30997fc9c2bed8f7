"""Two drawn people in one film: who is where, unlike each other, and measured apart."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.characters import pairs
from benchmarks.characters.cast import Film, draw_films
from benchmarks.characters.draw import GROUND, SIDE, draw_frame, width_of
from benchmarks.characters.duos import LEFT_ONE, RIGHT_ONE, captions_of, draw_duos, draw_wide
from benchmarks.characters.engines import unlit
from benchmarks.characters.items import EDGE
from benchmarks.characters.pair_items import Person, Scene, exchanged, labels_at
from benchmarks.characters.pair_measure import measure_people
from benchmarks.characters.pair_table import write_pair_table
from benchmarks.characters.truth import Truth, boxes_of, labels_of, write_films
from trainer.data.cast import Member, prompt_of

FRAMES = (1, 2, 3)


@pytest.fixture(scope="module")
def duos() -> list[Film]:
    return draw_duos(12, seed=0)


def scene_of(film: Film) -> Scene:
    figures = film.figures(FRAMES[0])
    people = [
        Person(f"Who{at}", at, who, shot, np.zeros((4, 4, 3), np.uint8), ())
        for at, (who, shot) in enumerate(figures)
    ]
    blank = np.zeros((len(FRAMES), 64, 96, 3), np.uint8)
    return Scene(film, FRAMES, "", tuple(people), blank, labels_at(film, FRAMES, 64, 96))


def drawn(scene: Scene) -> np.ndarray:
    own = replace(scene.film, identity=scene.people[1].identity, second=scene.people[0].identity)
    return exchanged(replace(scene, film=own))  # exchanged twice


def test_films_of_one_person_are_what_they_were_before_there_were_two():
    digest = hashlib.sha256()
    for film in draw_films(6, seed=0):
        digest.update(json.dumps(film.to_json()).encode())
        for number in (0, 7, 20, 40, 63):
            for drawn in draw_frame(film, number):
                digest.update(drawn.tobytes())
    assert digest.hexdigest()[:16] == "d401d8836b42c761"


def test_two_of_a_film_are_unlike_and_everybody_is_in_one_film(duos):
    for film in duos:
        first, second = film.cast
        for name in ("hair", "top", "bottom"):
            assert getattr(first, name) != getattr(second, name)
    assert len({who for film in duos for who in film.cast}) == 2 * len(duos)
    assert duos[:3] == draw_duos(3, seed=0)
    assert Film.from_json(json.loads(json.dumps(duos[0].to_json()))) == duos[0]
    wide = draw_wide(1, seed=0)[0]
    assert Film.from_json(json.loads(json.dumps(wide.to_json()))) == wide
    assert wide.identity == draw_films(1, seed=0)[0].identity


def test_the_two_change_sides_and_never_meet(duos):
    lefts = set()
    for film in duos:
        for number in (0, 15, 16, 31, 48, 63):
            boxes = boxes_of(draw_frame(film, number)[1], 2)
            left, right = boxes[np.argsort(boxes[:, 0])]
            assert left[2] < right[0]
            assert right[2] <= width_of(film) == SIDE * 3 // 2
            lefts.add(int(np.argmin(boxes[:, 0])))
    assert lefts == {0, 1}


def test_labels_of_one_leave_the_other_to_nobody(duos):
    labels = draw_frame(duos[0], 3)[1]
    mine, theirs = (labels_of(labels, who, EDGE) for who in (0, 1))
    figure = (mine != GROUND) & (mine != EDGE)
    assert (theirs[figure] == EDGE).all()
    assert ((mine == GROUND) == (labels == GROUND)).all()


def test_a_prompt_names_both_with_their_side_and_nothing_of_their_looks(duos):
    film = duos[0]
    caption = " ".join(captions_of(film, 0))
    boxes = boxes_of(draw_frame(film, 0)[1], 2)
    left_first = boxes[0, 0] < boxes[1, 0]
    words = (LEFT_ONE, RIGHT_ONE) if left_first else (RIGHT_ONE, LEFT_ONE)
    rows = [
        {"description": word, "boxes": [box.tolist()], "first_frame": 0, "caption": caption}
        for word, box in zip(words, boxes, strict=True)
    ]
    prompt = prompt_of(rows[0], [Member("Anna", rows[0]), Member("Bob", rows[1])])
    sides = ("left", "right") if left_first else ("right", "left")
    assert prompt.startswith(f"Anna is on the {sides[0]}. Bob is on the {sides[1]}. ")
    assert prompt.count("Anna") == prompt.count("Bob") == 2
    assert "person" not in prompt
    told = {who.top for who in film.cast} | {who.hair for who in film.cast}
    assert not told & set(prompt.lower().replace(",", "").replace(".", "").split())


def test_both_boxes_of_a_frame_are_found_again(tmp_path, duos):
    films = draw_duos(2, seed=0, shots=2, num_frames=3)
    write_films(films, tmp_path)
    truth = Truth.read(tmp_path)
    picture, labels = draw_frame(films[1], 4)
    place = truth.find(picture)
    film, number = truth.place(place)
    assert film == films[1]
    assert np.abs(truth.boxes[place] - boxes_of(draw_frame(film, number)[1], 2)).max() < 0.01
    assert boxes_of(labels, 2).shape == (2, 4)


def test_clothes_are_the_same_in_any_light():
    bands = np.array([[200, 120, 60], [90, 140, 180], [60, 60, 200], [30, 90, 40]], float)
    other = bands[[2, 1, 0, 3]]
    dim = bands * (0.6, 0.7, 0.8)
    assert unlit(bands) @ unlit(dim) > 0.95
    assert unlit(bands) @ unlit(other) < 0.5


def test_a_swap_is_seen_in_every_figure_and_only_there(duos):
    for film in duos[:4]:
        scene = scene_of(film)
        real = drawn(scene)
        assert [one["swapped"] for one in measure_people(scene, real, real)] == [0, 0]
        assert [one["correct"] for one in measure_people(scene, real, real)] == [1, 1]
        turned = measure_people(scene, exchanged(scene), real)
        assert [one["swapped"] for one in turned] == [1, 1]


def test_the_table_sets_two_beside_one(tmp_path):
    def figures(*values: float, **more: float) -> list[dict]:
        return [{"film": str(at), "measures": {"correct": value, "error": 0.1} | more}
                for at, value in enumerate(values)]  # fmt: skip

    (tmp_path / "one.json").write_text(json.dumps({"sampled_words": figures(0.8, 0.8)}))
    two = {"sampled_words": figures(0.5, 0.94, swapped=0.0)}
    (tmp_path / "two.json").write_text(json.dumps(two))
    table = write_pair_table(tmp_path, tmp_path)
    assert "| one person, sampled | 0.80 ±0.00 | – |" in table
    [line] = [line for line in table.splitlines() if line.startswith("| two, sampled, words")]
    assert "| 90% |" in line
    assert "| 0.000 ±0.000 | 2 |" in line


def test_both_rows_are_trained_alike_but_for_the_people():
    one, two = pairs.settings("one"), pairs.settings("two")
    assert two == (*one, "data.characters=2")
    assert "data.buckets=[64x96x9]" in one
    assert len({name.split("=")[0] for name in one}) == len(one)
