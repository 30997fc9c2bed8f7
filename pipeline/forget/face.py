"""Find the characters that a picture shows, by the recogniser that the dataset was made with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, light_rows
from pipeline.engines.engines_config import EnginesConfig
from pipeline.engines.identity.spaces import compare, spaces_of
from pipeline.engines.interfaces import PersonImage
from pipeline.engines.registry import LoadedEngines, load_engines
from pipeline.media.images import decode_image
from schemas.files import read_file
from schemas.manifest import Manifest
from schemas.old_settings import current_settings

_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class CharacterMatch:
    """A character and how like the picture its most similar track is."""

    character_id: str
    similarity: float
    needed: float  # cosine from which the recogniser calls two people of two videos one
    tracks: int

    @property
    def same(self) -> bool:
        return self.similarity >= self.needed


def match_face(
    picture: Path, manifest: Manifest, store: Store, show: int = 5
) -> list[CharacterMatch]:
    """Return the characters most like the person in the picture, best first.

    Raises ValueError when the dataset has no vectors, or they are not of the engines that are
    installed: cosines of two recognisers do not compare.
    """
    image = _read_picture(picture)
    engines = load_engines(_engines_of(manifest))
    row = _vector_of(image, engines)
    tracks, vectors = _track_vectors(manifest, store, engines)
    spaces = spaces_of(engines.recogniser)
    cosines, places = compare(row, vectors, spaces)
    found: dict[str, list[tuple[float, float]]] = {}
    for character_id, cosine, place in zip(tracks, cosines, places, strict=True):
        if place >= 0:
            needed = spaces[int(place)].windows.cross_video
            found.setdefault(character_id, []).append((float(cosine), needed))
    matches = [CharacterMatch(id, *max(seen), len(seen)) for id, seen in found.items()]
    matches.sort(key=lambda match: (not match.same, -match.similarity, match.character_id))
    return [match for place, match in enumerate(matches) if match.same or place < show]


def _read_picture(path: Path) -> np.ndarray:
    expected = "one picture of a face (JPEG, PNG or WebP)"
    if path.is_file() and path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"--face {path} is larger than {_MAX_BYTES >> 20} MiB; give {expected}")
    content = read_file("--face", path, expected)
    try:
        return decode_image(content)
    except ValueError as error:
        raise ValueError(f"--face {path}: {error}; give {expected}") from error


def _engines_of(manifest: Manifest) -> EnginesConfig:
    observe = current_settings(manifest.config).get("observe") or {}
    named: Mapping[str, Any] = observe.get("engines") or {}
    if not named:
        raise ValueError(
            "the manifest does not say which engines the dataset was made with; find the character "
            "in jobs/browse.py and name it by --character"
        )
    chosen = {f.name: named[f.name] for f in fields(EnginesConfig) if f.name in named}
    if "scorers" in chosen:
        chosen["scorers"] = tuple(chosen["scorers"])  # JSON has lists
    return EnginesConfig(**chosen)


def _vector_of(picture: np.ndarray, engines: LoadedEngines) -> np.ndarray:
    """Recognise the largest face, inside the person that has it."""
    faces = engines.faces.detect([picture])[0]
    people = engines.people.detect([picture])[0]
    height, width = picture.shape[:2]
    box = np.array([0, 0, width, height], np.float32)
    face = landmarks = None
    if len(faces.boxes):
        best = int(np.argmax(_areas(faces.boxes)))
        face, landmarks = faces.boxes[best], faces.landmarks[best]
        if not np.isfinite(landmarks).all():
            landmarks = None
        middle = (face[:2] + face[2:]) / 2
        inside = [b for b in people.boxes if (b[:2] <= middle).all() and (middle <= b[2:]).all()]
        box = max(inside, key=lambda one: float(_areas(one[None])[0]), default=box)
    elif len(people.boxes):
        box = people.boxes[int(np.argmax(_areas(people.boxes)))]
    row = engines.recogniser.embed([PersonImage(picture, box, face, landmarks)])[0]
    if not np.isfinite(row).all() or not np.any(row):
        raise ValueError(
            f"{engines.recogniser.info.id} sees nobody in the picture; give a sharper one, "
            "upright and with the whole face"
        )
    return row


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _track_vectors(
    manifest: Manifest, store: Store, engines: LoadedEngines
) -> tuple[list[str], np.ndarray]:
    """Return the character and the mean vector of every track that has both."""
    info = engines.recogniser.info
    characters = {
        row["track_id"]: row["character_id"]
        for path in files_of("tracks", manifest)
        for row in light_rows(path, ("track_id", "character_id"), store)
        if row["character_id"]
    }
    names, vectors = [], []
    for row in _embeddings(manifest, store):
        if row["reference_id"] or row["track_id"] not in characters:
            continue
        made_by = (row["recogniser"], row["weights_digest"])
        if made_by != (info.id, info.weights_digest):
            raise ValueError(
                f"the dataset's vectors are of {made_by[0]} ({made_by[1][:12]}), this machine has "
                f"{info.id} ({info.weights_digest[:12]}): install those weights, or find the "
                "character in jobs/browse.py and name it by --character"
            )
        names.append(characters[row["track_id"]])
        vectors.append(row["vector"])
    if not names:
        raise ValueError(
            "the dataset has no embeddings of its characters, so no face can be compared; find the "
            "character in jobs/browse.py and name it by --character"
        )
    return names, np.asarray(vectors, np.float32)


def _embeddings(manifest: Manifest, store: Store) -> Iterator[dict]:
    columns = ("track_id", "reference_id", "recogniser", "weights_digest", "vector")
    for path in files_of("embeddings", manifest):
        yield from light_rows(path, columns, store)
