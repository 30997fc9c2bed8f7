"""Verify an edited reference: the same person, in the same clothes, and not the same picture."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import cv2
import numpy as np

from pipeline.engines.identity.colours import colour_name
from pipeline.engines.identity.regions import regions_of
from pipeline.engines.identity.signature import signature
from pipeline.engines.interfaces import FaceDetector, PersonImage, Picture, Recogniser
from pipeline.engines.people.body_fit import person_around
from pipeline.pictures.boxes import padded_crop
from pipeline.pictures.relight import GAMMA
from schemas.settings import check_settings, setting

_SKIN = (0.2, 0.3, 0.8, 0.85)  # of the face's box: cheeks and nose, without hair and background
_PATCH = (24, 24)
_THUMBNAIL = (64, 64)
_LIGHTNESS = 0.4  # weight of Lab's L: folds and shadows change it, and not the cloth


class EditRefusal(StrEnum):
    """Why an edit is not used."""

    WRONG_SIZE = "wrong_size"
    NEAR_COPY = "near_copy"
    NO_FACE = "no_face"
    OTHER_PEOPLE = "other_people"
    LOW_SIMILARITY = "low_similarity"
    SKIN_CHANGED = "skin_changed"
    CLOTHES_CHANGED = "clothes_changed"


@dataclass(frozen=True)
class EditGateConfig:
    """Thresholds of an edit. Ours unless said; the colours were set on five photographs.

    Clothes are compared after the light on the face was undone. On the five photographs at hand
    that show a garment, with face boxes moved by up to 12 %, relit ones were within 7 in 21 of 25,
    and recoloured clothes beyond it in 12 of 15: the other three are grey, and stay so.

    Attributes:
        min_similarity: cosine to the source, in one light; null is the recogniser's
            reference_floor. Movie Gen keeps synthetic references from 0.7 on.
        min_change: mean difference of 64 px thumbnails, white is 1; below it is the same picture.
        min_face: side of the face over the source's.
        max_tint: stops of green against red and blue, of the face; lamps and suns stay below 0.12.
        max_warmth: stops of red or blue against the mean, of the face.
        max_garment: distance of a garment's colours in Lab (see `garment_distance`).
        min_signature: likeness of the trunks' colour histograms, where a garment is not seen.
    """

    min_similarity: float | None = setting(None, low=-1, high=1)
    min_change: float = setting(0.035, low=0, high=1)
    min_face: float = setting(0.35, low=0, high=10)
    max_tint: float = setting(0.3, low=0, high=8, infinite=True, unit="stops")
    max_warmth: float = setting(1.1, low=0, high=8, infinite=True, unit="stops")
    max_garment: float = setting(7.0, low=0, high=200, infinite=True)
    min_signature: float = setting(0.5, low=-1, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "pair.edits.gate")


@dataclass(frozen=True)
class EditVerdict:
    """Whether an edit may be used: every value that was measured, and the first that failed."""

    refusal: EditRefusal | None
    value: float | None = None  # of the check that failed
    threshold: float | None = None
    detail: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)
    person: PersonImage | None = field(default=None, repr=False)  # in the edit, when found

    @property
    def passed(self) -> bool:
        return self.refusal is None


@dataclass(frozen=True)
class EditVerifier:
    """Checks edits with the run's own engines, cheapest check first."""

    faces: FaceDetector
    recogniser: Recogniser
    config: EditGateConfig = field(default_factory=EditGateConfig)

    def verify(self, source: PersonImage, edited: Picture) -> EditVerdict:
        """Return whether the edit shows the source's person; a verdict is a value, never raised.

        A source without a face gives nothing to verify by: its edits are refused.
        """
        if edited.shape != source.picture.shape or edited.dtype != np.uint8:
            detail = f"{edited.shape} {edited.dtype}, source {source.picture.shape}"
            return EditVerdict(EditRefusal.WRONG_SIZE, detail=detail)
        measured = {"change": change_between(source.picture, edited)}
        copy = first_failure(measured, self.config, -1.0)
        if copy is not None:
            return EditVerdict(copy.refusal, copy.value, copy.limit, measured=measured)
        person = self._find(source, edited, measured)
        if isinstance(person, EditVerdict):
            return person
        corrected = in_light_of(source, person)
        vectors = self.recogniser.embed([source, corrected])
        measured["similarity"] = round(float(vectors[0] @ vectors[1]), 6)
        measured |= skin_between(source, person) | clothes_between(source, corrected)
        return self._judge(source, person, measured)

    def _find(
        self, source: PersonImage, edited: Picture, measured: dict[str, float]
    ) -> PersonImage | EditVerdict:
        """Return the one person of the edit."""
        if source.face is None:
            detail = "the source shows no face to compare with"
            return EditVerdict(EditRefusal.NO_FACE, detail=detail, measured=measured)
        found = self.faces.detect([edited])[0]
        least = self.config.min_face * float(source.face[2] - source.face[0])
        seen = [k for k, box in enumerate(found.boxes) if box[2] - box[0] >= least]
        measured["faces"] = len(seen)
        if len(seen) != 1:
            refusal = EditRefusal.OTHER_PEOPLE if seen else EditRefusal.NO_FACE
            return EditVerdict(refusal, len(seen), 1, f"{len(seen)} faces", measured)
        face = found.boxes[seen[0]]
        others = np.delete(found.boxes, seen[0], axis=0)
        box = person_around(edited, face, others)
        return PersonImage(edited, box, face, found.landmarks[seen[0]])

    def _judge(
        self, source: PersonImage, person: PersonImage, measured: dict[str, float]
    ) -> EditVerdict:
        floor = self.recogniser.windows.reference_floor
        failed = first_failure(measured, self.config, floor)
        if failed is None:
            return EditVerdict(None, measured=measured, person=person)
        detail = _detail(failed.key, source, person)
        return EditVerdict(failed.refusal, failed.value, failed.limit, detail, measured, person)


@dataclass(frozen=True)
class EditFailure:
    """The first check that an edit fails."""

    key: str
    refusal: EditRefusal
    value: float
    limit: float


def first_failure(
    measured: Mapping[str, float], gate: EditGateConfig, floor: float
) -> EditFailure | None:
    """Hold what was measured against the thresholds; `floor` is the recogniser's own.

    Checks whose value was not measured are passed over.
    """
    floor = floor if gate.min_similarity is None else gate.min_similarity
    skin, clothes = EditRefusal.SKIN_CHANGED, EditRefusal.CLOTHES_CHANGED
    least = {
        "change": (EditRefusal.NEAR_COPY, gate.min_change),
        "similarity": (EditRefusal.LOW_SIMILARITY, floor),
        "signature": (clothes, -1.0 if "top" in measured else gate.min_signature),
    }
    most = {
        "tint": (skin, gate.max_tint),
        "warmth": (skin, gate.max_warmth),
        "top": (clothes, gate.max_garment),
        "bottom": (clothes, gate.max_garment),
    }
    for key, (refusal, limit) in least.items():
        if measured.get(key, math.inf) < limit:
            return EditFailure(key, refusal, measured[key], limit)
    for key, (refusal, limit) in most.items():
        if measured.get(key, -math.inf) > limit:
            return EditFailure(key, refusal, measured[key], limit)
    return None


def change_between(first: Picture, second: Picture) -> float:
    """Return the mean difference of two pictures' thumbnails, 0 to 1."""
    small = [
        cv2.resize(each, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        for each in (first, second)
    ]
    return float(np.abs(small[0] - small[1]).mean() / 255)


def skin_between(source: PersonImage, edited: PersonImage) -> dict[str, float]:
    """Return how the face's colour moved, in stops: tint of green, warmth of red or blue."""
    stops = np.log2(_skin(source) / _skin(edited))
    stops -= stops.mean()
    found = {"tint": abs(float(stops[1])), "warmth": float(np.abs(stops[[0, 2]]).max())}
    return {name: round(value, 4) for name, value in found.items()}


def clothes_between(source: PersonImage, edited: PersonImage) -> dict[str, float]:
    """Return how far clothes are apart, both in one light (see `in_light_of`).

    Keys: signature (0 to 1), and top and bottom where seen in both pictures (Lab).
    """
    trunks = signature(source.picture, source.box), signature(edited.picture, edited.box)
    found = {"signature": float(trunks[0] @ trunks[1])}
    before, after = regions_of(source), regions_of(edited)
    for part in ("top", "bottom"):
        if part in before and part in after:
            boxes = before[part].box, after[part].box
            found[part] = garment_distance(source.picture, boxes[0], edited.picture, boxes[1])
    return {name: round(value, 4) for name, value in found.items()}


def in_light_of(source: PersonImage, edited: PersonImage) -> PersonImage:
    """Return the edit with the light undone that makes its face another colour than the source's.

    The face stands for a grey card: what is left of a difference is no difference of light.
    """
    linear = np.power(edited.picture / 255.0, GAMMA) * (_skin(source) / _skin(edited))
    lit = np.round(np.power(np.clip(linear, 0, 1), 1 / GAMMA) * 255).astype(np.uint8)
    return PersonImage(lit, edited.box, edited.face, edited.landmarks)


def _skin(person: PersonImage) -> np.ndarray:
    """Return the face's median colour as linear light (3,)."""
    assert person.face is not None, "only people with a face are compared"
    face = np.asarray(person.face, np.float32)
    size = np.tile(face[2:] - face[:2], 2)
    patch = padded_crop(person.picture, np.tile(face[:2], 2) + np.array(_SKIN) * size, _PATCH)
    linear = np.power(patch.reshape(-1, 3) / 255.0, GAMMA)
    return np.median(linear, axis=0) + 1e-3


def garment_distance(
    first: Picture, first_box: np.ndarray, second: Picture, second_box: np.ndarray
) -> float:
    """Return how far the colours of one patch are from the nearest of the other, in Lab.

    The median over a patch's pixels, and the worse of both directions: so hands, folds and boxes
    that do not quite match count little, another colour counts in full.
    """
    one, other = _colours(first, first_box), _colours(second, second_box)
    apart = np.sqrt(((one[:, None] - other[None]) ** 2).sum(axis=2))
    return float(max(np.median(apart.min(axis=1)), np.median(apart.min(axis=0))))


def _colours(picture: Picture, box: np.ndarray) -> np.ndarray:
    patch = cv2.GaussianBlur(padded_crop(picture, box, _PATCH), (3, 3), 0)
    lab = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    return lab * np.array([_LIGHTNESS, 1, 1], np.float32)


def _detail(key: str, source: PersonImage, edited: PersonImage) -> str:
    if key not in ("top", "bottom"):
        return key
    names = [
        colour_name(each.picture, regions_of(each)[key].box) or "of no one colour"
        for each in (source, edited)
    ]
    return f"{key} is {names[1]}, was {names[0]}"
