"""The identity vectors of tracks and of reference images, from one recogniser only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from schemas.tables import Embedding

MIN_LENGTH = 1e-6  # a shorter vector has no direction


@dataclass(frozen=True)
class IdentityVectors:
    """Unit vectors, float32 (D,), by track and by reference image."""

    recogniser: str = ""
    tracks: Mapping[str, np.ndarray] = field(default_factory=dict)
    references: Mapping[str, np.ndarray] = field(default_factory=dict)
    digest: str = ""  # of the recogniser's weights


def identity_vectors(embeddings: Iterable[Embedding]) -> IdentityVectors:
    """Sort embeddings by what they describe; vectors without a direction are left out.

    Raises ValueError when two recognisers, or two weights of one, are mixed: their cosines do
    not compare.
    """
    tracks: dict[str, np.ndarray] = {}
    references: dict[str, np.ndarray] = {}
    recogniser: tuple[str, str] | None = None
    for row in embeddings:
        made_by = (row.recogniser, row.weights_digest)
        if recogniser not in (None, made_by):
            raise ValueError(_mixed(*sorted((recogniser, made_by))))
        recogniser = made_by
        vector = _unit(row.vector)
        if vector is None:
            continue
        if row.reference_id:
            references[row.reference_id] = vector
        else:
            tracks[row.track_id] = vector
    _check_dimensions([*tracks.values(), *references.values()])
    name, digest = recogniser or ("", "")
    return IdentityVectors(name, tracks, references, digest)


def _unit(values: Iterable[float]) -> np.ndarray | None:
    vector = np.asarray(values, dtype=np.float32)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length < MIN_LENGTH:
        return None
    return vector / length


def _check_dimensions(vectors: list[np.ndarray]) -> None:
    sizes = sorted({vector.size for vector in vectors})
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
