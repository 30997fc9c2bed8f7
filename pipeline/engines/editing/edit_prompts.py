"""What a reference is edited to show: another action or view, in another light or place.

No prompt speaks of what identity is made of: clothes, hair, age, skin, body. Ids are stored with
the edits; a prompt whose words change gets a new number.
"""

import itertools
from dataclasses import dataclass

from schemas.ids import unit_interval

KEEP = (
    "Keep the same person with exactly the same face, hair, skin, age and body, and every garment "
    "and accessory with its colours. One person only, a natural photograph."
)


@dataclass(frozen=True)
class EditPrompt:
    """One change, or two joined."""

    id: str  # e.g. "walks/1", joined "walks/1+dusk/1"
    kinds: tuple[str, ...]  # action | view | light | background
    change: str

    @property
    def text(self) -> str:
        """Return the whole instruction."""
        return f"{self.change} {KEEP}"


def _bank(kind: str, changes: dict[str, str]) -> tuple[EditPrompt, ...]:
    return tuple(EditPrompt(f"{name}/1", (kind,), text) for name, text in changes.items())


ACTIONS = _bank(
    "action",
    {
        "walks": "Show this person walking towards the camera.",
        "sits": "Show this person sitting on a chair.",
        "turns": "Show this person looking back over one shoulder.",
        "waves": "Show this person waving with one hand.",
        "talks": "Show this person talking, mouth slightly open.",
        "laughs": "Show this person laughing.",
        "thinks": "Show this person looking down in thought.",
        "points": "Show this person pointing to the side.",
        "reads": "Show this person reading a book.",
        "leans": "Show this person leaning against a wall with folded arms.",
    },
)
VIEWS = _bank(
    "view",
    {
        "left": "Show this person from the front left, the head turned to the left.",
        "right": "Show this person from the front right, the head turned to the right.",
        "profile": "Show this person from the side.",
        "above": "Show this person from slightly above.",
        "below": "Show this person from slightly below.",
        "farther": "Show this person from farther away, with more of the surroundings.",
    },
)
LIGHTS = _bank(
    "light",
    {
        "window": "Light the scene softly through a large window on one side.",
        "noon": "Light the scene with hard sun from above.",
        "dusk": "Light the scene with low, warm evening sun.",
        "overcast": "Light the scene with the even light of a cloudy day.",
        "lamp": "Light the scene at night with one warm lamp.",
        "backlight": "Light the scene from behind, with a bright rim of light.",
    },
)
BACKGROUNDS = _bank(
    "background",
    {
        "studio": "Change the background to a plain grey studio wall.",
        "street": "Change the background to a city street.",
        "park": "Change the background to a park with trees.",
        "room": "Change the background to a living room.",
        "cafe": "Change the background to the inside of a café.",
        "beach": "Change the background to a beach.",
        "office": "Change the background to an office.",
        "platform": "Change the background to the platform of a railway station.",
    },
)
BANK = (*ACTIONS, *VIEWS, *LIGHTS, *BACKGROUNDS)


def join(first: EditPrompt, second: EditPrompt) -> EditPrompt:
    """Return one prompt that asks for both changes."""
    return EditPrompt(
        f"{first.id}+{second.id}",
        (*first.kinds, *second.kinds),
        f"{first.change} {second.change}",
    )


def draw_prompts(reference_id: str, number: int) -> list[EditPrompt]:
    """Return up to `number` joined prompts, drawn from the reference's id alone.

    Each joins an action or view with a light or background; no part comes twice while unused
    ones are left.
    """
    moves = _shuffled(reference_id, (*ACTIONS, *VIEWS))
    scenes = _shuffled(reference_id, (*LIGHTS, *BACKGROUNDS))
    pairs = zip(itertools.cycle(moves), itertools.cycle(scenes), strict=False)
    drawn: list[EditPrompt] = []
    for move, scene in itertools.islice(pairs, len(moves) * len(scenes)):
        if len(drawn) == number:
            break
        prompt = join(move, scene)
        if prompt not in drawn:
            drawn.append(prompt)
    return drawn


def _shuffled(reference_id: str, prompts: tuple[EditPrompt, ...]) -> list[EditPrompt]:
    return sorted(prompts, key=lambda prompt: unit_interval("edit", reference_id, prompt.id))
