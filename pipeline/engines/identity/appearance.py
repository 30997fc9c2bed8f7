"""A recogniser without weights: the look of face, hair and clothes, region by region.

It tells people of one video apart by what they wear and how they look in its light. It does not
know faces, so it proves nobody: its windows only say who is suspected to be one person.

Layout of a vector: each part has its place; a part that is not seen is zero there, so that two
vectors compare in what both show, and what only one shows counts against them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np

from pipeline.engines.identity.regions import Region, regions_of
from pipeline.engines.identity.spaces import Worn
from pipeline.engines.interfaces import EngineInfo, EngineNeeds, PersonImage, SimilarityWindows
from pipeline.pictures.boxes import padded_crop

_FACE_PX = 64
_CELLS = 4  # face texture in 4 x 4 cells, as Ahonen et al. (2006), "Face description with LBP"
_PATTERNS = 59  # uniform local binary patterns of 8 neighbours, the rest in one bin
_PATCH = (24, 24)
_BINS = (6, 12, 12)
_LAB_RANGES = ((0.0, 256.0), (88.0, 168.0), (88.0, 168.0))  # few colours of a film lie outside
_COLOURS = int(np.prod(_BINS))
# Share of the cosine that each part decides when all are seen. Clothes and hair tell people of
# one video apart best; the texture of the face is the only part that clothes do not change.
_WEIGHTS = {"texture": 0.30, "face": 0.12, "hair": 0.23, "top": 0.25, "bottom": 0.10}
_SIZES = {
    "texture": _CELLS * _CELLS * _PATTERNS,
    "face": _COLOURS,
    "hair": _COLOURS,
    "top": _COLOURS,
    "bottom": _COLOURS,
}


def _columns(name: str) -> tuple[int, int]:
    names = list(_SIZES)
    first = sum(_SIZES[before] for before in names[: names.index(name)])
    return first, first + _SIZES[name]


@dataclass
class Appearance:
    """Unit vectors of 4,400 dimensions; the cosine lies between 0 and 1.

    The windows come from 316 images with a face, of 19 people in 17 real videos; there was no
    second set to confirm them on (`benchmarks/embedded_engines.py` prints them for other media):
    means of two tracks of one person, one video: 0.96 or more; of two people: 0.77 or less, but
    0.91 for two who stand cheek to cheek in one picture. An image with the mean of the rest of its
    track: 0.83 or more in 99 %, least 0.755; with the mean of somebody in another video: 0.734 or
    less. On other media three men in one studio reached 0.90: the same light, ground and shirt.
    """

    needs = EngineNeeds(memory_mib=12)
    size = sum(_SIZES.values())
    # Of 231 pairs of 29 people who were tuned on 1 in 100 has more than 0.69. Of somebody and three
    # others, drawn from these, 1.5 % have one at 0.80 with the next 0.20 below (3.4 % at 0.70).
    # A picture and another of its track have 0.52 or more in 90 %, two strangers 0.65 in 2 %.
    worn = Worn(tuple(_columns(name) for name in ("top", "hair", "bottom")), 0.80, 0.20, 0.65)

    info: EngineInfo = field(
        default=EngineInfo(
            id="opencv-appearance/1",
            task="recognition",
            licence="Apache-2.0",
            commercial=True,
            weights_digest="none",
        ),
        repr=False,
    )
    windows: SimilarityWindows = field(
        default=SimilarityWindows(
            same_video=0.84, cross_video=0.90, reference_floor=0.77, duplicate=0.985, prove=False
        ),
        repr=False,
    )

    def embed(self, people: Sequence[PersonImage]) -> np.ndarray:
        """Return (N, D) float32, rows of unit length."""
        if not people:
            return np.zeros((0, self.size), np.float32)
        return np.stack([_vector(person) for person in people])


def appearance_regions(person: PersonImage) -> dict[str, np.ndarray]:
    """Return a unit vector of the colours of each part that is seen: face, hair, top, bottom."""
    described = {name: part for name, part in _describe(person).items() if name != "texture"}
    return {name: part / max(float(np.linalg.norm(part)), 1e-6) for name, part in described.items()}


def _vector(person: PersonImage) -> np.ndarray:
    parts = _describe(person)
    blocks = [
        parts.get(name, np.zeros(size, np.float32)) * np.float32(_WEIGHTS[name] ** 0.5)
        for name, size in _SIZES.items()
    ]
    vector = np.concatenate(blocks)
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def _describe(person: PersonImage) -> dict[str, np.ndarray]:
    """Return one unit vector for each part that is seen, times the root of its visible share."""
    regions = regions_of(person)
    described = {}
    if "face" in regions:
        described["texture"] = _texture(person.picture, regions["face"].box)
        described["face"] = _colours([_patch(person.picture, regions["face"])])
    hair = [regions[name] for name in ("hair", "hair_left", "hair_right") if name in regions]
    if hair:
        described["hair"] = _colours([_patch(person.picture, region) for region in hair])
    for name in ("top", "bottom"):
        if name in regions:
            colours = _colours([_patch(person.picture, regions[name])])
            described[name] = colours * np.float32(min(1.0, regions[name].visible) ** 0.5)
    return described


def _patch(picture: np.ndarray, region: Region) -> np.ndarray:
    return padded_crop(picture, region.box, _PATCH)


def _colours(patches: Sequence[np.ndarray]) -> np.ndarray:
    """Return the square roots of a soft Lab histogram: (864,), unit length."""
    pixels = np.concatenate([patch.reshape(-1, 1, 3) for patch in patches])
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    histogram = np.zeros(_BINS, np.float32)
    places, shares = [], []
    for channel, ((low, high), bins) in enumerate(zip(_LAB_RANGES, _BINS, strict=True)):
        exact = np.clip((lab[:, channel] - low) / (high - low) * bins - 0.5, 0, bins - 1.001)
        places.append(exact.astype(int))
        shares.append(exact - exact.astype(int))
    for corner in np.ndindex(2, 2, 2):  # each pixel is shared between the eight nearest bins
        weight = np.prod([s if up else 1 - s for up, s in zip(corner, shares, strict=True)], axis=0)
        index = tuple(place + up for up, place in zip(corner, places, strict=True))
        np.add.at(histogram, index, weight)
    return np.sqrt(histogram.ravel() / histogram.sum())


def _texture(picture: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return the square roots of local binary pattern histograms, (944,), unit length."""
    margin = 4  # so that patterns exist up to the face's edge
    grey = cv2.cvtColor(padded_crop(picture, face, (_FACE_PX, _FACE_PX)), cv2.COLOR_RGB2GRAY)
    grey = cv2.copyMakeBorder(grey, margin, margin, margin, margin, cv2.BORDER_REFLECT)
    fine = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    flat = fine - cv2.GaussianBlur(fine, (0, 0), 8.0)  # light from one side is taken out
    codes = _pattern_bins()[_patterns(flat, 2)][margin:-margin, margin:-margin]
    side = _FACE_PX // _CELLS
    cells = codes.reshape(_CELLS, side, _CELLS, side).swapaxes(1, 2).reshape(-1, side * side)
    counts = np.stack([np.bincount(cell, minlength=_PATTERNS) for cell in cells])
    return np.sqrt(counts.ravel() / counts.sum()).astype(np.float32)


def _patterns(grey: np.ndarray, radius: int) -> np.ndarray:
    """Return the local binary pattern of each pixel: bit k is set if neighbour k is brighter."""
    shifts = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    codes = np.zeros(grey.shape, np.uint8)
    for bit, (dy, dx) in enumerate(shifts):
        neighbour = np.roll(grey, (-radius * dy, -radius * dx), axis=(0, 1))
        codes |= (neighbour > grey).astype(np.uint8) << bit
    return codes


@cache
def _pattern_bins() -> np.ndarray:
    """Return, for each of 256 patterns, its bin: uniform ones have their own, others share."""
    bins = np.full(256, _PATTERNS - 1, int)
    uniform = 0
    for code in range(256):
        bits = [(code >> k) & 1 for k in range(8)]
        if sum(bits[k] != bits[k - 1] for k in range(8)) <= 2:
            bins[code] = uniform
            uniform += 1
    return bins
