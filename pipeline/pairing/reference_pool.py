"""All candidates of one character as arrays, so that a clip is compared with them at once."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from pipeline.pairing.vectors import IdentityVectors
from schemas.tables import Candidate

HASH_BITS = 64  # of one difference hash

# How far apart two candidates are: a weighted sum of differences, each from 0 to 1. Ours, after
# the expression gallery's 0.75 (1 - cosine) + 0.25 dt, with time replaced by what can be seen.
LOOK, YAW, SIZE, LIGHT, BODY = 0.40, 0.25, 0.15, 0.10, 0.10
UNKNOWN_YAW = 0.5  # difference between a known and an unknown yaw


class CandidatePool:
    """All candidates of one character, as arrays, sorted by reference_id."""

    def __init__(
        self, character_id: str, candidates: Iterable[Candidate], vectors: IdentityVectors
    ) -> None:
        self.character_id = character_id
        self.recogniser = vectors.recogniser
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
        self.yaw = np.array([row.yaw for row in self.rows])
        self.size = np.log2(np.array([max(row.size_px, 1.0) for row in self.rows]))
        self.exposure = np.array([row.exposure for row in self.rows])
        self.whole_body = np.array([row.whole_body for row in self.rows], dtype=bool)
        self.hashes = np.array([_hash_bits(row.perceptual_hash) for row in self.rows]).reshape(
            len(self.rows), HASH_BITS
        )
        self.hashed = np.array([bool(row.perceptual_hash) for row in self.rows], dtype=bool)
        self.tracks = np.array([row.track_id for row in self.rows], dtype=object)
        self.clips = np.array([row.clip_id for row in self.rows], dtype=object)
        self.shots = np.array([row.shot_id for row in self.rows], dtype=object)
        self.videos = np.array([row.video_id for row in self.rows], dtype=object)

    def __len__(self) -> int:
        return len(self.rows)

    def hash_distance(self, index: int) -> np.ndarray:
        """Return the differing bits to candidate `index`, (N,); all where a hash is unknown."""
        bits = np.count_nonzero(self.hashes != self.hashes[index], axis=1)
        return np.where(self.hashed & self.hashed[index], bits, HASH_BITS)

    def difference(self, index: int) -> np.ndarray:
        """Return how differently candidate `index` shows the character, (N,), 0 to 1."""
        look = np.clip(1 - self.vectors @ self.vectors[index], 0, 1)
        known = np.isfinite(self.yaw)
        turned = np.abs(self.yaw - self.yaw[index]) / 90
        unknown = np.where(known == known[index], 0.0, UNKNOWN_YAW)
        yaw = np.where(known & known[index], np.minimum(turned, 1), unknown)
        size = np.minimum(np.abs(self.size - self.size[index]) / 2, 1)  # 1 is four times the size
        light = np.abs(self.exposure - self.exposure[index])
        body = self.whole_body != self.whole_body[index]
        return LOOK * look + YAW * yaw + SIZE * size + LIGHT * light + BODY * body


def _hash_bits(text: str) -> np.ndarray:
    value = int(text, 16) if text else 0
    return np.array([value >> bit & 1 for bit in range(HASH_BITS)], dtype=bool)
