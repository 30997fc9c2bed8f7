"""What is measured beside a model, in every run: without bounds a number says nothing.

ground_truth        the real clip: as good as it gets
still_reference     the reference as a video that does not move: what copying earns
other_identity      the real clip of somebody else: what chance earns
shuffled_reference  the model's video against somebody else's reference: what it earns regardless
"""

from collections.abc import Mapping, Sequence

from schemas.benchmark import Item
from schemas.ids import unit_interval

MODEL = "model"
GROUND_TRUTH, STILL = "ground_truth", "still_reference"
OTHER, SHUFFLED = "other_identity", "shuffled_reference"
CONTROLS = (GROUND_TRUTH, STILL, OTHER, SHUFFLED)
SYSTEMS = (MODEL, *CONTROLS)


def somebody_else(items: Sequence[Item], seed: int) -> dict[str, Item]:
    """Return, for every item, an item that shows none of its characters; drawn from ids alone.

    Items for which there is none are left out.
    """
    chosen: dict[str, Item] = {}
    for item in items:
        here = {character.identity for character in item.characters}
        apart = [
            other
            for other in items
            if here.isdisjoint(character.identity for character in other.characters)
        ]
        if apart:
            draw = [unit_interval("other", seed, item.item_id, one.item_id) for one in apart]
            chosen[item.item_id] = apart[draw.index(min(draw))]
    return chosen


def why_left_out(
    items: Sequence[Item], other: Mapping[str, Item], has_model: bool
) -> dict[str, str]:
    """Return why a system is not in this run, by system."""
    told = {}
    if not other:
        reason = "the evaluation set shows one identity only"
        told |= {OTHER: reason, SHUFFLED: reason}
    elif len(other) < len(items):
        reason = f"{len(items) - len(other)} items have no counterpart of another identity"
        told |= {OTHER: reason, SHUFFLED: reason}
    if not has_model:
        told |= dict.fromkeys((MODEL, SHUFFLED), "no model and no videos were given")
    return told
