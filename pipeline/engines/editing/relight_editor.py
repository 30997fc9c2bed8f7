"""Edit the light of a reference alone, without a model: the light prompts by arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.engines.editing.edit_prompts import EditPrompt
from pipeline.engines.editing.editor import Edited, EditRequest
from pipeline.engines.interfaces import EngineInfo
from pipeline.pictures.relight import relight
from schemas.ids import unit_interval

# exposure in stops, colour of the light in kelvin, its contrast in stops, its height (0 side, 90
# above). Inside what augmentation draws (pipeline.pairing.augment), except that lamps are warmer.
_LIGHTS = {
    "relit-window/1": (0.2, 7000.0, 1.2, 20.0),
    "relit-noon/1": (0.5, 5800.0, 1.6, 90.0),
    "relit-dusk/1": (-0.2, 4200.0, 1.4, 15.0),
    "relit-overcast/1": (0.35, 7500.0, 0.4, 90.0),
    "relit-lamp/1": (-0.7, 3800.0, 1.6, 50.0),
}
RELIGHTS = tuple(EditPrompt(name, ("light",), "") for name in _LIGHTS)

INFO = EngineInfo(id="relight/1", task="reference_editing", licence="Apache-2.0", commercial=True)


@dataclass(frozen=True)
class RelightEditor:
    """Lights a reference as one of RELIGHTS says, from the left or the right by its seed."""

    info: EngineInfo = field(default=INFO, repr=False)

    def edit(self, requests: Sequence[EditRequest]) -> list[Edited]:
        """Return one relit picture per request; the prompt must be one of RELIGHTS."""
        return [self._edit_one(request) for request in requests]

    def _edit_one(self, request: EditRequest) -> Edited:
        if request.prompt.id not in _LIGHTS:
            known = ", ".join(_LIGHTS)
            raise ValueError(f"the relight editor knows {known}, got {request.prompt.id!r}")
        exposure, kelvin, contrast, height = _LIGHTS[request.prompt.id]
        mirrored = unit_interval("relight", request.seed) < 0.5
        degrees = 180 - height if mirrored else height
        picture = request.person.picture
        mask = request.mask
        if mask is None:
            mask = np.full(picture.shape[:2], 255, np.uint8)
        lit = relight(picture.astype(np.float32) / 255, mask, exposure, kelvin, contrast, degrees)
        return Edited(
            reference_id=request.reference_id,
            picture=np.round(np.clip(lit, 0, 1) * 255).astype(np.uint8),
            prompt_id=request.prompt.id,
            prompt="",
            seed=request.seed,
            engine=self.info.id,
        )
