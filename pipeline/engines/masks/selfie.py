"""Masks by MediaPipe's selfie segmentation, a small network that knows people, through OpenCV."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.engines.interfaces import EngineInfo, EngineNeeds, PersonImage
from pipeline.engines.masks.mask_cleaning import clean_mask
from pipeline.engines.opencv_network import read_network
from pipeline.engines.weights import find_for
from pipeline.pictures.boxes import clip_to, padded_crop

_SIDE = 256
_MARGIN = 0.12  # of the person's longer side, around the box
_PERSON = 0.5  # probability
_CHEST = 0.35  # of the box's height below its upper edge: there a person is, whatever the pose


class SelfieMasks:
    """One run for each person: the network marks everybody whom it sees in the crop.

    The piece that holds the face and the chest is kept; who stands close enough to be of one
    piece with somebody is not cut off.
    """

    needs = EngineNeeds(weights=(("mediapipe", "segmentation"),), memory_mib=20)

    def __init__(self) -> None:
        found = find_for("mediapipe", "segmentation")
        self._network = read_network(found.path)
        self.info = EngineInfo(
            id=f"opencv-{found.weights.name}/1",
            task="segmentation",
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
        )

    def segment(self, people: Sequence[PersonImage]) -> list[np.ndarray]:
        """Return one (H, W) uint8 mask per picture, 255 on the person."""
        return [self._segment_one(person) for person in people]

    def _segment_one(self, person: PersonImage) -> np.ndarray:
        height, width = person.picture.shape[:2]
        box = np.asarray(person.box, np.float32)
        margin = _MARGIN * float((box[2:] - box[:2]).max())
        outer = clip_to(box + margin * np.array([-1, -1, 1, 1]), width, height)
        x0, y0, x1, y1 = np.round(outer).astype(int)
        crop = padded_crop(person.picture, np.array([x0, y0, x1, y1]), (_SIDE, _SIDE))
        self._network.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
        seen = self._network.forward().reshape(_SIDE, _SIDE)
        share = cv2.resize(seen, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        mask = np.zeros((height, width), bool)
        mask[y0:y1, x0:x1] = share >= _PERSON
        return clean_mask(mask, box, _points_on(person))


def _points_on(person: PersonImage) -> list[tuple[float, float]]:
    """Return points that surely show the person: the middles of face and chest."""
    x0, y0, x1, y1 = (float(side) for side in person.box)
    points = [((x0 + x1) / 2, y0 + _CHEST * (y1 - y0))]
    if person.face is not None:
        left, top, right, bottom = (float(side) for side in person.face)
        points += [((left + right) / 2, (top + bottom) / 2)] * 2  # surer than the chest
    return points
