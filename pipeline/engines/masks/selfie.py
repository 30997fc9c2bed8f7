"""Masks by MediaPipe's small networks that know people, through OpenCV."""

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
# seven are below 0.85, five of them with an IoU below 0.85; of the others one is.
_SURE_SHARE, _TRUST = (0.65, 0.85, 0.95), (0.0, 0.5, 1.0)
# Thin limbs are mostly outline, and there a network is always unsure. Of 53 masks that the shares
# above refused, seven are sure further inside and outside, and right; the next, at 0.91, are not.
_OUTLINE = 2.0  # pixels of the network around the outline
_SURE_BESIDE, _TRUST_BESIDE = (0.885, 0.92, 0.955), (0.0, 0.5, 0.75)  # by what is further away
_POSE_OUTPUTS = ("Identity_2", "Identity_1")  # logits of the mask; whether a person is there
_POSE_SQUARE = 1.3  # side of BlazePose's view over the person's longer side
_POSE_WEIGHT = 0.4  # the selfie network sees finer edges and what people carry
_PRESENT = (0.3, 0.8)
_HEAD_TO_BODY = (2.0, 6.0)  # height of the box over that of the face
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
            id=f"opencv-{found.weights.name}/4",
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
        box = np.asarray(person.box, np.float32)
        seen = self._seen(person)
        everybody = clean_mask(seen >= _PERSON, box, _points_on(person))
        mask = without_neighbours(person, everybody)
        return CutOut(mask, _trust(seen, mask, box))

    def _seen(self, person: PersonImage) -> np.ndarray:
        """Return (H, W) float32: how likely each pixel shows a person."""
        height, width = person.picture.shape[:2]
        box = np.asarray(person.box, np.float32)
        margin = _MARGIN * float((box[2:] - box[:2]).max()) * np.array([-1, -1, 1, 1])
        views = clip_to(box + margin, width, height), _square(box, _SQUARE)
        return np.mean([self._look(person.picture, view) for view in views], axis=0)

    def _look(self, picture: Picture, view: np.ndarray) -> np.ndarray:
        self._network.setInput(_crop(picture, view))
        return _laid_back(self._network.forward(), view, picture.shape[1::-1])


class SelfiePoseMasks(SelfieMasks):
    """The two looks, and a second opinion: what BlazePose takes for the one whom it sees.

    It knows whole bodies and tells them from bushes, poles and neighbours, where the other network
    marks what looks like anybody; of a head alone it knows little. Where the two do not agree, the
    mask is trusted less.
    """

    needs = EngineNeeds(
        weights=(("mediapipe", "segmentation"), ("blazepose", "segmentation")), memory_mib=51
    )

    def __init__(self) -> None:
        super().__init__()
        found = find_for("blazepose", "segmentation")
        self._pose = read_network(found.path)
        self.info = self.info.joined_with(
            EngineInfo(
                id=f"{found.weights.name}/1",
                task="segmentation",
                licence=found.weights.licence,
                commercial=found.weights.commercial,
                weights_digest=found.sha256,
            )
        )

    def _seen(self, person: PersonImage) -> np.ndarray:
        first, share = super()._seen(person), _share_of_body(person)
        if not share:
            return first
        second, present = self._pose_look(person)
        weight = _POSE_WEIGHT * share * float(np.interp(present, _PRESENT, (0, 1)))
        return (1 - weight) * first + weight * second

    def _pose_look(self, person: PersonImage) -> tuple[np.ndarray, float]:
        """Return what BlazePose sees, (H, W), and how sure it is that a person is there."""
        view = _square(np.asarray(person.box, np.float32), _POSE_SQUARE)
        self._pose.setInput(_crop(person.picture, view))
        logits, present = self._pose.forward(_POSE_OUTPUTS)
        likely = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        return _laid_back(likely, view, person.picture.shape[1::-1]), float(present.ravel()[0])


def _square(box: np.ndarray, side: float) -> np.ndarray:
    """Return a square around a box, its side over the box's longer one."""
    middle, half = (box[:2] + box[2:]) / 2, side * float((box[2:] - box[:2]).max()) / 2
    return np.concatenate([middle - half, middle + half])


def _crop(picture: Picture, view: np.ndarray) -> np.ndarray:
    return cv2.dnn.blobFromImage(padded_crop(picture, view, (_SIDE, _SIDE)), 1 / 255)


def _laid_back(seen: np.ndarray, view: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Return (H, W) float32: what a network saw in `view`, xyxy, and 0 elsewhere."""
    scale = _SIDE / (view[2:] - view[:2])
    shift = (0.5 - view[:2]) * scale - 0.5
    place = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(seen.reshape(_SIDE, _SIDE), place, size, flags=flags)


def _share_of_body(person: PersonImage) -> float:
    """Return from 0 for a head alone to 1 for a body, by how small the face is."""
    if person.face is None:
        return 1.0
    faces = float(person.box[3] - person.box[1]) / max(float(person.face[3] - person.face[1]), 1.0)
    return float(np.interp(faces, _HEAD_TO_BODY, (0, 1)))


def _trust(seen: np.ndarray, mask: np.ndarray, box: np.ndarray) -> float:
    """Return from 0 to 1 how sure the network was of one person's mask."""
    longer = float((box[2:] - box[:2]).max())
    reach = max(1, round(_NEAR * longer))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    x0, y0, x1, y1 = np.round(box).astype(int)
    near = np.zeros(mask.shape, bool)
    near[y0:y1, x0:x1] = cv2.dilate(mask, kernel)[y0:y1, x0:x1] > 0
    perhaps = (mask > 0) | (near & (seen >= _PERHAPS))
    surely = (mask > 0) & (seen >= _SURELY)
    away = _from_outline(mask) > _OUTLINE * longer / _SIDE
    return max(
        float(np.interp(_share(surely, perhaps), _SURE_SHARE, _TRUST)),
        float(np.interp(_share(surely & away, perhaps & away), _SURE_BESIDE, _TRUST_BESIDE)),
    )


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum()) / max(float(whole.sum()), 1.0)


def _from_outline(mask: np.ndarray) -> np.ndarray:
    """Return (H, W) how far each pixel is from the mask's outline; the picture's edge is none."""
    inside = (mask > 0).astype(np.uint8)
    distances = [
        cv2.distanceTransform(np.pad(side, 1, mode="edge"), cv2.DIST_L2, 5)[1:-1, 1:-1]
        for side in (inside, 1 - inside)
    ]
    return np.maximum(*distances)


def _points_on(person: PersonImage) -> list[tuple[float, float]]:
    """Return points that surely show the person: the middles of face and chest."""
    x0, y0, x1, y1 = (float(side) for side in person.box)
    points = [((x0 + x1) / 2, y0 + _CHEST * (y1 - y0))]
    if person.face is not None:
        left, top, right, bottom = (float(side) for side in person.face)
        points += [((left + right) / 2, (top + bottom) / 2)] * 2  # surer than the chest
    return points
