"""What the stored vectors say: who is like this, how alike people are, and a map of everybody.

Vectors are held in memory while the page runs and go nowhere else; an answer holds cosines and
places on a map, never a vector.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, open_table
from schemas.ids import unit_interval
from schemas.manifest import Manifest

MAP_TRACKS = 4000  # drawn on one map: t-SNE of more takes minutes
_BLOCK = 1 << 16  # rows compared at once
_COLUMNS = ["track_id", "reference_id", "vector"]
_PLAIN_DIMENSIONS = 30  # kept by PCA before t-SNE
_PERPLEXITY = 30
_LEAST_LENGTH = 1e-6  # a shorter vector has no direction


class Vectors:
    """The identity vectors of all tracks of one recogniser, as unit rows of float16 (N, D)."""

    def __init__(self, manifest: Manifest, store: Store) -> None:
        parts = list(_read(manifest, store))
        sizes = {rows.shape[1]: 0 for _, rows in parts}
        for _, rows in parts:
            sizes[rows.shape[1]] += len(rows)
        size = max(sizes, key=sizes.__getitem__, default=0)  # vectors of two kinds do not compare
        same = [part for part in parts if part[1].shape[1] == size]
        self.ids: list[str] = [id for ids, _ in same for id in ids]
        self.rows = np.concatenate([rows for _, rows in same]) if same else np.zeros((0, 0), "f2")
        self._place = {id: place for place, id in enumerate(self.ids)}

    def of(self, track_ids: Iterable[str]) -> tuple[list[str], np.ndarray]:
        """Return the tracks that have a vector, and their rows, float32."""
        present = [id for id in track_ids if id in self._place]
        places = [self._place[id] for id in present]
        return present, self.rows[places].astype(np.float32)

    def nearest(
        self, track_ids: Iterable[str], without: Iterable[str], most: int
    ) -> list[tuple[str, float]]:
        """Return the tracks most like the mean of some, the most alike first, with the cosine."""
        _, own = self.of(track_ids)
        if not len(own):
            return []
        mean = own.mean(axis=0)
        mean /= max(float(np.linalg.norm(mean)), 1e-6)
        cosines = np.concatenate(
            [
                self.rows[top : top + _BLOCK].astype(np.float32) @ mean
                for top in range(0, len(self.rows), _BLOCK)
            ]
        )
        cosines[[self._place[id] for id in {*without, *track_ids} if id in self._place]] = -np.inf
        order = np.argsort(-cosines, kind="stable")[:most]
        return [(self.ids[i], round(float(cosines[i]), 4)) for i in order if cosines[i] > -np.inf]

    def purity(self, people: Iterable[Iterable[str]]) -> dict[str, Any]:
        """Return the mean cosine inside each group, inside all together, and between two groups."""
        groups = [self.of(tracks)[1] for tracks in people]
        inside = [_mean_inside(rows) for rows in groups]
        together = _mean_inside(np.concatenate(groups)) if groups else None
        between = None
        if len(groups) == 2 and len(groups[0]) and len(groups[1]):
            between = round(float((groups[0] @ groups[1].T).mean()), 4)
        pairs = int(np.prod([len(rows) for rows in groups]))
        return {"inside": inside, "together": together, "between": between, "pairs": pairs}


def _mean_inside(rows: np.ndarray) -> float | None:
    """Return the mean cosine of rows to each other, None for fewer than two."""
    if len(rows) < 2:
        return None
    total = rows.sum(axis=0)
    pairs = len(rows) * (len(rows) - 1)
    return round(float((total @ total - np.sum(rows * rows)) / pairs), 4)


def _read(manifest: Manifest, store: Store) -> Iterator[tuple[list[str], np.ndarray]]:
    for path in files_of("embeddings", manifest):
        if not store.exists(path):
            continue  # they may be dropped at any time
        file = open_table(path, store)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=_COLUMNS).combine_chunks()
            own = table.filter(pa.array([not id for id in table["reference_id"].to_pylist()]))
            if len(own):
                yield from _unit_rows(own)


def _unit_rows(own: pa.Table) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield ids and unit rows, vectors of one length at a time."""
    ids = np.array(own["track_id"].to_pylist(), object)
    lists = own["vector"].combine_chunks()
    lengths = np.diff(np.asarray(lists.offsets).astype(np.int64))
    for size in sorted(set(lengths.tolist()) - {0}):
        alike = lengths == size
        rows = np.asarray(lists.filter(pa.array(alike)).flatten(), np.float32).reshape(-1, size)
        norms = np.linalg.norm(rows, axis=1)
        sound = np.isfinite(norms) & (norms > _LEAST_LENGTH)
        yield ids[alike][sound].tolist(), (rows[sound] / norms[sound, None]).astype(np.float16)


@dataclass
class TrackMap:
    """Where tracks lie beside each other in two dimensions: at once by PCA, later by t-SNE."""

    vectors: Vectors
    ids: list[str] = field(default_factory=list)
    places: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    method: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _worker: threading.Thread | None = None

    def draw(self, characters: Mapping[str, str]) -> dict[str, Any]:
        """Return the map as far as it is drawn; `characters` is by track.

        Beyond MAP_TRACKS, whole characters are drawn by lot from their ids.
        """
        with self._lock:
            if not self.method:
                self.ids = _drawn(self.vectors.ids, characters)
                _, rows = self.vectors.of(self.ids)
                plain = _pca(rows, min(_PLAIN_DIMENSIONS, *rows.shape)) if len(rows) else rows
                self.places, self.method = _square(plain[:, :2]), "PCA"
                if len(self.ids) > 4:
                    self._worker = threading.Thread(target=self._refine, args=(plain,), daemon=True)
                    self._worker.start()
            drawing = self.method == "PCA" and self._worker is not None
            return {
                "ids": self.ids, "places": self.places.round(4).tolist(), "method": self.method,
                "all": len(self.vectors.ids), "drawing": drawing,
            }  # fmt: skip

    def _refine(self, rows: np.ndarray) -> None:
        from sklearn.manifold import TSNE

        perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
        made = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(rows)
        with self._lock:
            self.places, self.method = _square(made), "t-SNE"


def _drawn(ids: list[str], characters: Mapping[str, str]) -> list[str]:
    named = [id for id in ids if characters.get(id)]
    if len(named) <= MAP_TRACKS:
        return named
    share = MAP_TRACKS / len(named)
    return [id for id in named if unit_interval("map", characters[id]) < share][:MAP_TRACKS]


def _pca(rows: np.ndarray, dimensions: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    made = PCA(n_components=dimensions, random_state=0).fit_transform(rows)
    return np.pad(made, ((0, 0), (0, max(0, 2 - dimensions)))).astype(np.float32)


def _square(places: np.ndarray) -> np.ndarray:
    """Return places between 0 and 1 on both axes: neither has a meaning of its own."""
    if not len(places):
        return np.zeros((0, 2), np.float32)
    low, high = places.min(axis=0), places.max(axis=0)
    return ((places - low) / np.maximum(high - low, 1e-6)).astype(np.float32)
