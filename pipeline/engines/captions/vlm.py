"""Captions by a vision-language model on this machine (Qwen2.5-VL, Qwen3-VL and their like)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.engines.captions.asked_captions import (
    CaptionRequest,
    Reply,
    ask_for_captions,
    texts_of,
)
from pipeline.engines.captions.caption_settings import VlmConfig, settings_from_env
from pipeline.engines.interfaces import CaptionFacts, CheckedAnswer, EngineInfo, EngineNeeds
from pipeline.engines.model_folders import find_model_folder, folder_digest
from pipeline.execution.device import choose_device

_INSTEAD = "Or use pair.engines.captions=attributes, which needs no weights."


@dataclass
class VlmCaptioner:
    """Shows frames to a model, in batches; every answer is checked before it is used.

    Any model that transformers loads as image-text-to-text with a chat template will do.
    """

    needs = EngineNeeds(packages=("transformers", "torch"), gpu=True)

    settings: VlmConfig = field(default_factory=settings_from_env)
    looks: bool = field(default=True, init=False, repr=False)
    device: str = ""  # cuda, cpu, or '' to choose
    info: EngineInfo = field(init=False, repr=False)
    _model: Any = field(init=False, repr=False)
    _processor: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        folder = _find(self.settings)
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.device = self.device or choose_device()
        kwargs = {"local_files_only": True, "trust_remote_code": False}
        self._processor = AutoProcessor.from_pretrained(folder, **kwargs)
        self._processor.tokenizer.padding_side = "left"  # answers begin at one column
        dtype = torch.bfloat16 if self.device.startswith("cuda") else torch.float32
        model: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, **kwargs
        )
        self._model = model.to(self.device).eval()
        self.info = _info(folder, self.settings)

    @classmethod
    def describe(cls) -> EngineInfo:
        """Return who would answer, without loading what may fill a GPU."""
        settings = settings_from_env()
        return _info(_find(settings), settings)

    @classmethod
    def weights_identity(cls) -> str:
        """Return which weights would be read, and which settings change the answers."""
        settings = settings_from_env()
        return f"{folder_digest(_find(settings))} {settings.asked}"

    def caption(self, facts: Sequence[CaptionFacts]) -> list[tuple[str, str]]:
        """Return (caption, description of the character), ('', '') where no answer was good."""
        return texts_of(self.outcomes(facts), self.info.id)

    def outcomes(self, facts: Sequence[CaptionFacts]) -> list[CheckedAnswer]:
        """Return both texts with their author; measured ones where no answer was good."""
        return ask_for_captions(facts, self._ask, self.settings, self.info.id)

    def _ask(self, questions: Sequence[CaptionRequest]) -> list[Reply]:
        size, replies = self.settings.batch, []
        for top in range(0, len(questions), size):
            replies += [Reply(text) for text in self._generate(questions[top : top + size])]
        return replies

    def _generate(self, questions: Sequence[CaptionRequest]) -> list[str]:
        import torch

        inputs = self._inputs(questions)
        draws = self.settings.temperature > 0
        choice = {"temperature": self.settings.temperature} if draws else _GREEDY
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(questions[0].seed)
            ids = self._model.generate(
                **inputs, max_new_tokens=self.settings.max_tokens, do_sample=draws, **choice
            )
        answers = ids[:, inputs["input_ids"].shape[1] :]
        return self._processor.batch_decode(answers, skip_special_tokens=True)

    def _inputs(self, questions: Sequence[CaptionRequest]) -> Any:
        """Return tensors of the whole batch, padded on the left."""
        from PIL import Image

        texts, pictures = [], []
        for question in questions:
            shown = [{"type": "image"} for _ in question.frames]
            talk = {"role": "user", "content": [*shown, {"type": "text", "text": question.prompt}]}
            template = self._processor.apply_chat_template
            texts.append(template([talk], add_generation_prompt=True, tokenize=False))
            pictures.append([Image.fromarray(frame) for frame in question.frames])
        inputs = self._processor(text=texts, images=pictures, padding=True, return_tensors="pt")
        return inputs.to(self.device)


def _find(settings: VlmConfig) -> Path:
    if not settings.folder:
        raise ValueError(
            "captions.folder names no model, e.g. Qwen/Qwen2.5-VL-7B-Instruct (Apache-2.0); "
            f"set CONTEXTANYONE_CAPTION_FOLDER. {_INSTEAD}"
        )
    return find_model_folder(settings.folder, _INSTEAD)


def _info(folder: Path, settings: VlmConfig) -> EngineInfo:
    return EngineInfo(
        id=f"vlm/1:{folder.name}",
        task="captioning",
        licence=settings.licence,
        commercial=settings.commercial,
        weights_digest=folder_digest(folder),
        gpu=True,
    )


# What a model's own generation settings may hold, and greedy search warns of.
_GREEDY: dict[str, Any] = {"temperature": None, "top_p": None, "top_k": None}
