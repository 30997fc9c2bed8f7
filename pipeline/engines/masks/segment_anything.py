"""Cut people out with segment-anything (Kirillov et al. 2023), prompted by box and two points."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.engines.interfaces import EngineInfo, EngineNeeds, PersonImage, Picture
from pipeline.engines.masks.mask_cleaning import box_fit, clean_mask
from pipeline.engines.weights import Found, WeightsEntry, digest_of_file, find, find_for, registry
from pipeline.execution.device import choose_device

CHECKPOINT_ENV = "CONTEXTANYONE_SAM"  # a name in the registry, or a path
_STABILITY_OFFSET = 1.0  # of the logits; segment-anything's own default
_TORSO_SIDES = 2.2  # sides of the face below its upper edge: the breastbone
_BLIND_POINTS = ((0.5, 0.3), (0.5, 0.5))  # of the box, when the face is not known


@dataclass(frozen=True)
class Cut:
    """One person's mask and how far to trust it."""

    mask: np.ndarray = field(repr=False)  # (H, W) uint8, 255 on the person; empty when none found
    predicted_iou: float  # by the model
    stability: float  # overlap of the masks at a lower and at a higher threshold, 0 to 1
    fit: float  # overlap of the raw mask's bounding box with the person's box, 0 to 1

    @property
    def quality(self) -> float:
        """Return one number, 0 to 1: the model's trust, halved for a mask of another extent."""
        trust = min(max(self.predicted_iou, 0.0), 1.0) * self.stability
        return trust * (0.5 + 0.5 * self.fit) if self.mask.any() else 0.0


@dataclass
class SegmentAnything:
    """Masks from a ViT checkpoint or MobileSAM's. A picture with several people is embedded once.

    Several are one picture when they are the same array. Of the proposals for a person (part,
    torso, whole) the one of best quality is taken.

    Attributes:
        checkpoint: a name in the registry, or a path; '' asks the environment, then takes the
            first of the registry that lies here.
        batch: pictures embedded at once; vit_h takes about 3 GB each.
        device: cuda, cpu, or '' to choose.
    """

    needs = EngineNeeds(
        packages=("segment-anything", "torch"),
        weights=(("segment_anything", "segmentation"),),
        gpu=True,
    )

    checkpoint: str = ""
    batch: int = 4
    device: str = ""
    info: EngineInfo = field(init=False, repr=False)
    _sam: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from pipeline.engines.masks.sam_checkpoint import load_sam

        found = find_checkpoint(self.checkpoint or os.environ.get(CHECKPOINT_ENV, ""))
        self.device = self.device or choose_device()
        self._sam = load_sam(found.path).to(self.device)
        self.info = EngineInfo(
            id=f"segment-anything/1:{found.weights.name}",
            task="segmentation",
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
            gpu=True,
        )

    @classmethod
    def weights_identity(cls) -> str:
        """Return which checkpoint would be read."""
        found = find_checkpoint(os.environ.get(CHECKPOINT_ENV, ""))
        return f"{found.weights.name} {found.sha256}"

    def segment(self, people: Sequence[PersonImage]) -> list[np.ndarray]:
        """Return one (H, W) uint8 mask per person, 255 on the person."""
        return [cut.mask for cut in self.cut(people)]

    def cut(self, people: Sequence[PersonImage]) -> list[Cut]:
        """Return one mask with its quality per person."""
        import torch

        found: dict[int, Cut] = {}
        with torch.inference_mode():
            for chosen in _chunks(_by_picture(people), self.batch):
                pictures = [people[members[0]].picture for members in chosen]
                features = self._embed(pictures)
                for members, feature in zip(chosen, features, strict=True):
                    for index in members:
                        found[index] = self._cut_one(people[index], feature)
        return [found[index] for index in range(len(people))]

    def _embed(self, pictures: Sequence[Picture]) -> Any:
        """Return (N, C, h, w) embeddings of pictures."""
        import torch

        side = self._sam.image_encoder.img_size
        ready = [
            self._sam.preprocess(
                torch.from_numpy(_scaled(picture, side)).to(self.device).permute(2, 0, 1)
            )
            for picture in pictures
        ]
        return self._sam.image_encoder(torch.stack(ready))

    def _cut_one(self, person: PersonImage, feature: Any) -> Cut:
        box, points = np.asarray(person.box, np.float32), foreground_points(person)
        logits, trust = self._propose(person.picture.shape[:2], box, points, feature)
        proposals = [
            self._judge(*each, box, points) for each in zip(logits, trust.tolist(), strict=True)
        ]
        return max(proposals, key=lambda cut: cut.quality)

    def _propose(
        self,
        shape: tuple[int, int],
        box: np.ndarray,
        points: Sequence[tuple[float, float]],
        feature: Any,
    ) -> tuple[Any, Any]:
        """Return logits (3, H, W) and predicted IoUs (3,) for one person."""
        import torch

        sam, height, width = self._sam, *shape
        new_width, new_height = _scaled_size(width, height, sam.image_encoder.img_size)
        scale = np.array([new_width / width, new_height / height], np.float32)
        coords = torch.from_numpy(np.asarray(points, np.float32) * scale)[None].to(self.device)
        labels = torch.ones(coords.shape[:2], dtype=torch.int, device=self.device)
        boxes = torch.from_numpy(box * np.tile(scale, 2))[None].to(self.device)
        sparse, dense = sam.prompt_encoder(points=(coords, labels), boxes=boxes, masks=None)
        low, trust = sam.mask_decoder(
            image_embeddings=feature[None],
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        logits = sam.postprocess_masks(low, (new_height, new_width), (height, width))
        return logits[0], trust[0]

    def _judge(
        self,
        logits: Any,
        predicted_iou: float,
        box: np.ndarray,
        points: Sequence[tuple[float, float]],
    ) -> Cut:
        from segment_anything.utils.amg import calculate_stability_score

        threshold = self._sam.mask_threshold
        raw = (logits > threshold).cpu().numpy()
        stability = float(calculate_stability_score(logits[None], threshold, _STABILITY_OFFSET)[0])
        stability = stability if np.isfinite(stability) else 0.0  # nothing over nothing
        return Cut(clean_mask(raw, box, points), predicted_iou, stability, box_fit(raw, box))


def find_checkpoint(name: str) -> Found:
    """Return a checkpoint by registered name or by path, '' for the first that lies here.

    ValueError says what to fetch, under which licence, and what works without.
    """
    if not name:
        return find_for("segment_anything", "segmentation")
    path = Path(name).expanduser()
    if name in registry() or not path.is_file():
        return find(name)
    own = WeightsEntry(
        path.stem, "segmentation", "segment_anything", str(path), path.name, "not stated", False
    )
    return Found(own, path, digest_of_file(path))


def foreground_points(person: PersonImage) -> list[tuple[float, float]]:
    """Return two points surely on the person: face and torso, or two of the trunk; inside box."""
    box = np.asarray(person.box, np.float32)
    if person.face is None:
        chosen = np.array(_BLIND_POINTS, np.float32) * (box[2:] - box[:2]) + box[:2]
    else:
        face = np.asarray(person.face, np.float32)
        centre = (face[:2] + face[2:]) / 2
        torso = [centre[0], face[1] + _TORSO_SIDES * (face[2] - face[0])]
        chosen = np.array([centre, torso], np.float32)
    height, width = person.picture.shape[:2]
    last = np.minimum(box[2:] - 1, [width - 1, height - 1])
    kept = np.clip(chosen, np.maximum(box[:2], 0), np.maximum(last, 0))
    return [(float(x), float(y)) for x, y in kept]


def _by_picture(people: Sequence[PersonImage]) -> list[list[int]]:
    """Group people whose picture is the same array."""
    groups: dict[int, list[int]] = {}
    for index, person in enumerate(people):
        groups.setdefault(id(person.picture), []).append(index)
    return list(groups.values())


def _chunks(groups: Sequence[list[int]], size: int) -> Iterator[Sequence[list[int]]]:
    return (groups[top : top + size] for top in range(0, len(groups), size))


def _scaled_size(width: int, height: int, side: int) -> tuple[int, int]:
    scale = side / max(width, height)
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))


def _scaled(picture: Picture, side: int) -> np.ndarray:
    """Return the picture with its longer side at `side`, float32 0 to 255."""
    height, width = picture.shape[:2]
    shrinks = max(width, height) > side
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(picture, _scaled_size(width, height, side), interpolation=kind)
    return np.ascontiguousarray(resized, np.float32)
