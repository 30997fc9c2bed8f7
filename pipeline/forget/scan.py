"""Search every file of a dataset for byte patterns: the raw bytes, and the decoded columns.

Parquet compresses, so the raw bytes alone prove little. Thousands of patterns are searched for in
one pass, by their first two bytes, then by their first eight.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.dataset.parquet import row_groups_together
from pipeline.dataset.store import LocalStore, Store
from pipeline.dataset.tables import open_table
from pipeline.forget.search_patterns import SearchPatterns
from schemas.remote import describe

_CHUNK = 4 << 20
_BATCH = 32 << 20
_TEXTS = (
    *(pa.StringArray, pa.LargeStringArray, pa.BinaryArray, pa.LargeBinaryArray),
    pa.FixedSizeBinaryArray,
)
_WORD = np.zeros(256, bool)
_WORD[[*b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"]] = True


@dataclass(frozen=True)
class Hit:
    """A pattern that was found. The pattern itself is left out: it may be a name or a face."""

    path: str
    where: str  # "bytes" or the name of a column
    kind: str  # id | piece


@dataclass(frozen=True)
class Unsearched:
    """A file that could not be read, so that nothing is known of it."""

    path: str
    why: str


@dataclass
class Scan:
    """What was searched, and what was found."""

    files: int = 0
    size_bytes: int = 0
    values: int = 0  # cells of Parquet columns
    patterns: int = 0
    hits: tuple[Hit, ...] = ()
    unsearched: tuple[Unsearched, ...] = ()

    @property
    def clean(self) -> bool:
        return not self.hits and not self.unsearched


def scan(patterns: SearchPatterns, store: Store, leave_out: str = "") -> Scan:
    """Search every file of the dataset but `leave_out`; one that cannot be read is named."""
    finder = Finder(patterns)
    done = Scan(patterns=len(patterns.ids) + len(patterns.pieces))
    hits: set[Hit] = set()
    unsearched: list[Unsearched] = []
    for path in store.list():
        if path == leave_out:
            continue
        for kind in finder.kinds(path.encode(errors="surrogatepass")):
            hits.add(Hit(path, "its name", kind))
        try:
            hits.update(_hits_inside(path, finder, store, done))
            done.files += 1
        except (ValueError, OSError) as error:
            why = describe(error) if isinstance(error, OSError) else str(error)
            unsearched.append(Unsearched(path, why))
    done.hits = tuple(sorted(hits, key=lambda hit: (hit.path, hit.where, hit.kind)))
    done.unsearched = tuple(unsearched)
    return done


def _hits_inside(path: str, finder: "Finder", store: Store, done: Scan) -> Iterator[Hit]:
    """Yield what a file holds, and count what was searched; ValueError or OSError: not all was."""
    _refuse_what_is_no_file(path, store)
    for chunk in _chunks(path, finder.longest, store):
        done.size_bytes += len(chunk)
        yield from (Hit(path, "bytes", kind) for kind in finder.kinds(chunk))
    if path.endswith(".parquet"):
        for column, content, values in _decoded(path, store):
            done.values += values
            yield from (Hit(path, column, kind) for kind in finder.kinds(content))


def _refuse_what_is_no_file(path: str, store: Store) -> None:
    """Raise ValueError for what would block whoever opens it, such as a FIFO."""
    if isinstance(store, LocalStore):
        mode = os.stat(os.path.join(store.location, path)).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError("it is no regular file")


class Finder:
    """Finds many patterns in one pass."""

    def __init__(self, patterns: SearchPatterns) -> None:
        self._kind = dict.fromkeys(patterns.pieces, "piece") | dict.fromkeys(patterns.ids, "id")
        self._short = [pattern for pattern in self._kind if len(pattern) < 8]
        long = [pattern for pattern in self._kind if len(pattern) >= 8]
        self._by_head: dict[int, list[bytes]] = {}
        for pattern in long:
            self._by_head.setdefault(int.from_bytes(pattern[:8], "little"), []).append(pattern)
        self._heads = np.array(sorted(self._by_head), np.uint64)
        self._starts = np.zeros(1 << 16, bool)
        self._starts[[int.from_bytes(pattern[:2], "little") for pattern in long]] = True
        self.longest = max(map(len, self._kind), default=0)

    def kinds(self, content: bytes) -> set[str]:
        """Return the kinds of the patterns that the content holds."""
        found = {self._kind[n] for n in self._short if _contains_word(content, n, content.find(n))}
        for pattern, place in self._candidates(content):
            if self._kind[pattern] == "piece" or _is_word(content, place, len(pattern)):
                found.add(self._kind[pattern])
        return found

    def _candidates(self, content: bytes) -> Iterator[tuple[bytes, int]]:
        data = np.frombuffer(content, np.uint8)
        if len(data) < 8 or not len(self._heads):
            return
        pairs = data[:-1].astype(np.uint16) | (data[1:].astype(np.uint16) << 8)
        places = np.flatnonzero(self._starts[pairs[: len(data) - 7]])
        windows = np.lib.stride_tricks.sliding_window_view(data, 8)[places]
        heads = np.ascontiguousarray(windows).view("<u8")[:, 0] if len(places) else windows[:, 0]
        nearest = np.searchsorted(self._heads, heads).clip(max=len(self._heads) - 1)
        for index in np.flatnonzero(self._heads[nearest] == heads):
            place = int(places[index])
            for pattern in self._by_head[int(heads[index])]:
                if content.startswith(pattern, place):
                    yield pattern, place


def _contains_word(content: bytes, pattern: bytes, place: int) -> bool:
    while place >= 0:
        if _is_word(content, place, len(pattern)):
            return True
        place = content.find(pattern, place + 1)
    return False


def _is_word(content: bytes, place: int, length: int) -> bool:
    """Return whether no letter or digit stands beside it: `video-1` is not in `video-10`."""
    before = place > 0 and bool(_WORD[content[place - 1]])
    after = place + length < len(content) and bool(_WORD[content[place + length]])
    return not before and not after


def _chunks(path: str, overlap: int, store: Store) -> Iterator[bytes]:
    with store.open(path) as file:
        tail = b""
        while block := file.read(_CHUNK):
            content = tail + block
            yield content
            tail = content[-overlap - 1 :]


def _decoded(path: str, store: Store) -> Iterator[tuple[str, bytes, int]]:
    """Yield column, content, number of values, a row group at a time; no content of a foreign file.

    Values are joined by line feeds, so that two neighbours never make a word together.
    """
    try:
        file = open_table(path, store)
    except ValueError:
        return
    for groups in row_groups_together(file, _BATCH, lambda group: group.total_byte_size):
        data = file.read_row_groups(groups).combine_chunks()
        for name in data.column_names:
            for chunk in data[name].chunks:
                for content, values in _leaves(chunk):
                    yield name, content, values


def _leaves(array: pa.Array) -> Iterator[tuple[bytes, int]]:
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    if isinstance(array, (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray)):
        yield from _leaves(array.flatten())
    elif isinstance(array, pa.StructArray):
        for part in array.flatten():
            yield from _leaves(part)
    elif pa.types.is_floating(array.type):
        numbers = array.to_numpy(zero_copy_only=False)
        yield np.ascontiguousarray(numbers).tobytes(), len(array)
    elif isinstance(array, _TEXTS):
        values = array.cast(pa.large_binary()).to_pylist()
        yield b"\n".join(value for value in values if value), len(array)
