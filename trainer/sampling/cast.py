"""Characters with names: whom a video is about, and how its prompt calls them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.sampling.layout import Box, check_boxes
from trainer.sampling.model_folder import VideoSize
from trainer.sampling.references import Reference, stack_references

MAX_NAME = 40  # signs
MAX_GUIDANCE = 1000.0
_NAME = re.compile(r"[^\W\d_][\w'-]*")


@dataclass(frozen=True)
class NamedCharacter:
    """A character whom prompts call by a name.

    Attributes:
        name: one word that stands in every prompt, in whatever case.
        pictures: (R, H, W, 3) uint8, each whole on grey.
        guidance: scale of what these pictures add, beside the guidance of all references.
        boxes: where it is, evenly spread over the video; () is not told.
    """

    name: str
    pictures: np.ndarray
    guidance: float = 0.0
    boxes: tuple[Box, ...] = ()


def check_names(names: Sequence[str], prompts: Sequence[str], most: int) -> None:
    """Raise ValueError for names that cannot be told apart, or that a prompt does not say.

    most: characters that the model was trained on at once.
    """
    for name in names:
        if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
            raise ValueError(
                f"a character's name must be one word of letters, at most {MAX_NAME}, got {name!r}"
            )
    folded = [name.casefold() for name in names]
    twice = sorted({name for name in names if folded.count(name.casefold()) > 1})
    if twice:
        raise ValueError(
            f"{' and '.join(twice)} names two characters: give all pictures of one character "
            "together, and another name to the other"
        )
    if len(names) > most:
        raise ValueError(
            f"{len(names)} characters were given, and the model was trained on {most} at once: it "
            "would mix them. Train one with a higher data.characters, or give fewer"
        )
    for prompt in prompts:
        for name in names:
            as_written(name, prompt)


def as_written(name: str, prompt: str) -> str:
    """Return a name as the prompt writes it. Raises ValueError where it does not."""
    found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", prompt, re.IGNORECASE)
    if found is None:
        raise ValueError(
            f"the prompt does not say {name!r}, so nobody in it would be that character: "
            f"{prompt[:80]!r}"
        )
    return found[0]


def check_guidance(guidance: Mapping[str, float], names: Sequence[str]) -> None:
    """Raise ValueError for a scale of nobody, or one that is none."""
    for name, scale in guidance.items():
        if name not in names:
            raise ValueError(
                f"guidance was given for {name!r}, the characters are {', '.join(names) or 'none'}"
            )
        if not 0 <= scale <= MAX_GUIDANCE:
            raise ValueError(
                f"the guidance of {name} must be from 0 to {MAX_GUIDANCE:g}, got {scale:g}"
            )


def named_characters(
    characters: Mapping[str, Reference],
    guidance: Mapping[str, float],
    boxes: Mapping[str, Sequence[Box]],
    size: VideoSize,
) -> list[NamedCharacter]:
    """Return characters with their pictures as training sets them. Raises ValueError."""
    check_guidance(guidance, list(characters))
    if boxes.keys() - characters.keys():
        raise ValueError(f"boxes of {', '.join(boxes)}, the characters are {', '.join(characters)}")
    return [
        NamedCharacter(
            name,
            stack_references(shown, 1, size)[0],
            guidance.get(name, 0.0),
            check_boxes(name, boxes[name]) if name in boxes else (),
        )
        for name, shown in characters.items()
    ]
