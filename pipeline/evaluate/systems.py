"""The systems that every run measures: the model, and controls that bound its scores.

ground_truth        the real clip: as good as it gets
still_reference     the reference as a video that does not move: what copying scores
other_identity      the real clip of somebody else: what chance scores
shuffled_reference  the model's video against somebody else's reference: what any person scores
"""

from collections.abc import Mapping, Sequence

from schemas.benchmark import Item
from schemas.ids import unit_interval

MODEL = "model"
GROUND_TRUTH, STILL = "ground_truth", "still_reference"
OTHER, SHUFFLED = "other_identity", "shuffled_reference"
CONTROLS = (GROUND_TRUTH, STILL, OTHER, SHUFFLED)
SYSTEMS = (MODEL, *CONTROLS)


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
    items: Sequence[Item], other: Mapping[str, Item], has_model: bool
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
        reasons |= dict.fromkeys((MODEL, SHUFFLED), "no model and no videos were given")
    return reasons
