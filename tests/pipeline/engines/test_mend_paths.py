"""A path that went over to somebody else is cut there, and each person is whole again."""

import numpy as np
import pytest

from pipeline.engines.people.mend_paths import mend
from pipeline.engines.people.tracker import BoxSource, Path

GREEN, BLUE, RED = np.eye(4, dtype=np.float32)[:3]
EVERY = 4  # looks from one detection to the next


def path(clothes: list[np.ndarray], left: float, first: int = 0) -> Path:
    """Stand at a place; detected at every fourth look, and followed between."""
    made = Path()
    for look in range(EVERY * (len(clothes) - 1) + 1):
        made.add(
            first + look,
            np.array([left, 10, left + 60, 150], np.float32),
            BoxSource.FOLLOWED if look % EVERY else BoxSource.DETECTED,
        )
    made.scores = [0.5 + 0.01 * k for k in range(len(clothes))]
    made.signatures = clothes
    return made


def worn(made: Path) -> list[int]:
    return [int(signature.argmax()) for signature in made.signatures]


def test_two_paths_that_changed_places_are_one_person_each():
    swapped = [path([GREEN] * 3 + [BLUE] * 5, left=20), path([BLUE] * 3 + [GREEN] * 5, left=60)]
    mended = mend(swapped)
    assert sorted(map(worn, mended)) == [[0] * 8, [1] * 8]
    for made in mended:
        assert made.looks == list(range(29))
        assert len(made.boxes) == len(made.sources) == 29
        assert len(made.detections()) == len(made.scores) == 8


def test_one_look_at_the_wrong_person_is_given_back():
    mended = mend([path([BLUE] + [GREEN] * 7, left=20), path([GREEN] + [BLUE] * 7, left=60)])
    assert sorted(map(worn, mended)) == [[0] * 8, [1] * 8]


def test_who_goes_on_in_the_path_of_another_gets_it_back():
    """The first path ends, and the second goes over to its person: two times before, once after."""
    paths = [path([GREEN] * 4, left=20), path([BLUE] * 5 + [GREEN] * 5, left=60)]
    assert sorted(map(worn, mend(paths)), key=len) == [[1] * 5, [0] * 9]
    assert mend(paths)[0].looks == list(range(37))


def test_who_is_alone_stays_one_path_whatever_the_light_does():
    alone = path([GREEN] * 4 + [BLUE] * 4, left=20)
    assert mend([alone]) == [alone]
    far = path([BLUE] * 4 + [GREEN] * 4, left=500)
    assert mend([alone, far]) == [alone, far]


@pytest.mark.parametrize("clothes", [[GREEN] * 8, [GREEN] * 2, [GREEN] * 4 + [RED] * 4])
def test_paths_that_are_right_and_uncertain_ones_are_left_alone(clothes):
    paths = [path(clothes, left=20), path([BLUE] * 8, left=60)]
    assert mend(paths) == paths
