"""Clips and pictures on demand: one row group is read, a few stay in memory.

The server never decodes a file of the dataset itself: the browser does, inside its own sandbox,
and posters are made in a child process that may die.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from pipeline.dataset.parquet import read_rows_by_key
from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, open_table
from pipeline.media.sandbox import Announce, Child, Died, Handler, SandboxConfig
from schemas.manifest import Manifest

_MEBIBYTE = 2**20
POSTER_WIDTH = 320
_LIMITS = SandboxConfig(deadline_s=20.0, memory_mib=1024, address_space_mib=8192, calls=2000)


class Cache:
    """The bytes used last, up to a size; safe for several threads."""

    def __init__(self, size_mib: int) -> None:
        self._room = size_mib * _MEBIBYTE
        self._kept: OrderedDict[Any, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], bytes | None]) -> bytes | None:
        """Return the cached value of a key, or make and cache it."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        if made is not None:
            self.put(key, made)
        return made

    def put(self, key: Any, content: bytes) -> None:
        with self._lock:
            self._room += len(self._kept.pop(key, b""))
            self._kept[key] = content
            self._room -= len(content)
            while self._room < 0 and len(self._kept) > 1:
                self._room += len(self._kept.popitem(last=False)[1])


class Media:
    """Reads clips, references, masks and posters of one version."""

    def __init__(self, manifest: Manifest, store: Store, cache_mib: int = 256) -> None:
        self._manifest, self._store = manifest, store
        self._cache = Cache(cache_mib)
        self._reading = threading.Lock()  # the same row group is not read twice at once
        self._child = Child(_make_poster_maker, _LIMITS)
        self._poster_lock = threading.Lock()
        self._units: dict[str, list[str]] = {}

    def close(self) -> None:
        self._child.close()

    def of_sample(self, sample: dict[str, Any], kind: str, place: int = 0) -> bytes | None:
        """Return the `clip`, or the `image` or `mask` of a reference; None where it is absent."""
        key = (sample["sample_id"], kind, place)
        return self._cache.get(key, lambda: self._read_group(sample, key))

    def _read_group(self, sample: dict[str, Any], wanted: tuple[str, str, int]) -> bytes | None:
        """Read the sample's row group, keep all its media, return the one that is wanted."""
        with self._reading:
            kept = self._cache.get(wanted, lambda: None)
            if kept is not None:
                return kept
            file = open_table(sample["file_path"], self._store)
            names = [
                n for n in ("sample_id", "video", "references") if n in file.schema_arrow.names
            ]
            rows = file.read_row_group(sample["row_group"], columns=names).to_pylist()
            found = None
            for row in [
                *(r for r in rows if r["sample_id"] != wanted[0]),
                rows[sample["row_index"]],
            ]:
                for key, content in _media_of(row):
                    self._cache.put(key, content)
                    found = content if key == wanted else found
            return found

    def of_clip(self, clip_id: str, video_id: str) -> bytes | None:
        """Return a clip that is no sample's, from the unit where it was measured."""
        return self._cache.get(("unit", clip_id), lambda: self._read_unit(clip_id, video_id))

    def _read_unit(self, clip_id: str, video_id: str) -> bytes | None:
        folder = f"units/{video_id[:2]}"
        if folder not in self._units:
            paths = self._store.list(folder)
            self._units[folder] = [path for path in paths if path.endswith("/media.parquet")]
        for path in self._units[folder]:
            if path.split("/")[2].rpartition("-")[0] == video_id:
                open_table(path, self._store)  # refuses a foreign one
                with self._store.open(path) as file:
                    for row in read_rows_by_key(file, "clip_id", {clip_id}):
                        return row["mp4"]
        return None

    def poster(self, key: str, clip: Callable[[], bytes | None]) -> bytes | None:
        """Return a small JPEG of the middle of a clip; None when it cannot be decoded."""
        return self._cache.get(("poster", key), lambda: self._draw(clip()))

    def _draw(self, clip: bytes | None) -> bytes | None:
        if not clip:
            return None
        with self._poster_lock:
            made = self._child.call(clip)
        return None if isinstance(made, Died) else made

    def vectors(self, tracks: set[str]) -> dict[str, list[float]]:
        """Return the identity vectors of tracks, where the dataset still has them."""
        found: dict[str, list[float]] = {}
        columns = ["track_id", "reference_id", "vector"]
        for path in files_of("embeddings", self._manifest):
            if not self._store.exists(path):
                continue
            file = open_table(path, self._store)
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=columns[:2]).to_pylist()
                if not any(row["track_id"] in tracks and not row["reference_id"] for row in ids):
                    continue
                for row in file.read_row_group(group, columns=columns).to_pylist():
                    if row["track_id"] in tracks and not row["reference_id"]:
                        found[row["track_id"]] = row["vector"]
        return found

    def boxes(self, sample: dict[str, Any]) -> list[list[float]]:
        """Return the character's box in every frame from its first on."""
        file = open_table(sample["file_path"], self._store)
        rows = file.read_row_group(sample["row_group"], columns=["boxes"])["boxes"]
        return rows[sample["row_index"]].as_py() or []


def _media_of(row: dict[str, Any]):
    key = row["sample_id"]
    if content := (row.get("video") or {}).get("bytes"):
        yield (key, "clip", 0), content
    for place, reference in enumerate(row.get("references") or ()):
        for kind in ("image", "mask"):
            if content := (reference.get(kind) or {}).get("bytes"):
                yield (key, kind, place), content


def _make_poster_maker() -> Handler:
    import cv2

    from pipeline.media.clip_frames import read_clip
    from pipeline.media.images import encode_jpeg

    def draw(clip: bytes, announce: Announce) -> bytes:
        announce("poster")
        _, pictures = read_clip(clip, fps=1.0)
        picture = pictures[len(pictures) // 2]
        height = max(1, round(picture.shape[0] * POSTER_WIDTH / picture.shape[1]))
        small = cv2.resize(picture, (POSTER_WIDTH, height), interpolation=cv2.INTER_AREA)
        return encode_jpeg(small, 80)

    return draw
