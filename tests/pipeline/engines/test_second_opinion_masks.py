"""Two networks on one person: where only one of them sees somebody, the other has a say."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.engines.interfaces import CutOut, PersonImage
from pipeline.engines.masks.selfie import SelfiePoseMasks, _trust

WIDTH, HEIGHT = 120, 200
BODY = np.array([40, 20, 70, 180])
BUSH = np.array([70, 60, 100, 180])  # touches the body, in the person's box
BOX = np.array([36, 16, 104, 184], np.float32)


def view_of_pose() -> np.ndarray:
    middle, half = (BOX[:2] + BOX[2:]) / 2, 1.3 * 168 / 2
    return np.concatenate([middle - half, middle + half])


class _Selfie:
    """Sees people where the picture is bright, as surely as it is bright."""

    def setInput(self, blob: np.ndarray) -> None:
        self._blob = blob

    def forward(self) -> np.ndarray:
        return self._blob[0].max(axis=0)


class _Pose:
    """Sees the body, in its own view, and nothing else."""

    def __init__(self, present: float) -> None:
        self._present = present

    def setInput(self, blob: np.ndarray) -> None:
        del blob

    def forward(self, names: tuple[str, ...]) -> list[np.ndarray]:
        assert len(names) == 2
        view = view_of_pose()
        scale = 256 / (view[2] - view[0])
        x0, y0, x1, y1 = np.round((BODY - np.tile(view[:2], 2)) * scale).astype(int)
        logits = np.full((1, 1, 256, 256), -9.0, np.float32)
        logits[..., y0:y1, x0:x1] = 9
        return [logits, np.array([[self._present]], np.float32)]


def cut(bush: float, present: float = 1.0, face: np.ndarray | None = None) -> CutOut:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for (x0, y0, x1, y1), likely in ((BODY, 0.95), (BUSH, bush)):
        picture[y0:y1, x0:x1] = round(255 * likely)
    engine = object.__new__(SelfiePoseMasks)
    vars(engine).update(_network=_Selfie(), _pose=_Pose(present))
    [found] = engine.cut_out([replace(PersonImage(picture, BOX), face=face)])
    return found


def share(found: CutOut, part: np.ndarray) -> float:
    x0, y0, x1, y1 = part
    return float((found.mask[y0 + 6 : y1 - 6, x0 + 6 : x1 - 6] > 0).mean())


def test_what_is_hardly_a_person_and_the_second_does_not_see_is_cut_off() -> None:
    found = cut(bush=0.75)
    assert share(found, BODY) > 0.98
    assert share(found, BUSH) < 0.02


def test_what_one_is_sure_of_stays_and_is_trusted_less() -> None:
    disputed, agreed = cut(bush=0.98), cut(bush=0.0)
    assert share(disputed, BUSH) > 0.98
    assert disputed.trust < 0.5 < 0.9 < agreed.trust


@pytest.mark.parametrize(
    "blind", [{"present": 0.1}, {"face": np.array([36, 20, 104, 180], np.float32)}]
)
def test_a_second_that_sees_nobody_or_only_a_head_has_no_say(blind: dict) -> None:
    assert share(cut(bush=0.75, **blind), BUSH) > 0.98


def test_thin_limbs_are_trusted_where_only_their_outline_is_unsure() -> None:
    """A figure of limbs a few pixels wide, and the same with a patch of half a person beside it."""
    box = np.array([10.0, 10.0, 110.0, 190.0], np.float32)
    limbs = np.zeros((HEIGHT, WIDTH), np.float32)
    for x0, y0, x1, y1 in (
        (50, 12, 64, 100),
        (14, 40, 106, 48),
        (44, 96, 54, 188),
        (62, 96, 72, 188),
    ):
        limbs[y0:y1, x0:x1] = 1
    seen = cv2.GaussianBlur(limbs, (0, 0), 1.5)
    mask = (seen >= 0.5).astype(np.uint8) * 255
    patch = seen.copy()
    patch[110:150, 76:96] = 0.45
    assert _trust(seen, mask, box) > 0.7
    assert _trust(patch, mask, box) < 0.5
