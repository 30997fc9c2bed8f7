"""Score how pleasing pictures are by LAION's head on CLIP, or by another linear one.

The image tower is read from a hub's folder. A head is the registry's, which is a chain of linear
layers with nothing between them and so one linear map; or a safetensors file of two tensors,
`weight` (1, D) and `bias` (1,). Both are for CLIP vectors of unit length.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engines.interfaces import EngineInfo, EngineNeeds, Picture
from pipeline.engines.model_folders import MAX_HEADER_BYTES, find_model_folder, folder_digest
from pipeline.engines.weights import digest_of_file, find_for, folders
from pipeline.execution.device import choose_device

CLIP_ENV = "CONTEXTANYONE_SCORE_CLIP"  # folder or hub's name of the image tower
HEAD_ENV = "CONTEXTANYONE_SCORE_AESTHETIC"  # a head of your own
DEFAULT_CLIP = "openai/clip-vit-large-patch14"  # what LAION's head was trained on
_INSTEAD = "Or leave aesthetic out of observe.engines.scorers: no embedded engine judges beauty."


@dataclass
class AestheticScorer:
    """How pleasing a picture is, on the head's own scale; LAION's is about 1 to 10.

    Attributes:
        folder: of the CLIP model; '' asks the environment.
        head: the head's file, or its name among the weights; '' asks the environment, then the
            registry.
        batch: pictures at once.
    """

    needs = EngineNeeds(packages=("transformers", "torch"), gpu=True)

    folder: str = ""
    head: str = ""
    batch: int = 32
    device: str = ""  # cuda, cpu, or '' to choose
    info: EngineInfo = field(init=False, repr=False)
    _tower: Any = field(init=False, repr=False)
    _weight: Any = field(init=False, repr=False)
    _bias: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        folder = _find_clip(self.folder)
        head = _find_head(self.head)
        self.device = self.device or choose_device()
        from transformers import AutoImageProcessor, CLIPVisionModelWithProjection

        self._processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        tower: Any = CLIPVisionModelWithProjection.from_pretrained(
            folder, use_safetensors=True, local_files_only=True
        )
        self._tower = tower.to(self.device).eval()
        self._weight, self._bias = _read_head(head, int(tower.config.projection_dim))
        self.info = EngineInfo(
            id=f"clip-aesthetic/2:{folder.name}:{head.path.stem}",
            task="aesthetic_scoring",
            licence=head.licence,
            commercial=head.commercial,
            weights_digest=f"{folder_digest(folder)}+{head.sha256}",
            gpu=True,
        )

    @classmethod
    def weights_identity(cls) -> str:
        """Return which weights would be read, without reading them into a model."""
        return f"{folder_digest(_find_clip(''))} {_find_head('').sha256}"

    def score(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Return (N,) float32."""
        found = [np.zeros(0, np.float32)]
        for top in range(0, len(pictures), self.batch):
            vectors = self._vectors(pictures[top : top + self.batch])
            found.append(vectors @ self._weight + self._bias)
        return np.concatenate(found).astype(np.float32)

    def _vectors(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Return (N, D) unit vectors."""
        import torch

        inputs = self._processor(images=list(pictures), return_tensors="pt")
        with torch.inference_mode():
            vectors = self._tower(inputs["pixel_values"].to(self.device)).image_embeds
        vectors = vectors.float().cpu().numpy().astype(np.float64)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@dataclass(frozen=True)
class _Head:
    path: Path
    sha256: str
    licence: str
    commercial: bool
    registered: bool


def _find_clip(name: str) -> Path:
    return find_model_folder(name or os.environ.get(CLIP_ENV, "") or DEFAULT_CLIP, _INSTEAD)


def _find_head(name: str) -> _Head:
    name = name or os.environ.get(HEAD_ENV, "")
    if not name:
        found = find_for("clip_head", "aesthetic_scoring")
        weights = found.weights
        return _Head(found.path, found.sha256, weights.licence, weights.commercial, True)
    for place in (Path(name).expanduser(), *(folder / name for folder in folders())):
        if place.is_file():
            return _Head(place, digest_of_file(place), "not stated", False, False)
    raise ValueError(f"the head {name!r} was not found here or among the weights; set {HEAD_ENV}")


def _read_head(head: _Head, size: int) -> tuple[np.ndarray, float]:
    """Return weight (D,) and bias of a head. ValueError when it is not of this CLIP."""
    if head.registered:
        weight, bias = _one_map(_tensors_of_checkpoint(head.path))
        if len(weight) != size:
            raise ValueError(
                f"{head.path} is for CLIP vectors of {len(weight)} numbers, this CLIP's have "
                f"{size}; set {CLIP_ENV} to {DEFAULT_CLIP}, or {HEAD_ENV} to a head of this CLIP"
            )
        return weight, bias
    return _read_safetensors(head.path, size)


def _tensors_of_checkpoint(path: Path) -> dict[str, np.ndarray]:
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.double().numpy() for name, tensor in state.items()}


def _one_map(layers: Mapping[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Return the one linear map (D,) and constant that `layers.0`, `layers.2`, … make together."""
    numbers = sorted(int(name.split(".")[1]) for name in layers if name.endswith(".weight"))
    weight, bias = np.eye(layers[f"layers.{numbers[0]}.weight"].shape[1]), np.zeros(1)
    for number in numbers:
        step = layers[f"layers.{number}.weight"]
        bias = step @ np.broadcast_to(bias, step.shape[1]) + layers[f"layers.{number}.bias"]
        weight = step @ weight
    return weight[0], float(bias[0])


def _read_safetensors(path: Path, size: int) -> tuple[np.ndarray, float]:
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
