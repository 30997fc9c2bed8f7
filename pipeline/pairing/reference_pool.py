"""All candidates of one character as arrays, so that a clip is compared with them at once."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from pipeline.pairing.vectors import IdentityVectors
from pipeline.pictures.looks import looks_array, places_array
from schemas.corrections import BAD, BEST
from schemas.tables import Candidate

HASH_BITS = 64  # of one difference hash
EDGE = 0.01  # of the picture's side: a face or body this near is cut by it
MOST_OF_A_FACE = 0.6  # width over height; of a whole one it is 0.75
UPRIGHT = 2.2  # height over width of a body with its legs

# How far apart two candidates are: a weighted sum of differences, each from 0 to 1. Ours, after
# the expression gallery's 0.75 (1 - cosine) + 0.25 dt, with time replaced by what can be seen.
WEIGHTS = {
    "identity": 0.25,  # of the vectors: what the recogniser itself finds different
    "view": 0.15,  # of the looks: pose, framing
    "yaw": 0.20,  # 1 is a quarter turn
    "smile": 0.05,  # 1 is from pursed lips to a laugh; needs five points
    "size": 0.15,  # 1 is four times the size
    "light": 0.10,  # brightness, warmth, exposure
    "body": 0.10,  # a whole body or not
}
UNKNOWN_YAW = 0.5  # difference between a known and an unknown yaw
LAUGH = 0.5  # distances of the eyes by which a laugh widens a mouth
STOP = 1.0  # of warmth: daylight against a lamp is about one
_REMEMBERED = 256  # candidates whose differences to all others are kept: many clips choose them


class CandidatePool:
    """All candidates of one character, as arrays, sorted by reference_id."""

    def __init__(
        self,
        character_id: str,
        candidates: Iterable[Candidate],
        vectors: IdentityVectors,
        marks: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Line the candidates up; `marks` says by reference_id which a person found best or bad."""
        self.character_id = character_id
        self.recogniser, self.recogniser_digest = vectors.recogniser, vectors.digest
        rows = {row.reference_id: replace(row, image=b"", mask=b"") for row in candidates}
        self.rows = [rows[reference_id] for reference_id in sorted(rows)]
        known = [vectors.references.get(row.reference_id) for row in self.rows]
        size = next((vector.size for vector in known if vector is not None), 0)
        blank = np.full(size, np.nan, dtype=np.float32)
        self.vectors = np.array(
            [blank if vector is None else vector for vector in known], dtype=np.float32
        ).reshape(len(known), size)
        self.confirmed = np.array([vector is not None for vector in known], dtype=bool)
        self.times = np.array([row.time_s for row in self.rows])
        self.quality = np.array([row.quality for row in self.rows])
        self.mask_quality = np.array([row.mask_quality for row in self.rows])
        self.lettering = np.array([row.lettering for row in self.rows])
        self.occlusion = np.array([row.occlusion for row in self.rows])
        self.yaw = np.array([row.yaw for row in self.rows])
        self.size = np.log2(np.array([max(row.size_px, 1.0) for row in self.rows]))
        self.exposure = np.array([row.exposure for row in self.rows])
        self.whole_body = np.array([row.whole_body for row in self.rows], dtype=bool)
        self.hashes = np.array([_hash_bits(row.perceptual_hash) for row in self.rows]).reshape(
            len(self.rows), HASH_BITS
        )
        self.hashed = np.array([bool(row.perceptual_hash) for row in self.rows], dtype=bool)
        self.brightness = np.array([row.brightness for row in self.rows])
        self.warmth = np.array([row.warmth for row in self.rows])
        self.chroma = np.array([row.chroma for row in self.rows])
        self.smile = np.array([row.smile for row in self.rows])
        self.looks = looks_array(row.look for row in self.rows)
        self.places = places_array(row.place for row in self.rows)
        self.size_px = np.array([row.size_px for row in self.rows])
        self.other_face = np.array([row.other_face for row in self.rows])
        self.body_part = np.array([_is_body_part(row) for row in self.rows], dtype=bool)
        self.half_face = np.array([_is_half_face(row) for row in self.rows], dtype=bool)
        self.edited = np.array([bool(row.edit) for row in self.rows], dtype=bool)
        self.best, self.bad = (
            np.array([_mark_of(row, marks) == mark for row in self.rows], dtype=bool)
            for mark in (BEST, BAD)
        )
        self.tracks = np.array([row.track_id for row in self.rows], dtype=object)
        self.clips = np.array([row.clip_id for row in self.rows], dtype=object)
        self.shots = np.array([row.shot_id for row in self.rows], dtype=object)
        self.videos = np.array([row.video_id for row in self.rows], dtype=object)
        self._differences: dict[int, np.ndarray] = {}
        self._hash_distances: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, reference_id: str) -> Candidate:
        """Return one candidate by its id."""
        return self.rows[bisect_left(self.rows, reference_id, key=lambda row: row.reference_id)]

    def hash_distance(self, index: int) -> np.ndarray:
        """Return the differing bits to candidate `index`, (N,); all where a hash is unknown."""
        return _remembered(self._hash_distances, index, self._hash_distance)

    def difference(self, index: int) -> np.ndarray:
        """Return how differently candidate `index` shows the character, (N,), 0 to 1."""
        return _remembered(self._differences, index, self._difference)

    def _hash_distance(self, index: int) -> np.ndarray:
        bits = np.count_nonzero(self.hashes != self.hashes[index], axis=1)
        return np.where(self.hashed & self.hashed[index], bits, HASH_BITS)

    def _difference(self, index: int) -> np.ndarray:
        known = np.isfinite(self.yaw)
        turned = np.minimum(np.abs(self.yaw - self.yaw[index]) / 90, 1)
        unknown = np.where(known == known[index], 0.0, UNKNOWN_YAW)
        brighter = np.abs(self.brightness - self.brightness[index])
        warmer = np.abs(self.warmth - self.warmth[index]) / STOP
        light = np.fmax(np.fmax(brighter, warmer), np.abs(self.exposure - self.exposure[index]))
        identity = np.clip(1 - self.vectors @ self.vectors[index], 0, 1)
        view = 1 - self.looks @ self.looks[index]
        parts = {
            "identity": identity,
            "view": np.where(np.isfinite(view), np.maximum(view, 0), identity),
            "yaw": np.where(known & known[index], turned, unknown),
            "smile": np.nan_to_num(np.abs(self.smile - self.smile[index]) / LAUGH),
            "size": np.abs(self.size - self.size[index]) / 2,
            "light": light,
            "body": self.whole_body != self.whole_body[index],
        }
        weighted = [weight * np.minimum(parts[name], 1) for name, weight in WEIGHTS.items()]
        return np.sum(weighted, axis=0)


def _remembered(
    known: dict[int, np.ndarray], index: int, measure: Callable[[int], np.ndarray]
) -> np.ndarray:
    if index not in known:
        if len(known) == _REMEMBERED:
            known.clear()
        known[index] = measure(index)
    return known[index]


def _mark_of(row: Candidate, marks: Mapping[str, str]) -> str:
    """Return what a person said of an image; an edited one shares the mark of its source."""
    return marks.get(row.reference_id) or marks.get(row.source_reference_id, "")


def _is_body_part(row: Candidate) -> bool:
    """Tell a hand or a back at the picture's edge: no face, and cut off.

    Who stands upright and turned away, and fills the picture to its upper edge, is no part.
    """
    if len(row.face) or row.whole_body or not row.truncation > 0:
        return False
    left, top, right, bottom = row.box
    rim_x, rim_y = EDGE * row.width, EDGE * row.height
    free = left > rim_x and right < row.width - rim_x and bottom < row.height - rim_y
    return not free or bottom - top < UPRIGHT * (right - left)


def _is_half_face(row: Candidate) -> bool:
    """Tell a face of which the picture's side cuts off a quarter or more.

    Foreheads and chins may be cut, but then nobody knows how much is missing at the side.
    """
    if not len(row.face):
        return False
    left, top, right, bottom = row.face
    rim_x, rim_y = EDGE * row.width, EDGE * row.height
    if left > rim_x and right < row.width - rim_x:
        return False
    low = top <= rim_y or bottom >= row.height - rim_y
    return low or right - left < MOST_OF_A_FACE * (bottom - top)


def _hash_bits(text: str) -> np.ndarray:
    value = int(text, 16) if text else 0
    return np.array([value >> bit & 1 for bit in range(HASH_BITS)], dtype=bool)
