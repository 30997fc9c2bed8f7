"""Which rows of a batch see which of their conditions: those that training drops, they do not."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

Keep = Sequence[bool] | Sequence[tuple[bool, ...]]  # by row: all of them, or each character


class Seen(NamedTuple):
    """Which of the characters each row of a batch sees."""

    characters: tuple[tuple[bool, ...], ...]  # row by row, known on the host
    some: torch.Tensor  # (B, 1, 1) 0 and 1: whether there is one

    @classmethod
    def of(cls, characters: Sequence[tuple[bool, ...]], device: torch.device) -> "Seen | None":
        """Return None where every row sees all."""
        if all(all(flags) for flags in characters):
            return None
        some = torch.tensor([any(flags) for flags in characters], device=device)
        return cls(tuple(characters), some.view(-1, 1, 1))

    @property
    def or_all(self) -> tuple[tuple[bool, ...], ...]:
        """The same, but a row that sees nobody sees everybody: its result is thrown away."""
        return tuple(flags if any(flags) else (True,) * len(flags) for flags in self.characters)


class ConditionMask(NamedTuple):
    """Which rows of a batch see which condition; None is all of them."""

    references: Seen | None = None
    images: Seen | None = None
    own_images: tuple[Seen | None, ...] = ()  # of each character: do its references see its tokens?


NOTHING_DROPPED = ConditionMask()


def condition_mask(
    reference: Keep | None, image: Keep | None, characters: int, device: torch.device
) -> ConditionMask:
    """Put the masks of dropped rows on the device, once for all blocks."""
    references, images = (
        None if keep is None else [_of_each(row, characters) for row in keep]
        for keep in (reference, image)
    )
    own_images: tuple[Seen | None, ...] = ()
    if images is not None:
        alone = [[(row[number],) for row in images] for number in range(characters)]
        own_images = tuple(Seen.of(flags, device) for flags in alone)
    return ConditionMask(
        references=None if references is None else Seen.of(references, device),
        images=None if images is None else Seen.of(images, device),
        own_images=own_images,
    )


def _of_each(kept: bool | tuple[bool, ...], characters: int) -> tuple[bool, ...]:
    return (kept,) * characters if isinstance(kept, bool) else tuple(kept)
