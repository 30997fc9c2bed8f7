"""The identity vectors of tracks and of reference images, from one recogniser only."""

import mmap
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import IO

import numpy as np

from pipeline.dataset.disk_arrays import gathered
from pipeline.dataset.row_sets import Places, encoded, values, where
from schemas.tables import Embedding

MIN_LENGTH = 1e-6  # a shorter vector has no direction


class VectorsById(Mapping[str, np.ndarray]):
    """Rows (D,) of a matrix by the id of what they describe."""

    def __init__(self, ids: np.ndarray, matrix: np.ndarray, places: np.ndarray) -> None:
        """Name the rows at some places of the matrix, (N,); `ids` are as `encoded`."""
        self.ids = ids
        self._matrix, self._places, self._rows = matrix, Places(ids), places

    @property
    def size(self) -> int:
        """Return D."""
        return self._matrix.shape[1]

    def __getitem__(self, id: str) -> np.ndarray:
        return self._matrix[self._rows[self._places[id]]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def places(self, ids: np.ndarray) -> np.ndarray:
        """Return (N,) where among `ids` those lie that are all there."""
        return self._places.of(ids)

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Return (N, D) rows of ids that are all there; many of them lie on disk."""
        return gathered(self._matrix, self._rows[self.places(ids)])

    def some(self, ids: Iterable[str]) -> "VectorsById":
        """Return, in memory, the rows of those of the ids that are there."""
        known = encoded(id for id in ids if id in self)
        return VectorsById(known, np.array(self.of(known)), np.arange(len(known)))


def _nobody() -> VectorsById:
    return VectorsById(encoded([]), np.zeros((0, 0), np.float32), np.zeros(0, int))


@dataclass(frozen=True)
class IdentityVectors:
    """Unit vectors, float32 (D,), by track and by reference image."""

    recogniser: str = ""
    tracks: VectorsById = field(default_factory=_nobody)
    references: VectorsById = field(default_factory=_nobody)
    digest: str = ""  # of the recogniser's weights
    num_images: np.ndarray = field(default_factory=lambda: np.zeros(0, int))  # averaged, by track

    def images_of(self, track_ids: np.ndarray) -> np.ndarray:
        """Return, (N,), how many images were averaged into each track's vector."""
        return self.num_images[self.tracks.places(track_ids)]

    def some(self, track_ids: Iterable[str], reference_ids: Iterable[str]) -> "IdentityVectors":
        """Return the vectors of some tracks and reference images, in memory."""
        tracks, references = self.tracks.some(track_ids), self.references.some(reference_ids)
        images = self.images_of(tracks.ids)
        return replace(self, tracks=tracks, references=references, num_images=images)


def identity_vectors(embeddings: Iterable[Embedding]) -> IdentityVectors:
    """Sort embeddings by what they describe; vectors without a direction are left out.

    Raises ValueError when two recognisers, or two weights of one, are mixed: their cosines do
    not compare.
    """
    rows = embeddings if isinstance(embeddings, Sequence) else list(embeddings)
    recogniser: tuple[str, str] | None = None
    directed, sizes = np.zeros(len(rows), bool), set[int]()
    with tempfile.TemporaryFile(prefix="contextanyone-") as file:
        for place, row in enumerate(rows):
            made_by = (row.recogniser, row.weights_digest)
            if recogniser not in (None, made_by):
                raise ValueError(_mixed(*sorted((recogniser, made_by))))
            recogniser = made_by
            vector = _unit(row.vector)
            if vector is not None:
                sizes.add(vector.size)
                file.write(vector.tobytes())
                directed[place] = True
        _check_dimensions(sizes)
        matrix = _mapped(file, max(sizes, default=0))
    rows = where(rows, directed)
    track_ids, reference_ids = values(rows, "track_id"), values(rows, "reference_id")
    whole = np.flatnonzero(reference_ids == b"")
    single = np.flatnonzero(reference_ids != b"")
    name, digest = recogniser or ("", "")
    return IdentityVectors(
        name,
        VectorsById(track_ids[whole], matrix, whole),
        VectorsById(reference_ids[single], matrix, single),
        digest,
        values(rows, "num_images")[whole],
    )


def _mapped(file: IO[bytes], size: int) -> np.ndarray:
    """Return the file's vectors, (N, size) float32, as a matrix that lies on disk."""
    file.flush()
    if not size:
        return np.zeros((0, 0), np.float32)
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, np.float32).reshape(-1, size)


def _unit(values: Iterable[float]) -> np.ndarray | None:
    vector = np.asarray(values, dtype=np.float32)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length < MIN_LENGTH:
        return None
    return vector / length


def _check_dimensions(found: Set[int]) -> None:
    sizes = sorted(found)
    if len(sizes) > 1:
        raise ValueError(
            f"identity vectors of one recogniser must have one length, got {sizes}; "
            "observe the videos again with one version of it"
        )


def _mixed(first: tuple[str, str], second: tuple[str, str]) -> str:
    names = " and ".join(f"{name} (weights {digest[:12]})" for name, digest in (first, second))
    return (
        f"embeddings of two recognisers cannot be compared: {names}; "
        "observe all videos with one of them"
    )
