"""Score pictures by image classifiers through transformers: unsafe for work, watermarked."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipeline.engines.interfaces import EngineInfo, EngineNeeds, Picture
from pipeline.engines.model_folders import find_model_folder, folder_digest
from pipeline.execution.device import choose_device

# Licence, and whether it allows commercial use, of models by their hub's names.
_LICENCES = {"Falconsai/nsfw_image_detection": ("Apache-2.0", True)}


@dataclass
class ClassifierScorer:
    """The probability of one label, or of several together; subclasses say which.

    Attributes:
        folder: of the model, or its hub's name; '' asks the environment.
        batch: pictures at once.
    """

    needs = EngineNeeds(packages=("transformers", "torch"), gpu=True)

    folder: str = ""
    batch: int = 32
    device: str = ""  # cuda, cpu, or '' to choose
    info: EngineInfo = field(init=False, repr=False)
    _model: Any = field(init=False, repr=False)
    _chosen: list[int] = field(init=False, repr=False)
    name: ClassVar[str]
    default: ClassVar[str]
    wanted: ClassVar[re.Pattern]  # labels that count
    opposite: ClassVar[re.Pattern]  # of those, labels that say the reverse

    def __post_init__(self) -> None:
        named, folder = self._find(self.folder)
        self.device = self.device or choose_device()
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        self._processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForImageClassification.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        self._model = model.to(self.device).eval()
        self._chosen = self._labels(model.config.id2label)
        licence, commercial = _LICENCES.get(named, ("not stated", False))
        self.info = EngineInfo(
            id=f"classifier-{self.name}/1:{named.rpartition('/')[2]}",
            task=f"{self.name}_scoring",
            licence=licence,
            commercial=commercial,
            weights_digest=folder_digest(folder),
            gpu=True,
        )

    @classmethod
    def weights_identity(cls) -> str:
        """Return which weights would be read, without reading them into a model."""
        return folder_digest(cls._find("")[1])

    @classmethod
    def _find(cls, folder: str) -> tuple[str, Path]:
        variable = f"CONTEXTANYONE_SCORE_{cls.name.upper()}"
        named = folder or os.environ.get(variable, "") or cls.default
        instead = f"{variable} names another; or leave {cls.name} out of observe.engines.scorers."
        return named, find_model_folder(named, instead)

    def _labels(self, labels: Mapping[int, str]) -> list[int]:
        chosen = [
            int(number)
            for number, label in labels.items()
            if self.wanted.search(label) and not self.opposite.search(label)
        ]
        if not chosen or len(chosen) == len(labels):
            raise ValueError(
                f"the labels {', '.join(labels.values())} do not say which of them is {self.name}"
            )
        return chosen

    def score(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Return (N,) float32, 0 to 1."""
        import torch

        found = [np.zeros(0, np.float32)]
        for top in range(0, len(pictures), self.batch):
            part = list(pictures[top : top + self.batch])
            inputs = self._processor(images=part, return_tensors="pt")["pixel_values"]
            with torch.inference_mode():
                logits = self._model(inputs.to(self.device)).logits.float()
            found.append(logits.softmax(-1)[:, self._chosen].sum(-1).cpu().numpy())
        return np.concatenate(found).astype(np.float32)


class NsfwScorer(ClassifierScorer):
    """The probability that a picture is not safe for work."""

    name = "nsfw"
    default = "Falconsai/nsfw_image_detection"
    wanted = re.compile(r"nsfw|unsafe|porn|hentai|explicit|sexy", re.IGNORECASE)
    opposite = re.compile(r"\b(not?|non)[\s_-]", re.IGNORECASE)


class WatermarkScorer(ClassifierScorer):
    """The probability that a picture carries a watermark."""

    name = "watermark"
    default = "amrul-hzz/watermark_detector"
    wanted = re.compile(r"watermark", re.IGNORECASE)
    opposite = re.compile(r"\b(no|not|non|without|clean)[\s_-]|un-?watermark", re.IGNORECASE)
