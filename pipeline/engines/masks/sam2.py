"""Masks by Segment Anything 2 (2408.00714) through transformers: code and weights Apache-2.0."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engines.interfaces import EngineInfo, EngineNeeds, PersonImage
from pipeline.engines.masks.mask_cleaning import clean_mask
from pipeline.engines.model_folders import find_model_folder, folder_digest, licence_of
from pipeline.execution.device import choose_device

FOLDER = "CONTEXTANYONE_SAM2_FOLDER"  # environment: a folder, or a name in the hub's cache
DEFAULT = "facebook/sam2.1-hiera-small"
_INSTEAD = "Or use observe.engines.masks=selfie, which needs 0.2 MB of weights."
_BATCH = 8


class Sam2Masks:
    """Each person by the own box: the best of the network's three proposals, in one piece."""

    needs = EngineNeeds(packages=("transformers", "torch"), gpu=True)

    def __init__(self, folder: str = "") -> None:
        named, path = _find(folder)
        from transformers import Sam2Model, Sam2Processor

        self._device = choose_device()
        self._processor: Any = Sam2Processor.from_pretrained(path, local_files_only=True)
        model: Any = Sam2Model.from_pretrained(path, use_safetensors=True, local_files_only=True)
        self._model = model.to(self._device).eval()
        licence, commercial = licence_of(named)
        self.info = EngineInfo(
            id=f"sam2/1:{path.name}",
            task="segmentation",
            licence=licence,
            commercial=commercial,
            weights_digest=folder_digest(path),
            gpu=True,
        )

    @classmethod
    def weights_identity(cls) -> str:
        return folder_digest(_find("")[1])

    def segment(self, people: Sequence[PersonImage]) -> list[np.ndarray]:
        """Return one (H, W) uint8 mask per picture, 255 on the person."""
        masks: list[np.ndarray] = []
        for first in range(0, len(people), _BATCH):
            masks += self._segment_batch(people[first : first + _BATCH])
        return masks

    def _segment_batch(self, people: Sequence[PersonImage]) -> list[np.ndarray]:
        import torch

        boxes = [[[float(side) for side in person.box]] for person in people]
        inputs = self._processor(
            images=[person.picture for person in people], input_boxes=boxes, return_tensors="pt"
        ).to(self._device)
        with torch.inference_mode():
            outputs = self._model(**inputs, multimask_output=True)
        proposed = self._processor.post_process_masks(
            outputs.pred_masks.float().cpu(), inputs["original_sizes"].cpu()
        )  # per picture (1 box, 3 proposals, H, W)
        best = outputs.iou_scores.float().cpu().argmax(dim=-1)[:, 0].tolist()
        return [
            clean_mask(masks[0, choice].numpy().astype(bool), person.box, _middle_of_face(person))
            for masks, choice, person in zip(proposed, best, people, strict=True)
        ]


def _middle_of_face(person: PersonImage) -> list[tuple[float, float]]:
    if person.face is None:
        return []
    left, top, right, bottom = (float(side) for side in person.face)
    return [((left + right) / 2, (top + bottom) / 2)]


def _find(folder: str) -> tuple[str, Path]:
    named = folder or os.environ.get(FOLDER, "") or DEFAULT
    return named, find_model_folder(named, f"{FOLDER} names another. {_INSTEAD}")
