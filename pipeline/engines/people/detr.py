"""People by a detection transformer through transformers: RT-DETRv2, D-FINE, RF-DETR."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engines.interfaces import Detections, EngineInfo, EngineNeeds, Picture
from pipeline.engines.model_folders import find_model_folder, folder_digest, licence_of
from pipeline.execution.device import choose_device
from pipeline.pictures.boxes import clip_to

FOLDER = "CONTEXTANYONE_PEOPLE_FOLDER"  # environment: a folder, or a name in the hub's cache
DEFAULT = "PekingU/rtdetr_v2_r18vd"
_INSTEAD = "Or use observe.engines.people=yolox, which needs 3.7 MB of weights."
_SCORE = 0.4
_BATCH = 16
_PERSON = ("person", "people", "human")  # what label sets call one


class DetrPeople:
    """Person boxes by any model that transformers loads for object detection, in batches."""

    needs = EngineNeeds(packages=("transformers", "torch"), gpu=True)

    def __init__(self, folder: str = "") -> None:
        named, path = _find(folder)
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        own: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self._device = choose_device()
        self._processor: Any = AutoImageProcessor.from_pretrained(path, **own)
        model: Any = AutoModelForObjectDetection.from_pretrained(path, use_safetensors=True, **own)
        self._model = model.to(self._device).eval()
        self._person = _person_label(model.config.id2label)
        licence, commercial = licence_of(named)
        self.info = EngineInfo(
            id=f"{model.config.model_type}/1:{path.name}",
            task="person_detection",
            licence=licence,
            commercial=commercial,
            weights_digest=folder_digest(path),
            gpu=True,
        )

    @classmethod
    def weights_identity(cls) -> str:
        return folder_digest(_find("")[1])

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        found: list[Detections] = []
        for first in range(0, len(pictures), _BATCH):
            found += self._detect_batch(list(pictures[first : first + _BATCH]))
        return found

    def _detect_batch(self, pictures: list[Picture]) -> list[Detections]:
        import torch

        inputs = self._processor(images=pictures, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            outputs = self._model(**inputs)
        sizes = [picture.shape[:2] for picture in pictures]
        seen = self._processor.post_process_object_detection(
            outputs, threshold=_SCORE, target_sizes=sizes
        )
        return [self._people(each, *size) for each, size in zip(seen, sizes, strict=True)]

    def _people(self, seen: Mapping[str, Any], height: int, width: int) -> Detections:
        scores = seen["scores"].float().cpu().numpy()
        people = np.flatnonzero(seen["labels"].cpu().numpy() == self._person)
        order = people[np.argsort(-scores[people], kind="stable")]
        boxes = seen["boxes"].float().cpu().numpy()[order].reshape(-1, 4)
        return Detections(clip_to(boxes, width, height), scores[order].astype(np.float32))


def _find(folder: str) -> tuple[str, Path]:
    named = folder or os.environ.get(FOLDER, "") or DEFAULT
    return named, find_model_folder(named, f"{FOLDER} names another. {_INSTEAD}")


def _person_label(labels: Mapping[int, str]) -> int:
    for number, label in labels.items():
        if label.lower() in _PERSON:
            return int(number)
    raise ValueError(f"none of the model's {len(labels)} labels is a person")
