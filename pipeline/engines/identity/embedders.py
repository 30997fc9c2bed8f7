"""Whole pictures, and texts, as vectors: DINO, CLIP and GME from folders of safetensors.

None is shipped. `CONTEXTANYONE_DINO`, `CONTEXTANYONE_CLIP` and `CONTEXTANYONE_GME` name the
folders; a measure whose model is not named is left out, and the result says so.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.engines.interfaces import EngineInfo, Picture
from pipeline.engines.model_folders import find_model_folder, folder_digest
from pipeline.execution.device import choose_device

DINO_ENV, CLIP_ENV, GME_ENV = "CONTEXTANYONE_DINO", "CONTEXTANYONE_CLIP", "CONTEXTANYONE_GME"
_BATCH = 32
_GME_TOKENS = (256, 1280)  # of a picture, of 28 x 28 pixels each
_GME_ASKS = "Find an image that matches the given text."
_GME_SHOWS = "You are a helpful assistant."
_GME_LINE = (
    "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    "<|endoftext|>"
)
_GME_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
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


class GmeEmbedder:
    """The last token of a GME-Qwen2-VL, of texts that ask for pictures and of pictures.

    Source: OpenS2V-Nexus, eval/get_gmescore.py and eval/utils/gme (b452831). As there, tokens are
    counted in one line, those of pictures too.
    """

    def __init__(self, folder: str = "") -> None:
        path = _folder(folder, GME_ENV)
        import torch
        from transformers import AutoConfig, AutoProcessor, Qwen2VLForConditionalGeneration

        kind = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        if kind.model_type != "qwen2_vl":
            raise ValueError(
                f"{path} holds a {kind.model_type}, GME is a qwen2_vl: set {GME_ENV} to "
                "Alibaba-NLP/gme-Qwen2-VL-7B-Instruct or -2B-Instruct"
            )
        self._device = choose_device()
        least, most = (tokens * 28 * 28 for tokens in _GME_TOKENS)
        self._processor: Any = AutoProcessor.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
        self._size = {"shortest_edge": least, "longest_edge": most}  # pixels of all of a picture
        model: Any = Qwen2VLForConditionalGeneration.from_pretrained(
            path,
            dtype=torch.float32 if str(self._device) == "cpu" else torch.float16,
            use_safetensors=True,
            local_files_only=True,
        )
        self._model = model.model.to(self._device).eval()
        self.info = _info("gme", "text_picture_embedding", path)

    def embed(self, pictures: Sequence[Picture]) -> np.ndarray:
        line = _GME_LINE.format(_GME_SHOWS, _GME_PICTURE)
        return _unit([self._last(text=[line], images=[each], size=self._size) for each in pictures])

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return _unit([self._last(text=[_GME_LINE.format(_GME_ASKS, text)]) for text in texts])

    def _last(self, **content: Any) -> np.ndarray:
        import torch

        inputs = self._processor(**content, return_tensors="pt").to(self._device)
        length = inputs["input_ids"].shape[1]
        places = torch.arange(length, device=self._device).expand(3, 1, length)
        with torch.inference_mode():
            states = self._model(**inputs, position_ids=places).last_hidden_state
        return states[:, -1].float().cpu().numpy()


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
