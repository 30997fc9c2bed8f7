"""Score pictures by a linear head on CLIP: how pleasing, how unsafe, how likely watermarked.

The image tower is read from a hub's folder; a head is a safetensors file of two tensors, `weight`
(1, D) and `bias` (1,), trained on CLIP vectors of unit length, as LAION's aesthetic head is.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from pipeline.engines.interfaces import EngineInfo, Picture
from pipeline.engines.model_folders import (
    MAX_HEADER_BYTES,
    choose_device,
    find_model_folder,
    folder_digest,
)
from pipeline.engines.weights import digest_of_file, folders

CLIP_ENV = "CONTEXTANYONE_SCORE_CLIP"  # folder of the image tower
_NONE = "There is no embedded scorer of this kind: leave it out."


class PictureScorer(Protocol):
    """Gives every picture one number."""

    info: EngineInfo

    def score(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Return (N,) float32."""
        ...


@dataclass
class ClipScorer:
    """A linear head on CLIP's image vectors; subclasses say which head and what its number is.

    Attributes:
        folder: of the CLIP model; '' asks the environment.
        head: the head's file, or its name among the weights; '' asks the environment.
        batch: pictures at once.
    """

    folder: str = ""
    head: str = ""
    batch: int = 32
    device: str = ""  # cuda, cpu, or '' to choose
    info: EngineInfo = field(init=False, repr=False)
    _tower: Any = field(init=False, repr=False)
    _weight: Any = field(init=False, repr=False)
    _bias: float = field(init=False, repr=False)
    task: ClassVar[str]
    default_head: ClassVar[str]
    is_probability: ClassVar[bool] = True

    def __post_init__(self) -> None:
        folder = find_model_folder(self._told(self.folder, CLIP_ENV, "the CLIP model"), _NONE)
        variable = f"CONTEXTANYONE_SCORE_{self.task.upper()}"
        name = self.head or os.environ.get(variable, "") or self.default_head
        head = _find_head(name, variable)
        self.device = self.device or choose_device()
        from transformers import AutoImageProcessor, CLIPVisionModelWithProjection

        self._processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        tower: Any = CLIPVisionModelWithProjection.from_pretrained(
            folder, use_safetensors=True, local_files_only=True
        )
        self._tower = tower.to(self.device).eval()
        self._weight, self._bias = _read_head(head, int(tower.config.projection_dim))
        self.info = EngineInfo(
            id=f"clip-{self.task}/1:{folder.name}:{head.stem}",
            task=f"{self.task}_scoring",
            licence="not stated",
            commercial=False,
            weights_digest=f"{folder_digest(folder)}+{digest_of_file(head)}",
            gpu=True,
        )

    def _told(self, value: str, variable: str, what: str) -> str:
        found = value or os.environ.get(variable, "")
        if not found:
            raise ValueError(f"{what} of the {self.task} scorer is not named; set {variable}")
        return found

    def score(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Return (N,) float32: a probability, or a value on the head's own scale."""
        found = [np.zeros(0, np.float32)]
        for top in range(0, len(pictures), self.batch):
            values = self._vectors(pictures[top : top + self.batch]) @ self._weight + self._bias
            found.append(1 / (1 + np.exp(-values)) if self.is_probability else values)
        return np.concatenate(found).astype(np.float32)

    def _vectors(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Return (N, D) unit vectors."""
        import torch

        inputs = self._processor(images=list(pictures), return_tensors="pt")
        with torch.inference_mode():
            vectors = self._tower(inputs["pixel_values"].to(self.device)).image_embeds
        vectors = vectors.float().cpu().numpy().astype(np.float64)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


class AestheticScorer(ClipScorer):
    """How pleasing a picture is, on the head's scale; LAION's is about 1 to 10."""

    task = "aesthetic"
    default_head = "aesthetic_head.safetensors"
    is_probability = False


class NsfwScorer(ClipScorer):
    """The probability that a picture is not safe for work."""

    task = "nsfw"
    default_head = "nsfw_head.safetensors"


class WatermarkScorer(ClipScorer):
    """The probability that a picture carries a watermark."""

    task = "watermark"
    default_head = "watermark_head.safetensors"


def _find_head(name: str, variable: str) -> Path:
    for place in (Path(name).expanduser(), *(folder / name for folder in folders())):
        if place.is_file():
            return place
    raise ValueError(f"the head {name!r} was not found here or among the weights; set {variable}")


def _read_head(path: Path, size: int) -> tuple[np.ndarray, float]:
    """Return weight (D,) and bias of a head. ValueError when it is not of this CLIP."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if path.stat().st_size > MAX_HEADER_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, which is no linear head")
    try:
        tensors = load(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{path} is not safetensors: {error}") from error
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != {"weight": (1, size), "bias": (1,)}:
        raise ValueError(
            f"{path} must hold weight (1, {size}) and bias (1,) for this CLIP, got {shapes}"
        )
    return tensors["weight"][0].astype(np.float64), float(tensors["bias"][0])
