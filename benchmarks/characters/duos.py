"""Films of two people, who are unlike each other, and wide ones of one person to compare with."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.characters.cast import (
    ACTIONS,
    Film,
    Identity,
    Shot,
    caption_of,
    draw_films,
    identities,
    one,
    shots_of,
)

LEFT_ONE, RIGHT_ONE = "A person on the left", "A person on the right"
SIDES = (0.25, 0.75)  # where the two stand, as shares of the picture's width
_STRIDE = 0.06  # that far to both sides goes who walks, so nobody meets anybody
_UNLIKE = ("hair", "top", "bottom")


def draw_duos(number: int, seed: int, shots: int = 4, num_frames: int = 16) -> list[Film]:
    """Draw wide films of two, everybody in one film. The first n are the same for any number."""
    pairs = zip(range(number), _pairs(seed), strict=False)
    return [_duo(index, *pair, seed, shots, num_frames) for index, pair in pairs]


def draw_wide(number: int, seed: int, shots: int = 4, num_frames: int = 16) -> list[Film]:
    """Draw the films of one person that `draw_films` draws, wide."""
    films = draw_films(number, seed, shots, num_frames)
    return [replace(film, wide=True) for film in films]


def _pairs(seed: int) -> Iterator[tuple[Identity, Identity]]:
    """Yield people two by two who share neither hair, top nor bottom."""
    waiting: list[Identity] = []
    for person in identities(seed):
        partner = next((other for other in waiting if _unlike(other, person)), None)
        if partner is None:
            waiting.append(person)
        else:
            waiting.remove(partner)
            yield partner, person


def _unlike(first: Identity, second: Identity) -> bool:
    return all(getattr(first, name) != getattr(second, name) for name in _UNLIKE)


def _duo(
    index: int, first: Identity, second: Identity, seed: int, shots: int, num_frames: int
) -> Film:
    random = np.random.default_rng((seed, index, 2))
    mine, theirs = [], []
    for shot in shots_of(seed, index, shots, num_frames):
        side = int(random.integers(2))
        mine.append(_does(shot, SIDES[side], random))
        theirs.append(_does(shot, SIDES[1 - side], random))
    name = f"duo{index:05d}"
    return Film(name, first, tuple(mine), second, tuple(theirs), wide=True)


def _does(shot: Shot, place: float, random: np.random.Generator) -> Shot:
    """Return a shot in which somebody does something in this place."""
    action, way = one(random, ACTIONS), one(random, (-1, 1))
    walks = _STRIDE * way if action == "walks" else 0.0
    return replace(
        shot,
        action=action,
        start=round(place - walks, 3),
        end=round(place + walks, 3),
        height=one(random, (0.72, 0.9)),
        facing=way if action == "walks" else int(random.integers(-1, 2)) * (action != "waves"),
        phase=round(float(random.uniform(0, 1)), 3),
    )


def captions_of(film: Film, frame: int) -> list[str]:
    """Say what everybody does, where and in which light, the left one first; not who it is."""
    figures = film.figures(frame)
    if len(figures) == 1:
        return [caption_of(figures[0][1])]
    shots = sorted((shot for _, shot in figures), key=lambda shot: shot.start)
    told = [
        f"{who} {shot.action}, {'near' if shot.height > 0.8 else 'far'}."
        for who, shot in zip((LEFT_ONE, RIGHT_ONE), shots, strict=True)
    ]
    return [*told, f"In {shots[0].light} light."]
