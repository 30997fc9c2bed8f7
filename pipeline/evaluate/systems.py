"""The systems that every run measures: the model, and controls that bound its scores.

ground_truth        the real clip: as good as it gets
still_reference     the reference as a video that does not move: what copying scores
other_identity      the real clip of somebody else: what chance scores
shuffled_reference  the model's video against somebody else's reference: what any person scores

Videos of further systems are measured beside them, each under a name of its own.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from schemas.benchmark import Item
from schemas.ids import unit_interval

MODEL = "model"
GROUND_TRUTH, STILL = "ground_truth", "still_reference"
OTHER, SHUFFLED = "other_identity", "shuffled_reference"
CONTROLS = (GROUND_TRUTH, STILL, OTHER, SHUFFLED)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def check_name(name: str) -> str:
    """Return the name of a further system. Raises ValueError for one that cannot be its name."""
    if not _NAME.fullmatch(name) or name in (MODEL, *CONTROLS):
        raise ValueError(
            f"--videos NAME=FOLDER: NAME must be up to 40 letters, digits, '.', _ and -, and not "
            f"one of {', '.join((MODEL, *CONTROLS))}; got {name[:60]!r}"
        )
    return name


def in_order(names: Iterable[str]) -> list[str]:
    """Return each system once: the model, others as they come, then the controls."""
    each = list(dict.fromkeys(names))
    named = [name for name in each if name not in (MODEL, *CONTROLS)]
    return [name for name in (MODEL, *named, *CONTROLS) if name in each]


def choose_other_identities(items: Sequence[Item], seed: int) -> dict[str, Item]:
    """Draw for each item another that shows none of its characters; items without one are left out.

    The draw depends on the seed and the items' ids alone.
    """
    chosen: dict[str, Item] = {}
    for item in items:
        identities = {character.identity for character in item.characters}
        candidates = [
            other
            for other in items
            if identities.isdisjoint(character.identity for character in other.characters)
        ]
        if candidates:
            chosen[item.item_id] = min(
                candidates,
                key=lambda other: unit_interval("other", seed, item.item_id, other.item_id),
            )
    return chosen


def why_left_out(
    items: Sequence[Item], other: Mapping[str, Item], has_model: bool, named: bool
) -> dict[str, str]:
    """Return system -> why this run cannot measure it."""
    reasons = {}
    if not other:
        reason = "the evaluation set shows one identity only"
        reasons |= {OTHER: reason, SHUFFLED: reason}
    elif len(other) < len(items):
        reason = f"{len(items) - len(other)} items have no counterpart of another identity"
        reasons |= {OTHER: reason, SHUFFLED: reason}
    if not has_model:
        why = "no model and no videos were given"
        if named:
            why += " without a name"
        reasons |= dict.fromkeys((MODEL, SHUFFLED), why)
    return reasons
