"""The identity world: characters who are numbers, so that it is known what was understood of them.

A character is three parts of five numbers each. A picture shows them side by side under a light,
five numbers that are added everywhere, in front of a background that shows the light alone. The
prompt tells the video's light and how the figure moves, never who it is: that stands only in the
reference, which is in another light and another place.

    video (B, 9, F, S, S)   channels 0 to 3: which part a cell is of, background first; 4 to 8: its
                            numbers under the light
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from trainer.data.batch import LatentBatch
from trainer.data.draws import generator_of

PARTS, NUMBERS = 3, 5
LAYOUT = 1 + PARTS  # channels
CHANNELS = LAYOUT + NUMBERS
TEXT_TOKENS, TEXT_DIM = 2, 8
IMAGE_TOKENS, IMAGE_DIM = 4, 8
_LIGHT = 0.7  # standard deviation of a light, where that of a number is 1
_TOLD = 8  # numbers of the fifteen that image tokens hold, mixed: semantics without detail

Origin = Literal["other shots", "clip", "clip augmented"]


@dataclass(frozen=True)
class World:
    """Its sizes.

    Attributes:
        frames: latent frames of a video.
        side: cells of a picture on each side, a multiple of 8.
        references: pictures of the character that a video comes with.
        origin: where these are from: other shots in other light, the clip's own first frame, or
            that under another light and in another place, as augmentation would change it.
    """

    frames: int = 8
    side: int = 8
    references: int = 1
    origin: Origin = "other shots"


@dataclass(frozen=True)
class Scenes:
    """B videos of B characters, and all that is known of them."""

    batch: LatentBatch
    numbers: torch.Tensor  # (B, 9, F, S, S) of the character alone, without light
    figure: torch.Tensor  # (B, 1, F, S, S) 1 where the character is
    light: torch.Tensor  # (B, 5) of the video
    reference_light: torch.Tensor  # (B, 5) of the first reference
    place: torch.Tensor  # (B, 2) of the video's first frame: row and column of the figure's corner
    reference_place: torch.Tensor  # (B, 2)


def draw_scenes(world: World, number: int, seed: int, step: int, device: str = "cpu") -> Scenes:
    """Draw as many characters, each in a video and in pictures; the same for the same numbers."""
    source = generator_of(seed, step, "scenes")
    person = torch.randn(number, PARTS, NUMBERS, generator=source).to(device)
    light = _LIGHT * torch.randn(number, NUMBERS, generator=source).to(device)
    places = _draw_path(world, number, source).to(device)
    video = _pictures(world, person, light[:, None].expand(-1, world.frames, -1), places)
    lights, corners = [], []
    for _ in range(world.references + 1):  # the last is the other picture
        lights.append(_LIGHT * torch.randn(number, NUMBERS, generator=source).to(device))
        corners.append(_draw_path(world, number, source)[:, 0].to(device))
    if world.origin != "other shots":
        lights[0], corners[0] = _of_the_clip(world, light, places[:, 0], lights[0], corners[0])
    pictures = _pictures(world, person, torch.stack(lights, 1), torch.stack(corners, 1))
    batch = LatentBatch(
        step=step,
        places=tuple(range(number)),
        sample_ids=tuple(f"{step}-{row}" for row in range(number)),
        video=video,
        reference=pictures[:, :, :-1],
        other=pictures[:, :, -1:],
        text=_prompt(world, light, places),
        image=_image_tokens(person).repeat(1, world.references, 1),
    )
    dark = torch.zeros(number, world.frames, NUMBERS, device=device)
    return Scenes(
        batch=batch,
        numbers=_pictures(world, person, dark, places),
        figure=1 - video[:, :1],
        light=light,
        reference_light=lights[0],
        place=places[:, 0].float(),
        reference_place=corners[0].float(),
    )


def _draw_path(world: World, number: int, source: torch.Generator) -> torch.Tensor:
    """Return corners (B, F, 2) of a figure that walks to and fro at its own pace."""
    unit = world.side // 8
    rows = torch.randint(0, 2 * unit + 1, (number, 1), generator=source)
    start = torch.randint(0, 4 * unit + 1, (number, 1), generator=source)
    pace = torch.randint(-1, 2, (number, 1), generator=source)
    columns = (start + pace * torch.arange(world.frames)) % (8 * unit)
    columns = torch.minimum(columns, 8 * unit - columns)  # it turns round at the edge
    return torch.stack([rows.expand_as(columns), columns], -1)


def _of_the_clip(
    world: World,
    light: torch.Tensor,
    place: torch.Tensor,
    other_light: torch.Tensor,
    other_place: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return light and place of a reference that is made of the clip's first frame."""
    if world.origin == "clip":
        return light, place
    return light + other_light, other_place


def _pictures(
    world: World, person: torch.Tensor, lights: torch.Tensor, corners: torch.Tensor
) -> torch.Tensor:
    """Draw (B, 9, F, S, S) of characters (B, 3, 5) in lights (B, F, 5) at corners (B, F, 2)."""
    unit = world.side // 8
    cells = torch.arange(world.side, device=corners.device)
    down = (cells - corners[..., :1])[..., :, None]  # (B, F, S, 1) rows below the corner
    right = (cells - corners[..., 1:])[..., None, :]
    inside = (down >= 0) & (down < 6 * unit) & (right >= 0) & (right < 4 * unit)
    part = torch.where(inside, down // (2 * unit) + 1, 0)  # (B, F, S, S); 0 is the background
    layout = F.one_hot(part, LAYOUT).float()
    shown = torch.einsum("bfyxp,bpn->bfyxn", layout[..., 1:], person) + lights[:, :, None, None]
    return torch.cat([layout, shown], -1).permute(0, 4, 1, 2, 3).contiguous()


def _prompt(world: World, light: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Tell the light, and where the figure is at the beginning and at the end: (B, 2, 8)."""
    told = torch.zeros(len(light), TEXT_TOKENS, TEXT_DIM, device=light.device)
    told[:, 0, :NUMBERS] = light
    told[:, 1, :4] = torch.cat([places[:, 0], places[:, -1]], -1) * 8 / world.side - 2
    told[:, 1, -1] = 1
    return told


def _image_tokens(person: torch.Tensor) -> torch.Tensor:
    """Tell of a character what an image encoder would: (B, 4, 8), in no light."""
    mixing = torch.randn(PARTS * NUMBERS, _TOLD, generator=generator_of("image encoder"))
    mixing = mixing.to(person.device)
    told = (person.flatten(1) @ mixing / (PARTS * NUMBERS) ** 0.5).view(
        len(person), IMAGE_TOKENS, -1
    )
    which = torch.eye(IMAGE_TOKENS, device=person.device).expand(len(person), -1, -1)
    rest = IMAGE_DIM - told.shape[-1] - IMAGE_TOKENS
    return F.pad(torch.cat([told, which], -1), (0, rest))


def null_prompt() -> torch.Tensor:
    """Return the empty prompt (1, L, text_dim)."""
    return torch.zeros(1, TEXT_TOKENS, TEXT_DIM)
