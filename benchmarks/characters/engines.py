"""Engines that know the drawn films: the pipeline is tested on them, not a detector.

They find the frame that a picture shows among all drawn frames and read the truth of it. The
folder of the films is in the environment variable CHARACTERS_FILMS. What a person looks like, who
is the same person and what may be a reference is still the pipeline's business.
"""

import itertools
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from benchmarks.characters.draw import SIDE
from benchmarks.characters.duos import LEFT_ONE, RIGHT_ONE, captions_of
from benchmarks.characters.truth import Truth
from pipeline.engines.interfaces import (
    CaptionFacts,
    Detections,
    EngineInfo,
    Faces,
    PersonImage,
    Picture,
    SimilarityWindows,
)

FOLDER = "CHARACTERS_FILMS"
_BANDS = (0.0, 0.16, 0.34, 0.62, 0.98)  # of the figure's height: hair, face, top, bottom


@lru_cache(maxsize=1)
def _truth() -> Truth:
    if FOLDER not in os.environ:
        raise ValueError(f"these engines need {FOLDER}, the folder of the drawn films")
    return Truth.read(Path(os.environ[FOLDER]))


def _info(task: str) -> EngineInfo:
    return EngineInfo(f"drawn-{task}/1", task, "Apache-2.0", commercial=True)


class DrawnPeople:
    """The figures of every frame, where they were drawn."""

    info = _info("person_detection")

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        found = []
        for picture in pictures:
            boxes = _truth().boxes[_truth().find(picture)] * (picture.shape[0] / SIDE)
            found.append(Detections(boxes.astype(np.float32), np.ones(len(boxes), np.float32)))
        return found


class DrawnFaces:
    """None: drawn faces tell nothing that hair and clothes do not."""

    info = _info("face_detection")

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        none, boxes = np.zeros(0, np.float32), np.zeros((0, 4), np.float32)
        return [Faces(boxes, none, np.zeros((0, 5, 2), np.float32), none) for _ in pictures]


class DrawnRecogniser:
    """Mean colours from the hair down; tells nobody apart across videos, as each shows one."""

    info = _info("recognition")
    windows = SimilarityWindows(same_video=0.0, cross_video=1.0, reference_floor=0.0, duplicate=1.0)

    def embed(self, people: Sequence[PersonImage]) -> np.ndarray:
        return np.array([_colours(person) for person in people], np.float32).reshape(-1, 15)


class DrawnClothes:
    """Colours from the hair down, without the light of the shot: tells the two of a film apart."""

    info = _info("clothes_recognition")
    windows = SimilarityWindows(same_video=0.5, cross_video=1.0, reference_floor=0.2, duplicate=1.0)

    def embed(self, people: Sequence[PersonImage]) -> np.ndarray:
        return np.array([unlit(_bands(person)) for person in people], np.float32).reshape(-1, 12)


def unlit(bands: np.ndarray) -> np.ndarray:
    """Return a unit vector (12,) of the colours of all bands (4, 3), whatever light they are in.

    Light multiplies red, green and blue of all bands alike, so it goes with the mean logarithm.
    """
    logs = np.log(bands + 8)
    logs = (logs - logs.mean(axis=0)).reshape(-1)
    return logs / max(float(np.linalg.norm(logs)), 1e-6)


def _colours(person: PersonImage) -> np.ndarray:
    """Return a unit vector: the colour of every band, and a constant that keeps cosines high."""
    flat = np.concatenate([np.full(3, 255.0), _bands(person).reshape(-1)])
    return flat / np.linalg.norm(flat)


def _bands(person: PersonImage) -> np.ndarray:
    """Return the mean colours of hair, face, top and bottom, (4, 3)."""
    left, top, right, bottom = (float(side) for side in person.box)
    x = slice(round(left + 0.3 * (right - left)), max(round(right - 0.3 * (right - left)), 1))
    rows = [round(top + share * (bottom - top)) for share in _BANDS]
    found = []
    for first, last in itertools.pairwise(rows):
        band = person.picture[first : max(last, first + 1), x].reshape(-1, 3)
        found.append(band.mean(axis=0) if len(band) else np.zeros(3))
    return np.stack(found)


class DrawnMasks:
    """The figure by GrabCut within its box, small enough to cost nothing."""

    info = _info("segmentation")

    def segment(self, people: Sequence[PersonImage]) -> list[np.ndarray]:
        return [_cut(person) for person in people]


def _cut(person: PersonImage) -> np.ndarray:
    height, width = person.picture.shape[:2]
    x0, y0, x1, y1 = (round(float(side)) for side in person.box)
    x0, y0, x1, y1 = max(x0, 1), max(y0, 1), min(x1, width - 1), min(y1, height - 1)
    mask = np.zeros((height, width), np.uint8)
    if min(x1 - x0, y1 - y0) < 4:
        mask[:] = 255
        return mask
    cv2.setRNGSeed(0)
    models = np.zeros((2, 1, 65))
    cv2.grabCut(
        person.picture,
        mask,
        (x0, y0, x1 - x0, y1 - y0),
        models[0],
        models[1],
        2,
        cv2.GC_INIT_WITH_RECT,
    )
    return np.where((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD), 255, 0).astype(np.uint8)


class DrawnCaptions:
    """Action, place and light as drawn; not a word of who it is, so that only references tell."""

    info = _info("captioning")
    looks = True

    def caption(self, facts: Sequence[CaptionFacts]) -> list[tuple[str, str]]:
        return [_told(one) for one in facts]


def _told(facts: CaptionFacts) -> tuple[str, str]:
    """Return the caption, and how it calls the character: by the side, of two people."""
    picture = facts.frames[len(facts.frames) // 2]
    film, number = _truth().place(_truth().find(picture))
    sentences = captions_of(film, number)
    if film.second is None or facts.character is None:
        return " ".join(sentences), "A person."
    boxes = np.asarray(facts.character.boxes, float)
    is_left = boxes[:, [0, 2]].mean() < facts.clip.width / 2
    return " ".join(sentences), LEFT_ONE if is_left else RIGHT_ONE
