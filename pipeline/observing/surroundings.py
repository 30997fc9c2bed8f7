"""Measure what surrounds the people of a clip: its colour, how plain it is, and the light."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import cv2
import numpy as np

from pipeline.engines.captions.scene_words import PLAIN_DETAIL, PLAIN_EVENNESS
from pipeline.engines.identity.colours import name_of
from pipeline.execution.stage import Still
from pipeline.media.images import Picture
from pipeline.observing.faces import box_in_still
from schemas.tables import Track

_SIDE = 192  # short side at which it is measured
_BESIDE = 9  # pixels around people: outlines of masks are not exact
_LEAST_SHARE = 0.06  # of the picture that must be background
_EVEN = np.array([55, 8, 8])  # Lab distances (8 bits) from the median: a wall has shades
_EDGE_LEVELS = 12.0  # grey levels a pixel from which on a place is an edge
_ONE_COLOUR = 0.8  # share of the background that one name must fit
_LEVELS = 16  # of red, green and blue, for which names are looked up
_DIM, _TINTED = 40, 60  # HSV value and saturation from which on a dark colour has a hue


@dataclass(frozen=True)
class Surroundings:
    """See the columns of the same names in `schemas.tables.Clip`."""

    background_colour: str = ""
    background_evenness: float = math.nan
    background_detail: float = math.nan
    background_brightness: float = math.nan
    warmth: float = math.nan
    chroma: float = math.nan


@dataclass(frozen=True)
class PlacedMask:
    """A person's mask (uint8, 255 on it) and the part of a still, xyxy, that it belongs to."""

    track_id: str
    still: Still
    around: tuple[int, int, int, int]
    mask: np.ndarray = field(repr=False)


def surroundings_of(
    tracks: Sequence[Track],
    stills: Sequence[Still],
    pictures: Sequence[Picture],
    placed: Sequence[PlacedMask],
) -> Surroundings:
    """Measure what is beside the people in the stills of which masks are known."""
    seen = []
    for still, picture in zip(stills, pictures, strict=True):
        masks = {each.track_id: each for each in placed if each.still is still}
        if masks:
            seen.append(measure_surroundings(picture, _people_in(still, tracks, masks)))
    return common_surroundings(seen)


def _people_in(
    still: Still, tracks: Sequence[Track], masks: Mapping[str, PlacedMask]
) -> np.ndarray:
    """Return (H, W) bool: the masks of people in a still, and the boxes of those without."""
    people = np.zeros((still.height, still.width), bool)
    for track in tracks:
        own, box = masks.get(track.track_id), box_in_still(track, still)
        if own is not None:
            x0, y0, x1, y1 = own.around
            size = (x1 - x0, y1 - y0)
            people[y0:y1, x0:x1] |= cv2.resize(own.mask, size, interpolation=cv2.INTER_AREA) > 127
        elif box is not None:
            x0, y0, x1, y1 = np.round(box).astype(int)
            people[y0:y1, x0:x1] = True
    return people


def measure_surroundings(picture: Picture, people: np.ndarray) -> Surroundings:
    """Measure one whole picture; `people` is (H, W), not 0 on people."""
    scale = min(1.0, _SIDE / min(picture.shape[:2]))
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    tint = lab[..., 1:] - 128
    warmth, chroma = float(tint.mean()), float(np.linalg.norm(tint, axis=2).mean())
    covered = cv2.resize((people > 0).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    free = cv2.dilate(covered, np.ones((2 * _BESIDE + 1, 2 * _BESIDE + 1), np.uint8)) == 0
    if free.mean() < _LEAST_SHARE:
        return Surroundings(warmth=warmth, chroma=chroma)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 8
    ground = lab[free]
    near = np.abs(ground - np.median(ground, axis=0)) <= _EVEN
    evenness = float(near.all(axis=1).mean())
    detail = float((edges[free] > _EDGE_LEVELS).mean())
    plain = evenness >= PLAIN_EVENNESS and detail <= PLAIN_DETAIL
    return Surroundings(
        background_colour=_mean_colour(small[free]) if plain else _one_colour(small[free]),
        background_evenness=evenness,
        background_detail=detail,
        background_brightness=float(grey[free].mean() / 255),
        warmth=warmth,
        chroma=chroma,
    )


def common_surroundings(seen: Sequence[Surroundings]) -> Surroundings:
    """Return the median of what was measured in a clip's pictures, and the colour of most."""
    shown = [each for each in seen if math.isfinite(each.background_detail)]
    names = [each.background_colour for each in shown]
    best = max(sorted(set(names)), key=names.count, default="")
    numbers = {
        column.name: _median([getattr(each, column.name) for each in seen])
        for column in fields(Surroundings)
        if column.name != "background_colour"
    }
    return Surroundings(best if names.count(best) * 4 > len(names) * 3 else "", **numbers)


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return round(float(np.median(known)), 6) if known else math.nan


def _mean_colour(pixels: np.ndarray) -> str:
    return _name(np.median(pixels, axis=0).astype(np.uint8))


def _one_colour(pixels: np.ndarray) -> str:
    """Name the one colour of RGB pixels (N, 3), '' where there are several."""
    names, places = _names()
    step = 256 // _LEVELS
    r, g, b = (pixels // step).astype(int).T
    counts = np.bincount(places[r, g, b], minlength=len(names))
    best = int(counts.argmax())
    return names[best] if counts[best] >= _ONE_COLOUR * len(pixels) else ""


@functools.cache
def _names() -> tuple[list[str], np.ndarray]:
    """Return the names of colours, and the place of each of 16 x 16 x 16 colours among them."""
    levels = (np.arange(_LEVELS) + 0.5) * 256 / _LEVELS
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    named = [_name(colour) for colour in grid.reshape(-1, 3).astype(np.uint8)]
    names = sorted(set(named))
    places = np.array([names.index(name) for name in named])
    return names, places.reshape([_LEVELS] * 3)


def _name(colour: np.ndarray) -> str:
    """Name a colour; a dark one too, where it fills so much that its hue is no accident."""
    name = name_of(colour)
    if name != "black":
        return name
    _, saturation, value = cv2.cvtColor(colour.reshape(1, 1, 3), cv2.COLOR_RGB2HSV)[0, 0]
    if value < _DIM or saturation < _TINTED:
        return name
    return f"dark {name_of((colour.astype(float) * (160 / value)).astype(np.uint8))}".strip()
