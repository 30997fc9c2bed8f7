"""The characters of a sample, what they are called, and the prompt that calls them so.

A character has a name only where a sample has several: its references read the name, and the
prompt says of whom it speaks. The same sample always has the same names.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.data.draws import seed_of
from trainer.data.hashing import permutation

NAMES = (
    "Anna", "Bob", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Karin",
    "Leo", "Mia", "Noah", "Olga", "Paul", "Rosa", "Simon", "Tara", "Victor", "Wanda", "Yusuf",
    "Amir", "Bella", "Carlos", "Diana", "Elias", "Fatima", "George", "Hanna", "Ivan", "Julia",
)  # fmt: skip
COLUMNS = (
    "description", "others.list.element.description", "others.list.element.first_frame",
    "others.list.element.boxes", "others.list.element.track_id",
    "others.list.element.character_id",
    "others.list.element.references.list.element.image.bytes",
    "others.list.element.references.list.element.mask.bytes",
)  # fmt: skip


class Member(NamedTuple):
    """One character of a sample."""

    name: str  # '' of one who is alone
    row: Mapping[str, Any]  # the sample itself, or one of its `others`

    @property
    def references(self) -> list[dict[str, Any]]:
        return self.row["references"]


def members_of(row: Mapping[str, Any], most: int) -> list[Member]:
    """Return the characters of a sample (plain values) that have references, the main one first."""
    others = [other for other in row.get("others") or () if other["references"]]
    rows = [row, *others][:most]
    if len(rows) == 1:
        return [Member("", row)]
    order = permutation(seed_of(row["sample_id"], "names"), len(NAMES))
    return [Member(NAMES[int(place)], each) for place, each in zip(order, rows, strict=False)]


def prompt_of(row: Mapping[str, Any], members: Sequence[Member]) -> str:
    """Return the caption of a sample, which names its characters if there are several.

    Where the caption says word for word what a character looks like, the name takes the place of
    that; else a sentence says who it is, and on which side where that never changes.

    >>> red = {"description": "A man in red.", "boxes": [[0, 0, 9, 9]], "first_frame": 0}
    >>> blue = {"description": "A man in blue.", "boxes": [[20, 0, 29, 9]], "first_frame": 0}
    >>> row = red | {"caption": "A man in red waves."}
    >>> prompt_of(row, [Member("Anna", row), Member("Bob", blue)])
    'Anna is on the left. Bob is a man in blue, on the right. Anna waves.'
    """
    caption: str = row["caption"]
    if len(members) == 1:
        return caption
    sentences = []
    for member, side in zip(members, sides(members), strict=True):
        told = [side] if side else []
        look = (member.row.get("description") or "").strip().rstrip(".")
        place = caption.lower().find(look.lower()) if look else -1
        if place >= 0:
            caption = caption[:place] + member.name + caption[place + len(look) :]
        elif look:
            told.insert(0, look[0].lower() + look[1:])
        sentences.append(f"{member.name} is {', '.join(told) or 'there'}.")
    return " ".join([*sentences, caption])


def sides(members: Sequence[Member]) -> list[str]:
    """Say on which side each is, '' for all where their order changes or they do not meet."""
    first = max(member.row["first_frame"] for member in members)
    last = min(member.row["first_frame"] + len(member.row["boxes"]) for member in members)
    if last <= first:
        return [""] * len(members)
    middles = []
    for member in members:
        start = first - member.row["first_frame"]
        boxes = np.asarray(member.row["boxes"][start : start + last - first], float)
        middles.append(boxes[:, [0, 2]].mean(1))
    order = np.argsort(np.stack(middles), axis=0)  # (characters, frames)
    if (order != order[:, :1]).any():
        return [""] * len(members)
    words = ["on the left", *["in the middle"] * (len(members) - 2), "on the right"]
    found = [""] * len(members)
    for word, member in zip(words, order[:, 0], strict=True):
        found[int(member)] = word
    return found


def drawn_order(count: int, *where: int | str) -> list[int]:
    """Return the order in which a step takes characters: who is first differs from step to step."""
    return [int(place) for place in permutation(seed_of(*where, "characters"), count)]
