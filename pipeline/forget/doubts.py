"""Who else may be the person that somebody wants forgotten: asked before anybody is removed.

Identities are found by machine, so one person may be two characters. Four signs are looked at: a
person decided so and no version obeys it yet, or gave both one name; a split suspect of the
dataset; a character with a track nearer to the person than the person's own tracks are to each
other. Copies of videos need no question (`pipeline.forget.targets`).
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.dataset.corrections import read_corrections, texts_of_tracks
from pipeline.dataset.decided import decide
from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, light_rows
from schemas.corrections import NAME
from schemas.manifest import Manifest

DECIDED, NAMED = "decided by a person", "the same name"
SUSPECT, NEAR = "split suspect", "near vectors"
_VECTORS = ("track_id", "reference_id", "vector")


@dataclass(frozen=True, order=True)
class Doubt:
    """A character that stays, and may be one that goes."""

    other_character_id: str
    character_id: str
    why: str  # DECIDED | NAMED | SUSPECT | NEAR
    similarity: float = math.nan
    threshold: float = math.nan  # cosine that it was held against


def find_doubts(
    going: Iterable[str], vanishing: Iterable[str], manifest: Manifest, store: Store
) -> list[Doubt]:
    """Return one doubt per character that stays, the surest sign first.

    `going` are the characters that were named, `vanishing` all of whom nothing will be left.
    """
    named, gone = set(going), {*going, *vanishing}
    doubts: dict[str, Doubt] = {}
    signs = (
        *_decided(named, manifest, store), *_names(named, manifest, store),
        *_suspects(named, manifest, store), *_near(named, manifest, store),
    )  # fmt: skip
    for doubt in signs:
        if doubt.other_character_id not in gone:
            doubts.setdefault(doubt.other_character_id, doubt)
    return sorted(doubts.values())


def _decided(named: set[str], manifest: Manifest, store: Store) -> Iterator[Doubt]:
    """Yield who shares a decided person with somebody named: another curation would join them."""
    decided = decide(read_corrections(store))
    of_person: dict[int, set[str]] = {}
    for track_id, character_id in _characters(manifest, store).items() if decided else ():
        if decided.person(track_id) >= 0:
            of_person.setdefault(decided.person(track_id), set()).add(character_id)
    for characters in of_person.values():
        for mine in sorted(characters & named):
            yield from (Doubt(other, mine, DECIDED) for other in sorted(characters - named))


def _names(named: set[str], manifest: Manifest, store: Store) -> Iterator[Doubt]:
    """Yield who has the name of somebody named, in this version or by a correction."""
    given = texts_of_tracks(read_corrections(store), NAME)
    names: dict[str, set[str]] = {}
    for track_id, character_id in _characters(manifest, store).items() if given else ():
        if given.get(track_id):
            names.setdefault(given[track_id].casefold(), set()).add(character_id)
    for path in files_of("characters", manifest):
        for row in light_rows(path, ("character_id", "name"), store):
            if row.get("name"):
                names.setdefault(row["name"].casefold(), set()).add(row["character_id"])
    for characters in names.values():
        for mine in sorted(characters & named):
            yield from (Doubt(other, mine, NAMED) for other in sorted(characters - named))


def told_apart(going: Iterable[str], manifest: Manifest, store: Store) -> list[str]:
    """Return the characters that hold people whom somebody told apart, in no version yet."""
    decided = decide(read_corrections(store))
    named, people = set(going), dict[str, set[int]]()
    for track_id, character_id in _characters(manifest, store).items() if decided else ():
        if character_id in named and decided.person(track_id) >= 0:
            people.setdefault(character_id, set()).add(decided.person(track_id))
    return sorted(
        character_id
        for character_id, persons in people.items()
        if any(pair in decided.apart for pair in combinations(sorted(persons), 2))
    )


def _suspects(named: set[str], manifest: Manifest, store: Store) -> Iterator[Doubt]:
    columns = ("kind", "character_id", "other_character_id", "similarity", "threshold")
    for path in files_of("suspects", manifest):
        for row in light_rows(path, columns, store):
            pair = (row["character_id"], row["other_character_id"])
            for mine, other in (pair, pair[::-1]):
                if row["kind"] == "split" and mine in named and other:
                    yield Doubt(other, mine, SUSPECT, row["similarity"], row["threshold"])


def _near(named: set[str], manifest: Manifest, store: Store) -> Iterator[Doubt]:
    """Compare the vectors of every other track with those of all named characters, in one pass."""
    characters = _characters(manifest, store)
    own: dict[str, list[np.ndarray]] = {}
    for track_id, vector in _track_vectors(manifest, store):
        if characters.get(track_id) in named:
            own.setdefault(characters[track_id], []).append(vector)
    sizes = Counter(vector.size for vectors in own.values() for vector in vectors)
    size = max(sizes, key=sizes.__getitem__, default=0)  # of the recogniser that saw most of them
    alike = {id: [each for each in own[id] if each.size == size] for id in sorted(own)}
    people = {id: np.stack(vectors) for id, vectors in alike.items() if len(vectors) > 1}
    if not people:
        return
    links = {id: _weakest_link(vectors) for id, vectors in people.items()}
    every = np.concatenate(list(people.values()))
    owners = np.repeat(list(people), [len(vectors) for vectors in people.values()])
    least = np.array([links[id] for id in owners])
    best: dict[tuple[str, str], float] = {}
    for track_id, vector in _track_vectors(manifest, store):
        other = characters.get(track_id, "")
        if not other or other in named or vector.size != size:
            continue
        cosines = every @ vector
        for place in np.flatnonzero(cosines >= least):
            pair = (str(owners[place]), other)
            best[pair] = max(best.get(pair, -1.0), float(cosines[place]))
    for (mine, other), cosine in sorted(best.items(), key=lambda item: -item[1]):
        yield Doubt(other, mine, NEAR, cosine, links[mine])


def _weakest_link(vectors: np.ndarray) -> float:
    """Return the cosine of the track that is furthest from its nearest fellow."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    return float(cosines.max(axis=1).min())


def _characters(manifest: Manifest, store: Store) -> dict[str, str]:
    return {
        row["track_id"]: row["character_id"]
        for path in files_of("tracks", manifest)
        for row in light_rows(path, ("track_id", "character_id"), store)
        if row["character_id"]
    }


def _track_vectors(manifest: Manifest, store: Store) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every track's vector, of unit length; references have vectors of their own."""
    for path in files_of("embeddings", manifest):
        for row in light_rows(path, _VECTORS, store):
            vector = np.asarray(row["vector"], np.float32)
            length = float(np.linalg.norm(vector))
            if not row["reference_id"] and length > 0 and np.isfinite(length):
                yield row["track_id"], vector / length


@dataclass(frozen=True)
class Portrait:
    """What a person can be told of a character without a picture."""

    samples: int
    videos: int
    description: str


def portraits(ids: Iterable[str], manifest: Manifest, store: Store) -> dict[str, Portrait]:
    """Return how often characters are seen and what they look like."""
    wanted = set(ids)
    seen: dict[str, tuple[set[str], set[str], list[str]]] = {
        id: (set(), set(), []) for id in wanted
    }
    columns = ("sample_id", "video_id", "character_id", "description", "others")
    for path in files_of("samples", manifest):
        for row in light_rows(path, columns, store):
            for member in (row, *(row.get("others") or ())):
                if member["character_id"] in wanted:
                    samples, videos, words = seen[member["character_id"]]
                    samples.add(row["sample_id"])
                    videos.add(row["video_id"])
                    words.append(member["description"] or "")
    return {
        id: Portrait(len(samples), len(videos), next(filter(None, words), ""))
        for id, (samples, videos, words) in seen.items()
    }
