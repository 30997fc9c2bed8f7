"""Two persons in one picture: does the model know which reference is whose?

The identity world with two figures, each in its own half of a picture twice as wide, on a random
side, and in a light of its own. The layout, given without noise, shows what each figure does, one
of four deeds; the prompt tells of each what it does, in which light, and what it is called. A base
that was trained without references can read the light of each figure where the prompt tells it, as
Wan knows which words are about whom. Which of the two references is whose only its name, its place
or a mask tells, row by row.

    video (B, 13, F, 8, 16)  channels 0 to 3: the part, as with one; 4 to 7: what the figure does;
                             8 to 12: the numbers under the light
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from benchmarks.method.world import NUMBERS, PARTS
from trainer.data.batch import LatentBatch, LatentCharacter
from trainer.data.draws import generator_of

DOES = 4  # numbers of what a figure does
LAYOUT = 1 + PARTS + DOES  # channels that are given without noise
CHANNELS = LAYOUT + NUMBERS
SIDE, HALF = 8, 8  # rows of a picture; columns of a figure's half
TEXT_TOKENS, TEXT_DIM = 2, 16  # numbers of the light, a name and a deed; and that there is one
IMAGE_DIM = 8
_TALL, _WIDE, _PART = 6, 4, 2  # cells of a figure, and rows of each of its parts
_CODE = 5  # numbers of a name
_LIGHT = 0.7

Told = Literal["nothing", "place", "name", "mask"]


@dataclass(frozen=True)
class PairWorld:
    """How many persons there are, and what tells which reference is whose.

    Attributes:
        frames: latent frames of a video.
        persons: 1 or 2 in a picture.
        told: name: a code, drawn for every video, that stands in the prompt and is read by the
            references; place: the codes in the prompt are always the same two, in the order of the
            references, which read none; mask: no code, but the references show the deed of their
            figure; nothing.
    """

    frames: int = 1
    persons: int = 2
    told: Told = "name"


@dataclass(frozen=True)
class PairScenes:
    """B videos, and all that is known of them. P persons."""

    batch: LatentBatch
    persons: torch.Tensor  # (B, P, 3, 5)
    figures: torch.Tensor  # (B, P, 4, F, S, W) which cells show which part, background first
    lights: torch.Tensor  # (B, P, 5) of each figure


def draw_pairs(world: PairWorld, number: int, seed: int, step: int) -> PairScenes:
    """Draw as many videos; the same for the same numbers."""
    source = generator_of(seed, step, "pairs")
    persons = torch.randn(number, world.persons, PARTS, NUMBERS, generator=source)
    lights = _LIGHT * torch.randn(number, world.persons, NUMBERS, generator=source)
    codes = F.normalize(torch.randn(number, world.persons, _CODE, generator=source), dim=-1)
    if world.told == "place":
        codes = torch.eye(_CODE)[: world.persons].expand_as(codes)
    halves = torch.rand(number, 2, generator=source).argsort(1)[:, : world.persons]
    corners = _walk(number, world, halves, source)
    figures = torch.stack([_figure(corners[:, p]) for p in range(world.persons)], 1)
    which = torch.rand(number, DOES, generator=source).argsort(1)[:, : world.persons]
    deeds = F.one_hot(which, DOES).float()
    video = _shown(figures, persons, lights, deeds)
    marks = deeds * (world.told == "mask")
    pictures = [_reference(persons, person, marks, source) for person in range(world.persons)]
    other = _reference(persons, 0, marks, source)
    names = [_name(codes[:, person]) for person in range(world.persons)]
    image = torch.zeros(number, 1, IMAGE_DIM)
    named = world.persons > 1 and world.told == "name"
    inside = figures[:, :, 1:].sum(2)
    batch = LatentBatch(
        step=step,
        places=tuple(range(number)),
        sample_ids=tuple(f"{step}-{row}" for row in range(number)),
        video=video,
        reference=pictures[0],
        other=other,
        text=_prompt(lights, deeds, codes, world.told),
        image=image,
        name=names[0] * named,
        characters=tuple(
            LatentCharacter(picture, image, name * named, (True,) * number)
            for picture, name in zip(pictures[1:], names[1:], strict=True)
        ),
        mentions=torch.eye(world.persons, TEXT_TOKENS).expand(number, -1, -1),
        boxes=inside,
    )
    return PairScenes(batch, persons, figures, lights)


def _walk(
    number: int, world: PairWorld, halves: torch.Tensor, source: torch.Generator
) -> torch.Tensor:
    """Return corners (B, P, F, 2) of figures that walk to and fro, each in its half."""
    shape = (number, world.persons)
    rows = torch.randint(0, SIDE - _TALL + 1, shape, generator=source)
    start = torch.randint(0, HALF - _WIDE + 1, shape, generator=source)
    pace = torch.randint(-1, 2, shape, generator=source)
    room = HALF - _WIDE
    columns = (start[..., None] + pace[..., None] * torch.arange(world.frames)) % (2 * room)
    columns = torch.minimum(columns, 2 * room - columns) + HALF * halves[..., None]
    return torch.stack([rows[..., None].expand_as(columns), columns], -1)


def _figure(corners: torch.Tensor, columns: int = 2 * HALF) -> torch.Tensor:
    """Return which part every cell shows (B, 4, F, S, W), of a figure at corners (B, F, 2)."""
    down = (torch.arange(SIDE) - corners[..., :1])[..., :, None]
    right = (torch.arange(columns) - corners[..., 1:])[..., None, :]
    inside = (down >= 0) & (down < _TALL) & (right >= 0) & (right < _WIDE)
    part = torch.where(inside, down // _PART + 1, 0)
    return F.one_hot(part, 1 + PARTS).permute(0, 4, 1, 2, 3).float()


def _shown(
    figures: torch.Tensor, persons: torch.Tensor, lights: torch.Tensor, deeds: torch.Tensor
) -> torch.Tensor:
    """Draw (B, 13, F, S, W) of persons (B, P, 3, 5) with deeds (B, P, 4) in lights (B, P, 5)."""
    parts = figures[:, :, 1:].sum(1)
    background = 1 - parts.sum(1, keepdim=True)
    does = torch.einsum("bpfyx,bpd->bdfyx", figures[:, :, 1:].sum(2), deeds)
    lit = persons + lights[:, :, None]
    numbers = torch.einsum("bpkfyx,bpkn->bnfyx", figures[:, :, 1:], lit)
    return torch.cat([background, parts, does, numbers], 1)


def _reference(
    persons: torch.Tensor, person: int, deeds: torch.Tensor, source: torch.Generator
) -> torch.Tensor:
    """Draw one of the persons alone, (B, 13, 1, 8, 8), in a light and at a place of its own."""
    number = len(persons)
    corner = torch.stack(
        [
            torch.randint(0, SIDE - _TALL + 1, (number,), generator=source),
            torch.randint(0, HALF - _WIDE + 1, (number,), generator=source),
        ],
        -1,
    )
    figure = _figure(corner[:, None], HALF)
    light = _LIGHT * torch.randn(number, 1, NUMBERS, generator=source)
    only = slice(person, person + 1)
    return _shown(figure[:, None], persons[:, only], light, deeds[:, only])


def _name(code: torch.Tensor) -> torch.Tensor:
    """Return a name alone, (B, 1, 16), as the prompt has it without what it says of the person."""
    return F.pad(code, (NUMBERS, TEXT_DIM - NUMBERS - _CODE))[:, None]


def _prompt(
    lights: torch.Tensor, deeds: torch.Tensor, codes: torch.Tensor, told: Told
) -> torch.Tensor:
    """Tell of each figure its light, what it is called and what it does: (B, 2, 16)."""
    prompt = torch.zeros(len(lights), TEXT_TOKENS, TEXT_DIM)
    for person in range(codes.shape[1]):
        if told in ("name", "place"):
            prompt[:, person, NUMBERS : NUMBERS + _CODE] = codes[:, person]
        prompt[:, person, NUMBERS + _CODE : NUMBERS + _CODE + DOES] = deeds[:, person]
        prompt[:, person, -1] = 1
        prompt[:, person, :NUMBERS] = lights[:, person]
    return prompt


def null_prompt() -> torch.Tensor:
    """Return the empty prompt (1, L, text_dim)."""
    return torch.zeros(1, TEXT_TOKENS, TEXT_DIM)
