"""People and their masks by Ultralytics' YOLO, from .pt or .onnx weights.

Ultralytics' code is AGPL-3.0: it is imported only when one of these engines is built.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engines.interfaces import Detections, EngineInfo, EngineNeeds, PersonImage, Picture
from pipeline.engines.masks.mask_cleaning import clean_mask
from pipeline.engines.onnx_session import open_session, wants_gpu
from pipeline.engines.weights import Found, find_for
from pipeline.execution.device import choose_device
from pipeline.pictures.boxes import clip_to, iou

PERSON = 0  # of the COCO classes
_BATCH = 16
_SCORE = 0.35  # below it, statues and coats; see tests for what is found and what is not
_OVERLAP = 0.6  # boxes of one person overlap more
_SAME_PERSON = 0.3  # least overlap of the asked box and the mask's own


def quietly() -> Any:
    """Import `ultralytics.YOLO` so that it never installs, phones home or looks for updates."""
    quiet = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
    os.environ.update(quiet, ORT_DISABLE_TELEMETRY="1")  # read when the library is imported
    from PIL import Image
    from ultralytics import YOLO
    from ultralytics.utils import checks, events, patches

    # Ultralytics' own looks for, and would install, a HEIF reader when a picture is damaged.
    Image.open = vars(patches).get("_image_open", Image.open)
    checks.__dict__["AUTOINSTALL"] = False  # if somebody else imported it before
    events.events.enabled = False
    return YOLO


def load_yolo(found: Found) -> Any:
    """Return the library's model of these weights."""
    return quietly()(str(found.path), task=_TASKS[found.weights.task], verbose=False)


_TASKS = {"person_detection": "detect", "segmentation": "segment"}


def one_at_a_time(path: Path) -> bool:
    """Say whether an .onnx takes single pictures only: a batch of those is slower, not faster."""
    if path.suffix != ".onnx":
        return False
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


class _Yolo:
    """A model and how to ask it."""

    def __init__(self, task: str) -> None:
        found = find_for("ultralytics", task)
        self.model = load_yolo(found)
        exported = found.path.suffix == ".onnx"  # runs in onnxruntime, whatever torch can do
        self.device = "cpu" if exported and not wants_gpu() else choose_device()
        self.batch = 1 if one_at_a_time(found.path) else _BATCH
        self.info = EngineInfo(
            id=f"ultralytics-{found.weights.name}/1",
            task=task,
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
            gpu=wants_gpu() if exported else True,
        )

        if exported and self.device == "cpu":
            self._take_few_threads(found.path)

    def _take_few_threads(self, path: Path) -> None:
        """Give the library a session with as many threads as this worker has.

        Its own takes every CPU, also in each of many workers, and has them spin while they wait:
        twice the CPU time a picture on two idle cores.
        """
        self.predict([np.zeros((32, 32, 3), np.uint8)])  # the library opens its session here
        backend = self.model.predictor.model.backend
        assert hasattr(backend, "session"), f"{type(backend).__name__} holds no onnxruntime session"
        backend.session = open_session(path)

    def predict(self, pictures: Sequence[Picture], **how: Any) -> list[Any]:
        """Return Ultralytics' results, one a picture; people only."""
        results = []
        for first in range(0, len(pictures), self.batch):
            part = pictures[first : first + self.batch]
            flipped = [np.ascontiguousarray(picture[..., ::-1]) for picture in part]
            results += self.model.predict(
                flipped,
                classes=[PERSON],
                conf=_SCORE,
                iou=_OVERLAP,
                device=self.device,
                batch=len(flipped),
                verbose=False,
                save=False,
                **how,
            )
        return results


class UltralyticsPeople:
    """Person boxes by YOLO."""

    needs = EngineNeeds(
        packages=("ultralytics", "torch"),
        weights=(("ultralytics", "person_detection"),),
        gpu=True,
        memory_mib=733,
    )

    def __init__(self) -> None:
        self._yolo = _Yolo("person_detection")
        self.info = self._yolo.info

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        results = self._yolo.predict(pictures)
        return [_detections(*pair) for pair in zip(results, pictures, strict=True)]


class UltralyticsMasks:
    """Masks by YOLO: of the instances in the picture, the one whose box is the asked one.

    A person that the model does not see gets an empty mask, never somebody else's.
    """

    needs = EngineNeeds(
        packages=("ultralytics", "torch"),
        weights=(("ultralytics", "segmentation"),),
        gpu=True,
        memory_mib=741,
    )

    def __init__(self) -> None:
        self._yolo = _Yolo("segmentation")
        self.info = self._yolo.info

    def segment(self, people: Sequence[PersonImage]) -> list[np.ndarray]:
        """Return one (H, W) uint8 mask per picture, 255 on the person."""
        results = self._yolo.predict([person.picture for person in people], retina_masks=True)
        return [_mask(*pair) for pair in zip(results, people, strict=True)]


def _detections(result: Any, picture: Picture) -> Detections:
    boxes = result.boxes.xyxy.cpu().numpy().astype(np.float32).reshape(-1, 4)
    scores = result.boxes.conf.cpu().numpy().astype(np.float32)
    order = sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), *boxes[i].tolist()))
    height, width = picture.shape[:2]
    return Detections(clip_to(boxes[order], width, height), scores[order])


def _mask(result: Any, person: PersonImage) -> np.ndarray:
    height, width = person.picture.shape[:2]
    empty = np.zeros((height, width), np.uint8)
    if result.masks is None:
        return empty
    boxes = result.boxes.xyxy.cpu().numpy().astype(np.float32).reshape(-1, 4)
    overlaps = iou(boxes, np.asarray(person.box, np.float32)[None])[:, 0]
    best = int(overlaps.argmax())
    if overlaps[best] < _SAME_PERSON:
        return empty
    return clean_mask(result.masks.data[best].cpu().numpy() > 0.5, person.box)
