"""Masks by MediaPipe's selfie segmentation, a small network that knows people, through OpenCV."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.engines.interfaces import CutOut, EngineInfo, EngineNeeds, PersonImage, Picture
from pipeline.engines.masks.mask_cleaning import clean_mask
from pipeline.engines.masks.neighbours import without_neighbours
from pipeline.engines.opencv_network import read_network
from pipeline.engines.weights import find_for
from pipeline.pictures.boxes import clip_to, padded_crop

_SIDE = 256
_MARGIN = 0.12  # of the person's longer side, around the box
_SQUARE = 1.1  # side of the second view over the person's longer side
_PERSON = 0.5  # probability
_PERHAPS, _SURELY = 0.3, 0.7
_NEAR = 0.06  # of the longer side: beyond it, what may be a person is somebody else
# Trust by how much of what may be the person surely is. Of the 30 drawn masks that were tuned on,
# those below 0.86 had an IoU below 0.89.
_SURE_SHARE, _TRUST = (0.7, 0.86, 0.95), (0.0, 0.5, 1.0)
_CHEST = 0.35  # of the box's height below its upper edge: there a person is, whatever the pose


class SelfieMasks:
    """Two looks at each person: the box filled out, and a square around it, in true proportions.

    The network marks everybody whom it sees, so the piece that holds the face and the chest is
    kept. Where it is unsure, of limbs before busy ground or in a crowd, the mask is trusted less.
    """

    needs = EngineNeeds(weights=(("mediapipe", "segmentation"),), memory_mib=20)

    def __init__(self) -> None:
        found = find_for("mediapipe", "segmentation")
        self._network = read_network(found.path)
        self.info = EngineInfo(
            id=f"opencv-{found.weights.name}/2",
            task="segmentation",
            licence=found.weights.licence,
            commercial=found.weights.commercial,
            weights_digest=found.sha256,
        )

    def segment(self, people: Sequence[PersonImage]) -> list[np.ndarray]:
        """Return one (H, W) uint8 mask per picture, 255 on the person."""
        return [cut.mask for cut in self.cut_out(people)]

    def cut_out(self, people: Sequence[PersonImage]) -> list[CutOut]:
        """Return one mask per picture, with its trust."""
        return [self._cut_one(person) for person in people]

    def _cut_one(self, person: PersonImage) -> CutOut:
        height, width = person.picture.shape[:2]
        box = np.asarray(person.box, np.float32)
        longer = float((box[2:] - box[:2]).max())
        wider = clip_to(box + _MARGIN * longer * np.array([-1, -1, 1, 1]), width, height)
        middle, half = (box[:2] + box[2:]) / 2, _SQUARE * longer / 2
        square = np.concatenate([middle - half, middle + half])
        seen = (self._look(person.picture, wider) + self._look(person.picture, square)) / 2
        everybody = clean_mask(seen >= _PERSON, box, _points_on(person))
        return CutOut(without_neighbours(person, everybody), _trust(seen, everybody, box))

    def _look(self, picture: Picture, view: np.ndarray) -> np.ndarray:
        """Return (H, W) float32: how likely each pixel in `view`, xyxy, shows a person."""
        crop = padded_crop(picture, view, (_SIDE, _SIDE))
        self._network.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
        seen = self._network.forward().reshape(_SIDE, _SIDE)
        scale = _SIDE / (view[2:] - view[:2])
        shift = (0.5 - view[:2]) * scale - 0.5
        place = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(seen, place, picture.shape[1::-1], flags=flags)


def _trust(seen: np.ndarray, mask: np.ndarray, box: np.ndarray) -> float:
    """Return from 0 to 1 how sure the network was of one person's mask."""
    reach = max(1, round(_NEAR * float((box[2:] - box[:2]).max())))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    x0, y0, x1, y1 = np.round(box).astype(int)
    near = np.zeros(mask.shape, bool)
    near[y0:y1, x0:x1] = cv2.dilate(mask, kernel)[y0:y1, x0:x1] > 0
    perhaps = (mask > 0) | (near & (seen >= _PERHAPS))
    surely = (mask > 0) & (seen >= _SURELY)
    share = float(surely.sum()) / max(float(perhaps.sum()), 1.0)
    return float(np.interp(share, _SURE_SHARE, _TRUST))


def _points_on(person: PersonImage) -> list[tuple[float, float]]:
    """Return points that surely show the person: the middles of face and chest."""
    x0, y0, x1, y1 = (float(side) for side in person.box)
    points = [((x0 + x1) / 2, y0 + _CHEST * (y1 - y0))]
    if person.face is not None:
        left, top, right, bottom = (float(side) for side in person.face)
        points += [((left + right) / 2, (top + bottom) / 2)] * 2  # surer than the chest
    return points
