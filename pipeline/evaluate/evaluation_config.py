"""The settings of an evaluation."""

from dataclasses import dataclass
from typing import Literal

from pipeline.evaluate.protocols import find_protocol
from schemas.settings import check_settings, setting


@dataclass(frozen=True)
class EvaluationConfig:
    """How videos are measured.

    Attributes:
        protocols: names of protocols, each reported by itself.
        engines: preset of face detector and recogniser.
        dino: folder of a DINO model; '' takes the one that CONTEXTANYONE_DINO names, if any.
        clip: folder of a CLIP model; '' takes the one that CONTEXTANYONE_CLIP names, if any.
        gme: folder of a GME-Qwen2-VL; '' takes the one that CONTEXTANYONE_GME names, if any.
        seed: of the intervals, and of the draw of other identities.
    """

    protocols: tuple[str, ...] = setting(("contextanyone",), least=1)
    engines: Literal["embedded", "production", "permissive"] = "embedded"
    dino: str = ""
    clip: str = ""
    gme: str = ""
    seed: int = setting(0, low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        check_settings(self, "evaluation")
        for name in self.protocols:
            find_protocol(name)
