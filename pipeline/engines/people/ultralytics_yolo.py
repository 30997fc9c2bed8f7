"""People and their masks by Ultralytics' YOLO, from .pt or .onnx weights.

Ultralytics' code is AGPL-3.0: it is imported only when one of these engines is built.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engines.interfaces import (
    CutOut,
    Detections,
    EngineInfo,
    EngineNeeds,
    PersonImage,
    Picture,
)
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
# Trust by a mask's stability: its pixels of logits above 1 over those above -1. Of the 30 drawn
# masks that were tuned on, 19 of the 21 above 0.845 had an IoU of 0.85 or more.
_LOGIT, _STABILITY, _TRUST = 1.0, (0.7, 0.845, 0.92), (0.0, 0.5, 1.0)


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


def _stable_predictor() -> Any:
    """Return the library's predictor of masks, whose results say how stable each mask is."""
    from ultralytics.models.yolo.segment import SegmentationPredictor

    class StablePredictor(SegmentationPredictor):
        def construct_result(
            self, pred: Any, img: Any, orig_img: Any, img_path: Any, proto: Any
        ) -> Any:
            scale = proto.shape[-1] / img.shape[-1]
            boxes = (pred[:, :4] * scale).round().int().cpu().numpy()
            result: Any = super().construct_result(pred, img, orig_img, img_path, proto)
            logits = (pred[:, 6:] @ proto.float().flatten(1)).unflatten(1, proto.shape[1:])
            kept = (pred[:, None, :6] == result.boxes.data).all(-1).any(1)  # not the empty ones
            parts = zip(logits[kept].cpu().numpy(), boxes[kept.cpu().numpy()], strict=True)
            result.stability = [stability(*part) for part in parts]
            return result

    return StablePredictor


def stability(logits: np.ndarray, box: np.ndarray) -> float:
    """Return how little a mask of logits, (H, W), shrinks within `box` for a stricter threshold."""
    x0, y0, x1, y1 = np.maximum(box, 0)
    part = logits[y0:y1, x0:x1]
    return float((part > _LOGIT).sum()) / max(float((part > -_LOGIT).sum()), 1.0)


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
        self._how = {"predictor": _stable_predictor()} if task == "segmentation" else {}
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
                **self._how,
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
        return [cut.mask for cut in self.cut_out(people)]

    def cut_out(self, people: Sequence[PersonImage]) -> list[CutOut]:
        """Return one mask per picture, with its trust."""
        results = self._yolo.predict([person.picture for person in people], retina_masks=True)
        return [_cut(*pair) for pair in zip(results, people, strict=True)]


def _detections(result: Any, picture: Picture) -> Detections:
    boxes = result.boxes.xyxy.cpu().numpy().astype(np.float32).reshape(-1, 4)
    scores = result.boxes.conf.cpu().numpy().astype(np.float32)
    order = sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), *boxes[i].tolist()))
    height, width = picture.shape[:2]
    return Detections(clip_to(boxes[order], width, height), scores[order])


def _cut(result: Any, person: PersonImage) -> CutOut:
    height, width = person.picture.shape[:2]
    empty = CutOut(np.zeros((height, width), np.uint8), 0.0)
    if result.masks is None:
        return empty
    boxes = result.boxes.xyxy.cpu().numpy().astype(np.float32).reshape(-1, 4)
    overlaps = iou(boxes, np.asarray(person.box, np.float32)[None])[:, 0]
    best = int(overlaps.argmax())
    if overlaps[best] < _SAME_PERSON:
        return empty
    mask = clean_mask(result.masks.data[best].cpu().numpy() > 0.5, person.box)
    return CutOut(mask, float(np.interp(result.stability[best], _STABILITY, _TRUST)))
