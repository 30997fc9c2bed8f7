"""Average-linkage clustering of unit vectors with cannot-links, exact and bounded in memory.

The mean cosine between two clusters is the dot product of their mean vectors, so no N x N matrix
is ever held: memory is N x D floats, one block of BLOCK x BLOCK cosines while components are
looked for, and a few arrays of length N while clusters merge. Time is O(N^2 D).
"""

from collections.abc import Iterable, Sequence

import numpy as np

BLOCK = 1024  # rows and columns of cosines held at once: 4 MiB of float32
DECIMALS = 6  # cosines are compared rounded, so that two BLAS builds agree on ties


class Union:
    """Disjoint sets of the integers below `size`; the smallest member names its set."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, item: int) -> int:
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, first: int, second: int) -> None:
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low

    def groups(self) -> list[list[int]]:
        """Return the sets, members ascending, ordered by their smallest member."""
        members: dict[int, list[int]] = {}
        for item in range(len(self._parent)):
            members.setdefault(self.find(item), []).append(item)
        return list(members.values())


def link(
    vectors: np.ndarray,
    threshold: float,
    cannot: Iterable[tuple[int, int]] = (),
    must: Iterable[tuple[int, int]] = (),
) -> list[list[int]]:
    """Cluster the rows of `vectors` (N, D); merge while the mean cosine is >= threshold.

    `cannot` pairs never share a cluster; `must` pairs always do unless a `cannot` forbids it.
    The result depends on the order of the rows only for ties: callers sort rows by id first.
    """
    forbidden = set(map(tuple, map(sorted, cannot)))
    start = _joined(len(vectors), must, forbidden)
    means = np.stack([vectors[group].mean(axis=0) for group in start]) if start else vectors
    where = {item: index for index, group in enumerate(start) for item in group}
    apart: list[set[int]] = [set() for _ in start]
    for first, second in forbidden:
        apart[where[first]].add(where[second])
        apart[where[second]].add(where[first])
    clusters = []
    for component in components(means, threshold):
        for merged in _agglomerate(component, means, start, apart, threshold):
            clusters.append(sorted(item for index in merged for item in start[index]))
    return sorted(clusters)


def _joined(
    size: int, must: Iterable[tuple[int, int]], forbidden: set[tuple[int, ...]]
) -> list[list[int]]:
    """Join `must` pairs in order, skipping those that would join a forbidden pair."""
    sets = Union(size)
    foes: dict[int, set[int]] = {}
    for first, second in forbidden:
        foes.setdefault(first, set()).add(second)
        foes.setdefault(second, set()).add(first)
    members = {item: [item] for item in range(size)}
    for first, second in sorted(map(sorted, must)):
        low, high = sorted((sets.find(first), sets.find(second)))
        if low == high:
            continue
        other = set(members[high])
        if any(foes.get(item, set()) & other for item in members[low]):
            continue
        sets.join(low, high)
        members[low] += members.pop(high)
    return sets.groups()


def components(means: np.ndarray, threshold: float) -> list[list[int]]:
    """Split rows into groups between which no cosine reaches the threshold.

    A merge needs a mean cosine of at least the threshold, hence one pair at or above it: clusters
    never cross these groups.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sets = Union(len(means))
    for top in range(0, len(means), BLOCK):
        for left in range(top, len(means), BLOCK):
            cosines = means[top : top + BLOCK] @ means[left : left + BLOCK].T
            rows, columns = np.nonzero(np.round(cosines, DECIMALS) >= threshold)
            size = sum(cosines.shape)
            edges = (rows, columns + cosines.shape[0])
            graph = coo_array((np.ones(len(rows), bool), edges), shape=(size, size))
            _, labels = connected_components(graph, directed=False)
            _join_labels(sets, labels, top, left, cosines.shape[0])
    return sets.groups()


def _join_labels(sets: Union, labels: np.ndarray, top: int, left: int, height: int) -> None:
    seen: dict[int, int] = {}
    for node, label in enumerate(labels):
        item = top + node if node < height else left + node - height
        sets.join(seen.setdefault(int(label), item), item)


def _agglomerate(
    component: Sequence[int],
    means: np.ndarray,
    start: Sequence[Sequence[int]],
    apart: Sequence[set[int]],
    threshold: float,
) -> list[list[int]]:
    """Merge the closest allowed pair until none reaches the threshold.

    Every row remembers its best partner; after a merge only rows whose partner was touched look
    again, which average linkage allows because a merge never brings two clusters closer.
    """
    local = {index: row for row, index in enumerate(component)}
    mean = means[list(component)].astype(np.float32)
    weight = np.array([len(start[index]) for index in component], dtype=np.float64)
    foes = [{local[foe] for foe in apart[index] if foe in local} for index in component]
    members = [[index] for index in component]
    alive = np.ones(len(component), bool)
    best, partner = np.empty(len(component)), np.zeros(len(component), int)

    def look(row: int) -> np.ndarray:
        cosines = np.round((mean @ mean[row]).astype(np.float64), DECIMALS)
        cosines[~alive] = -np.inf
        cosines[[row, *foes[row]]] = -np.inf
        partner[row] = int(np.argmax(cosines))
        best[row] = cosines[partner[row]]
        return cosines

    for row in range(len(component)):
        look(row)
    while len(component) > 1 and best.max() >= threshold:
        first = int(np.argmax(best))
        keep, gone = sorted((first, int(partner[first])))
        total = weight[keep] + weight[gone]
        mean[keep] = (mean[keep] * weight[keep] + mean[gone] * weight[gone]) / total
        weight[keep] = total
        members[keep] += members[gone]
        alive[gone], best[gone] = False, -np.inf
        for foe in foes[gone]:
            foes[foe].add(keep)
        foes[keep] |= foes[gone]
        look(keep)
        for row in np.flatnonzero(alive & np.isin(partner, (keep, gone))):
            look(int(row))
    return [members[row] for row in np.flatnonzero(alive)]
