"""Who is drawn, and in which shots: every video is a pure function of a seed and its number."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

_T = TypeVar("_T")
Colour = tuple[int, int, int]

SKINS: dict[str, Colour] = {
    "pale": (250, 220, 196),
    "light": (230, 186, 150),
    "tan": (196, 144, 104),
    "brown": (140, 94, 62),
    "dark": (88, 58, 42),
}
HAIRS: dict[str, Colour] = {
    "black": (30, 26, 26),
    "brown": (104, 64, 34),
    "blond": (228, 194, 100),
    "red": (196, 80, 30),
    "grey": (172, 172, 178),
    "blue": (58, 90, 196),
    "green": (60, 152, 84),
    "pink": (234, 124, 174),
}
TOPS: dict[str, Colour] = {
    "red": (214, 48, 44),
    "orange": (240, 140, 40),
    "yellow": (240, 214, 60),
    "green": (50, 160, 76),
    "teal": (40, 164, 172),
    "blue": (46, 88, 204),
    "purple": (132, 66, 180),
    "pink": (240, 132, 182),
    "white": (240, 240, 240),
    "black": (38, 38, 42),
}
BOTTOMS: dict[str, Colour] = {
    "navy": (36, 46, 104),
    "black": (38, 36, 40),
    "grey": (134, 134, 140),
    "brown": (122, 80, 50),
    "beige": (216, 192, 152),
    "olive": (98, 116, 54),
    "red": (176, 42, 52),
    "white": (236, 236, 232),
}
ACCENTS: dict[str, Colour] = {
    "red": (220, 40, 40),
    "yellow": (244, 210, 50),
    "green": (40, 150, 70),
    "blue": (40, 80, 210),
    "purple": (140, 60, 180),
    "white": (242, 242, 242),
}
PALETTES = {"hair": HAIRS, "top": TOPS, "bottom": BOTTOMS, "accessory": ACCENTS}
HAIR_STYLES = ("short", "long", "bun", "spiky")
PATTERNS = ("plain", "stripes", "dots")
BOTTOM_KINDS = ("trousers", "shorts", "skirt")
ACCESSORIES = ("none", "hat", "scarf", "bag", "glasses")
COLOURED = ("hat", "scarf", "bag")  # accessories large enough to have a colour of their own

ACTIONS = ("walks", "stands", "waves")
CAMERAS = ("still", "pan", "zoom")
GROUNDS = ("hills", "houses", "trees", "room")
# gains of red, green and blue, and how much brighter the left side is than the right
LIGHTS: dict[str, tuple[float, float, float]] = {
    "bright": (1.08, 1.08, 1.06),
    "dim": (0.62, 0.63, 0.66),
    "warm": (1.08, 0.93, 0.74),
    "cool": (0.78, 0.92, 1.08),
}
PLACES = (0.32, 0.5, 0.68)  # of the figure, as a share of the picture's width


@dataclass(frozen=True)
class Identity:
    """What stays when everything else changes."""

    skin: str
    hair: str
    hair_style: str
    top: str
    top_pattern: str
    bottom: str
    bottom_kind: str
    accessory: str
    accent: str  # colour of the accessory
    build: float  # width, 1 is average

    def name_of(self, region: str) -> str:
        """Return the name of a region's colour, as in PALETTES."""
        return self.accent if region == "accessory" else getattr(self, region)

    def regions(self) -> tuple[str, ...]:
        """Return the regions that have a colour to be judged."""
        return tuple(PALETTES) if self.accessory in COLOURED else tuple(PALETTES)[:3]


@dataclass(frozen=True)
class Shot:
    """What changes from shot to shot."""

    action: str
    start: float  # of the figure's middle across the picture
    end: float
    height: float  # of the figure, as a share of the picture
    facing: int  # -1 left, 0 to the camera, 1 right
    camera: str
    travel: float  # of the camera: pictures panned, or octaves zoomed
    light: str
    side: float  # how much brighter the left side is
    ground: str
    ground_seed: int
    phase: float  # of the steps
    num_frames: int


@dataclass(frozen=True)
class Film:
    """One video: one identity, or two, in several shots, cut hard."""

    name: str
    identity: Identity
    shots: tuple[Shot, ...]
    second: Identity | None = None  # who is seen beside the first, all the time
    second_shots: tuple[Shot, ...] = ()  # of which only what the figure does counts
    wide: bool = False  # 3:2 instead of square

    def to_json(self) -> dict[str, Any]:
        told = asdict(self)
        if self.second is None:
            del told["second"], told["second_shots"]
        if not self.wide:
            del told["wide"]
        return told

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "Film":
        shots = tuple(Shot(**shot) for shot in raw["shots"])
        film = cls(raw["name"], Identity(**raw["identity"]), shots, wide=raw.get("wide", False))
        if "second" not in raw:
            return film
        others = tuple(Shot(**shot) for shot in raw["second_shots"])
        return replace(film, second=Identity(**raw["second"]), second_shots=others)

    @property
    def cast(self) -> tuple[Identity, ...]:
        """Who is seen."""
        return (self.identity,) if self.second is None else (self.identity, self.second)

    def figures(self, frame: int) -> list[tuple[Identity, Shot]]:
        """Return everybody in a frame of the video, and what each does."""
        shot, _ = self.place(frame)
        found = [(self.identity, shot)]
        if self.second is not None:
            found.append((self.second, self.second_shots[self.shots.index(shot)]))
        return found

    def place(self, frame: int) -> tuple[Shot, int]:
        """Return the shot of a frame of the video, and the frame's number in it."""
        for shot in self.shots:
            if frame < shot.num_frames:
                return shot, frame
            frame -= shot.num_frames
        raise ValueError(f"{self.name} ends {frame} frames before")


def draw_films(number: int, seed: int, shots: int = 4, num_frames: int = 16) -> list[Film]:
    """Draw films of as many different identities. The first n are the same for any number."""
    made = zip(range(number), identities(seed), strict=False)
    return [
        Film(f"film{index:05d}", identity, tuple(shots_of(seed, index, shots, num_frames)))
        for index, identity in made
    ]


def identities(seed: int) -> Iterator[Identity]:
    """Yield identities, no two of which share hair, top, bottom and accessory."""
    seen = set()
    for index in itertools.count():
        random = np.random.default_rng((seed, index, 0))
        identity = Identity(
            skin=one(random, tuple(SKINS)),
            hair=one(random, tuple(HAIRS)),
            hair_style=one(random, HAIR_STYLES),
            top=one(random, tuple(TOPS)),
            top_pattern=one(random, PATTERNS),
            bottom=one(random, tuple(BOTTOMS)),
            bottom_kind=one(random, BOTTOM_KINDS),
            accessory=one(random, ACCESSORIES),
            accent=one(random, tuple(ACCENTS)),
            build=round(float(random.uniform(0.85, 1.2)), 2),
        )
        key = (identity.hair, identity.hair_style, identity.top, identity.top_pattern)
        key += (identity.bottom, identity.accessory, identity.accent)
        if key not in seen:
            seen.add(key)
            yield identity


def shots_of(seed: int, index: int, number: int, num_frames: int) -> Iterator[Shot]:
    """Yield shots of one identity, neighbours in other light and before another ground."""
    random = np.random.default_rng((seed, index, 1))
    lights = [str(name) for name in random.permutation(tuple(LIGHTS))]
    grounds = [str(name) for name in random.permutation(GROUNDS)]
    for shot in range(number):
        action = one(random, ACTIONS)
        start = one(random, PLACES)
        end = one(random, [place for place in PLACES if place != start])
        camera = one(random, CAMERAS)
        facing = 0 if action == "waves" else int(np.sign(end - start))
        yield Shot(
            action=action,
            start=start,
            end=end if action == "walks" else start,
            height=one(random, (0.72, 0.9)),
            facing=facing if action == "walks" else int(random.integers(-1, 2)),
            camera=camera,
            travel=0.0 if camera == "still" else one(random, (-0.25, 0.25)),
            light=lights[shot % len(lights)],
            side=round(float(random.uniform(-0.12, 0.12)), 3),
            ground=grounds[shot % len(grounds)],
            ground_seed=int(random.integers(2**31)),
            phase=round(float(random.uniform(0, 1)), 3),
            num_frames=num_frames,
        )


def one(random: np.random.Generator, choices: Sequence[_T]) -> _T:
    return choices[int(random.integers(len(choices)))]


def caption_of(shot: Shot) -> str:
    """Say what happens, where and in which light, and nothing of who it is."""
    place = {PLACES[0]: "left", PLACES[1]: "middle", PLACES[2]: "right"}
    size = "near" if shot.height > 0.8 else "far"
    if shot.action == "walks":
        what = f"walks from the {place[shot.start]} to the {place[shot.end]}"
    else:
        what = f"{shot.action} on the {place[shot.start]}"
    return f"A person {what}, {size}, in {shot.light} light."
