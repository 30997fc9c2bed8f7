"""Whole pictures, and texts, as vectors: DINO and CLIP from folders of safetensors.

Neither is shipped. `CONTEXTANYONE_DINO` and `CONTEXTANYONE_CLIP` name the folders; a measure whose
model is not named is left out, and the result says so.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.engines.interfaces import EngineInfo, Picture
from pipeline.engines.model_folders import find_model_folder, folder_digest
from pipeline.execution.device import choose_device

DINO_ENV, CLIP_ENV = "CONTEXTANYONE_DINO", "CONTEXTANYONE_CLIP"
_BATCH = 32
_NONE = "There is no embedded model of this kind: leave it out."


class PictureEmbedder(Protocol):
    """Turns whole pictures into unit vectors."""

    info: EngineInfo

    def embed(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Return (N, D) float32, rows of unit length."""
        ...


class TextPictureEmbedder(PictureEmbedder, Protocol):
    """Also turns texts into vectors of the same space."""

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, D) float32, rows of unit length."""
        ...


class Dino:
    """The class token of a DINO or DINOv2 transformer."""

    def __init__(self, folder: str = "") -> None:
        path = _folder(folder, DINO_ENV)
        from transformers import AutoImageProcessor, AutoModel

        self._device = choose_device()
        self._processor: Any = AutoImageProcessor.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
        model: Any = AutoModel.from_pretrained(
            path, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        self._model = model.to(self._device).eval()
        self.info = _info("dino", "picture_embedding", path)

    def embed(self, pictures: Sequence[Picture]) -> np.ndarray:
        import torch

        found = []
        for top in range(0, len(pictures), _BATCH):
            batch = list(pictures[top : top + _BATCH])
            inputs = self._processor(images=batch, return_tensors="pt").to(self._device)
            with torch.inference_mode():
                found.append(self._model(**inputs).last_hidden_state[:, 0].float().cpu().numpy())
        return _unit(found)


class ClipEmbedder:
    """CLIP's picture and text towers."""

    def __init__(self, folder: str = "") -> None:
        path = _folder(folder, CLIP_ENV)
        from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

        self._device = choose_device()
        self._processor: Any = CLIPImageProcessor.from_pretrained(path, local_files_only=True)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
        model: Any = CLIPModel.from_pretrained(path, use_safetensors=True, local_files_only=True)
        self._model = model.to(self._device).eval()
        self.info = _info("clip", "text_picture_embedding", path)

    def embed(self, pictures: Sequence[Picture]) -> np.ndarray:
        import torch

        found = []
        for top in range(0, len(pictures), _BATCH):
            batch = list(pictures[top : top + _BATCH])
            pixels = self._processor(images=batch, return_tensors="pt")["pixel_values"]
            with torch.inference_mode():
                tower = self._model.vision_model(pixels.to(self._device))
                vectors = self._model.visual_projection(tower.pooler_output)
            found.append(vectors.float().cpu().numpy())
        return _unit(found)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        most = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt"
        ).to(self._device)
        with torch.inference_mode():
            tower = self._model.text_model(tokens.input_ids, tokens.attention_mask)
            vectors = self._model.text_projection(tower.pooler_output)
        return _unit([vectors.float().cpu().numpy()])


def _folder(folder: str, variable: str) -> Path:
    name = folder or os.environ.get(variable, "")
    if not name:
        raise ValueError(f"no model is named; set {variable} to a folder with safetensors")
    return find_model_folder(name, _NONE)


def _info(kind: str, task: str, path: Path) -> EngineInfo:
    return EngineInfo(
        id=f"{kind}/1:{path.name}",
        task=task,
        licence="not stated",
        commercial=False,
        weights_digest=folder_digest(path),
        gpu=True,
    )


def _unit(parts: Sequence[np.ndarray]) -> np.ndarray:
    if not parts:
        return np.zeros((0, 1), np.float32)
    vectors = np.concatenate(parts).astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
