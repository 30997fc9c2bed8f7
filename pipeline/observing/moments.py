"""A person in one still of a clip: what is measured before anything is cut, and the crop."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from pipeline.engines.interfaces import PersonImage, Picture
from pipeline.execution.stage import Still
from pipeline.observing.faces import to_still
from pipeline.pictures.boxes import clip_to
from pipeline.pictures.image_measures import (
    Measured,
    combined_quality,
    exposure_of,
    occlusion_of,
    sharpness_of,
    truncation_of,
)
from schemas.tables import Clip, FaceBox

EDGE = 0.02  # of the still's side: a box this near is cut by the picture's edge
_BODY_SIDES = 5.5  # a box this many faces high holds feet; knees end at 5
_BODY_ASPECT = 2.2  # the same without a face: height over width
_TURNED = 30.0  # degrees of yaw that make another view


@dataclass(frozen=True)
class Moment:
    """A person in one still, in pixels of the still."""

    still: Still
    picture: Picture = field(repr=False)
    box: np.ndarray
    face: FaceBox | None
    face_box: np.ndarray | None
    others: tuple[np.ndarray, ...]  # boxes of other people
    measured: Measured

    @classmethod
    def of(
        cls,
        still: Still,
        picture: Picture,
        box: np.ndarray,
        face: FaceBox | None,
        others: Sequence[np.ndarray | None],
    ) -> "Moment":
        """Measure a person; `face` is in pixels of the clip, boxes in those of the still."""
        face_box = None
        if face is not None:
            placed = to_still(np.asarray(face.box, np.float32), still)
            face_box = clip_to(placed, still.width, still.height)
        yaw = face.yaw if face is not None else math.nan
        beside = tuple(other for other in others if other is not None)
        measured = Measured(
            size_px=math.sqrt(_area(box)),
            sharpness=sharpness_of(picture, box),
            exposure=exposure_of(picture, box if face_box is None else face_box),
            frontal=0.0 if math.isnan(yaw) else max(0.0, 1 - abs(yaw) / 90),
            face_seen=face is not None,
            occlusion=occlusion_of(box, beside),
            truncation=truncation_of(box, still.width, still.height, EDGE),
        )
        return cls(still, picture, box, face, face_box, beside, measured)

    @property
    def quality(self) -> float:
        """What is measured in one number, the mask aside."""
        return combined_quality(self.measured)

    @property
    def whole_body(self) -> bool:
        """Whether head and feet are in the picture."""
        x0, y0, x1, y1 = self.box
        height, width = self.still.height, self.still.width
        cut = y0 < EDGE * height or y1 > (1 - EDGE) * height or x0 <= 0 or x1 >= width
        if cut:
            return False
        if self.face_box is None:
            return bool(y1 - y0 >= _BODY_ASPECT * (x1 - x0))
        return bool(y1 - y0 >= _BODY_SIDES * max(self.face_box[2:] - self.face_box[:2]))

    def source_size(self, clip: Clip) -> float:
        """Return the person's size in pixels of the source, whatever the still was scaled to."""
        per_source_px = self.still.scale * clip.scale
        return math.sqrt(_area(self.box)) / (per_source_px if per_source_px > 0 else 1.0)

    def crop(self, margin: float, max_side: int) -> PersonImage:
        """Cut the person out with a margin, whole, and never beyond the still."""
        cut = Crop.of(self, margin, max_side)
        x0, y0, x1, y1 = cut.around
        part = self.picture[y0:y1, x0:x1]
        if cut.scale != 1:
            part = cv2.resize(part, cut.size, interpolation=cv2.INTER_AREA)
        landmarks = None
        if self.face is not None and self.face.landmarks:
            points = to_still(np.asarray(self.face.landmarks, np.float32), self.still)
            landmarks = (points.reshape(5, 2) - np.array([x0, y0], np.float32)) * cut.scale
        return PersonImage(
            np.ascontiguousarray(part),
            cut.place(self.box),
            None if self.face_box is None else cut.place(self.face_box),
            landmarks,
            tuple(cut.place(other) for other in self.others),
        )


@dataclass(frozen=True)
class Crop:
    """Which part of a still a crop is."""

    around: tuple[int, int, int, int]  # xyxy in pixels of the still
    scale: float  # pixels of the crop per pixel of the still
    size: tuple[int, int]

    @classmethod
    def of(cls, moment: Moment, margin: float, max_side: int) -> "Crop":
        """Return the crop around a person, its sides `margin` times the person's."""
        box, still = moment.box, moment.still
        beside = (margin - 1) / 2 * (box[2:] - box[:2])
        x0, y0 = np.maximum(np.floor(box[:2] - beside), 0).astype(int).tolist()
        limits = [still.width, still.height]
        x1, y1 = np.minimum(np.ceil(box[2:] + beside), limits).astype(int).tolist()
        scale = min(1.0, max_side / max(x1 - x0, y1 - y0))
        size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
        return cls((x0, y0, x1, y1), scale, size)

    def place(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes from pixels of the still to those of the crop."""
        corner = np.array([*self.around[:2]] * 2, np.float32)
        return clip_to((boxes - corner) * self.scale, *self.size)


def choose(moments: Sequence[Moment], number: int, beside: Sequence[Moment] = ()) -> list[Moment]:
    """Return up to `number` moments, best first, each unlike those before it and those in `beside`.

    Greedy: quality, less up to a half where a chosen one is near in time and in yaw.
    """
    times = [each.still.time_s for each in (*moments, *beside)]
    span = max(max(times, default=0.0) - min(times, default=0.0), 1e-6)
    left = sorted(moments, key=lambda each: (-each.quality, each.still.time_s))
    chosen: list[Moment] = []
    while left and len(chosen) < number:
        worths = [_worth(each, (*beside, *chosen), span) for each in left]
        chosen.append(left.pop(int(np.argmax(worths))))
    return chosen


def _worth(each: Moment, chosen: Sequence[Moment], span: float) -> float:
    def likeness(other: Moment) -> float:
        apart = min(1.0, 3 * abs(each.still.time_s - other.still.time_s) / span)
        turned = abs(_yaw(each) - _yaw(other)) > _TURNED
        return (1 - apart) * (0.5 if turned else 1.0)

    return each.quality * (1 - 0.5 * max(map(likeness, chosen), default=0.0))


def _yaw(moment: Moment) -> float:
    yaw = moment.face.yaw if moment.face else math.nan
    return 90.0 if math.isnan(yaw) else yaw


def _area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
