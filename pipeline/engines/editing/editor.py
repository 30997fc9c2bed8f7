"""What an editor of references takes and gives; every editor is one file beside this."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pipeline.engines.editing.edit_prompts import EditPrompt
from pipeline.engines.interfaces import EngineInfo, PersonImage
from schemas.ids import content_id


@dataclass(frozen=True)
class EditRequest:
    """One reference and what it shall become. `attempt` changes the seed and nothing else."""

    reference_id: str
    person: PersonImage = field(repr=False)
    prompt: EditPrompt
    mask: np.ndarray | None = field(default=None, repr=False)  # (H, W) uint8, 255 on the person
    attempt: int = 0

    @property
    def seed(self) -> int:
        """Return the seed, which depends on ids alone."""
        digest = content_id("edit", self.reference_id, self.prompt.id, self.attempt)
        return int(digest[:8], 16) >> 1  # 31 bits


@dataclass(frozen=True)
class Edited:
    """An edited reference of the size of its source, not yet verified."""

    reference_id: str  # of the source
    picture: np.ndarray = field(repr=False)  # (H, W, 3) RGB uint8
    prompt_id: str
    prompt: str
    seed: int
    engine: str


class ReferenceEditor(Protocol):
    """Changes what a reference shows, but not whom."""

    info: EngineInfo

    def edit(self, requests: Sequence[EditRequest]) -> list[Edited]:
        """Return one edit per request, in order."""
        ...
