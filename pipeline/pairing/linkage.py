"""Average-linkage clustering of unit vectors with cannot-links, bounded in memory.

The mean cosine between two clusters is the dot product of their mean vectors, so no N x N matrix
is ever held. Up to `exact` rows the answer is exact, in O(N^2 D) time. Beyond, only pairs that
`pipeline.pairing.neighbours` finds are candidates: what it misses is looked for again among the
clusters, whose mean directions are far less noisy than single rows, until nothing merges.

Memory: N x D floats in the index while neighbours are searched and, once any are merged, for the
means, 16 bytes per near pair; other copies of the rows lie on disk. See docs/pairs.md for what was
measured.
"""

import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.dataset.disk_arrays import gathered, unit_rows
from pipeline.pairing.neighbours import BLOCK, DECIMALS, EXACT, cosines_of, near_pairs

DENSE = 2048  # clusters of one component that are all compared with each other
ROUNDS = 4  # at most, beyond `exact` rows


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


@dataclass
class _Clusters:
    """What is to be merged: the means and sizes of clusters, and which must stay apart."""

    members: list[list[int]]
    means: np.ndarray  # (N, D) float32, not of unit length; may be the caller's
    weights: np.ndarray  # (N,) float64
    apart: Mapping[int, set[int]]  # of those that must stay apart from others


def link(
    vectors: np.ndarray,
    threshold: float,
    cannot: Iterable[tuple[int, int]] = (),
    must: Iterable[tuple[int, int]] = (),
    exact: int = EXACT,
) -> list[list[int]]:
    """Cluster the rows of `vectors` (N, D); merge while the mean cosine is >= threshold.

    `cannot` pairs never share a cluster; `must` pairs always do unless a `cannot` forbids it.
    The result depends on the order of the rows only for ties: callers sort rows by id first.
    """
    forbidden = set(map(tuple, map(sorted, cannot)))
    members = _joined(len(vectors), must, forbidden)
    clusters = _clusters(vectors, members, forbidden)
    if len(members) <= exact:
        merged = [
            group
            for component in components(clusters.means, threshold)
            for group in _agglomerate(component, clusters, threshold)
        ]
        return _named(merged, members)
    for _ in range(ROUNDS):
        merged = _merge_near(clusters, threshold)
        if len(merged) == len(members):
            break
        members = _named(merged, members)
        clusters = _clusters(vectors, members, forbidden)
    return sorted(members)


def _named(merged: Iterable[Sequence[int]], members: Sequence[Sequence[int]]) -> list[list[int]]:
    return sorted(sorted(item for index in group for item in members[index]) for group in merged)


def _clusters(
    vectors: np.ndarray, members: list[list[int]], forbidden: set[tuple[int, ...]]
) -> _Clusters:
    sizes = np.array([len(group) for group in members])
    order = np.array([item for group in members for item in group], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    where = np.empty(len(vectors), np.int64)
    where[order] = np.repeat(np.arange(len(members)), sizes)
    means = np.asarray(vectors, np.float32)
    if len(order) > len(members):
        means = np.add.reduceat(gathered(means, order), starts) / sizes[:, None].astype(np.float32)
    apart: dict[int, set[int]] = {}
    for first, second in forbidden:
        one, other = int(where[first]), int(where[second])
        apart.setdefault(one, set()).add(other)
        apart.setdefault(other, set()).add(one)
    return _Clusters(members, means, sizes.astype(np.float64), apart)


def _merge_near(clusters: _Clusters, threshold: float) -> list[list[int]]:
    """Merge clusters among the near pairs; returns lists of positions."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    means, size = clusters.means, len(clusters.means)
    pairs = near_pairs(unit_rows(means), threshold, exact=0)
    pairs = pairs[cosines_of(means, pairs) >= threshold]
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    number, labels = connected_components(graph, directed=False)
    order = np.argsort(labels, kind="stable")
    near = _by_row(np.concatenate([pairs, pairs[:, ::-1]]), size)
    borders = np.searchsorted(labels[order], np.arange(number + 1))
    merged = []
    for first, last in itertools.pairwise(borders.tolist()):
        component = order[first:last].tolist()
        if len(component) <= DENSE:
            merged += _agglomerate(component, clusters, threshold)
        else:
            merged += _agglomerate_sparsely(component, clusters, near, threshold)
    return merged


def _by_row(pairs: np.ndarray, size: int) -> list[np.ndarray]:
    """Return, for every first, the seconds in ascending order."""
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return np.split(pairs[:, 1], np.searchsorted(pairs[:, 0], np.arange(1, size)))


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
    component: Sequence[int], clusters: _Clusters, threshold: float
) -> list[list[int]]:
    """Merge the closest allowed pair until none reaches the threshold; returns positions.

    Every row remembers its best partner; after a merge only rows whose partner was touched look
    again, which average linkage allows because a merge never brings two clusters closer.
    """
    if len(component) == 1:
        return [list(component)]
    local = {index: row for row, index in enumerate(component)}
    mean = clusters.means[list(component)]
    weight = clusters.weights[list(component)]
    apart = (clusters.apart.get(index, ()) for index in component)
    foes = [{local[foe] for foe in others if foe in local} for others in apart]
    members = [[index] for index in component]
    alive = np.ones(len(component), bool)
    best, partner = np.empty(len(component)), np.zeros(len(component), int)

    def look(row: int) -> None:
        cosines = np.round((mean @ mean[row]).astype(np.float64), DECIMALS)
        cosines[~alive] = -np.inf
        cosines[[row, *foes[row]]] = -np.inf
        partner[row] = int(np.argmax(cosines))
        best[row] = cosines[partner[row]]

    for row in range(len(component)):
        look(row)
    while best.max() >= threshold:
        first = int(np.argmax(best))
        keep, gone = sorted((first, int(partner[first])))
        _join_means(mean, weight, keep, gone)
        members[keep] += members[gone]
        alive[gone], best[gone] = False, -np.inf
        _join_foes(foes, keep, gone)
        look(keep)
        for row in np.flatnonzero(alive & np.isin(partner, (keep, gone))):
            look(int(row))
    return [members[row] for row in np.flatnonzero(alive)]


def _join_means(mean: np.ndarray, weight: np.ndarray, keep: int, gone: int) -> None:
    total = weight[keep] + weight[gone]
    mean[keep] = (mean[keep] * weight[keep] + mean[gone] * weight[gone]) / total
    weight[keep] = total


def _join_foes(foes: list[set[int]], keep: int, gone: int) -> None:
    for foe in foes[gone]:
        foes[foe].add(keep)
    foes[keep] |= foes[gone]


def _agglomerate_sparsely(
    component: Sequence[int], clusters: _Clusters, near: list[np.ndarray], threshold: float
) -> list[list[int]]:
    """Do the same among near pairs only: a row looks at its neighbours, not at everybody.

    A pair below the threshold stays below it for good, so a merged row keeps only neighbours at
    or above. What the queue says of a row is at least the truth; it is looked at again when met.
    """
    local = np.full(len(near), -1)
    local[list(component)] = np.arange(len(component))
    mean = clusters.means[list(component)]
    weight = clusters.weights[list(component)]
    apart = (clusters.apart.get(index, ()) for index in component)
    foes = [{int(local[foe]) for foe in others if local[foe] >= 0} for others in apart]
    close = [local[near[index]] for index in component]
    members = [[index] for index in component]
    root = np.arange(len(component))  # of a row: what it was merged into
    queue: list[tuple[float, int]] = []

    def look(row: int) -> tuple[float, int]:
        """Return the closest neighbour, and put it into the queue."""
        rows = _roots(root, close[row])
        rows = rows[rows != row]
        cosines = np.round((mean[rows] @ mean[row]).astype(np.float64), DECIMALS)
        close[row] = rows = rows[cosines >= threshold]
        cosines = cosines[cosines >= threshold]
        for foe in foes[row]:
            cosines[rows == foe] = -np.inf
        if not len(rows) or np.isneginf(cosines.max()):
            return -np.inf, -1
        found = float(cosines.max()), int(rows[np.argmax(cosines)])
        heapq.heappush(queue, (-found[0], row))
        return found

    for row in range(len(component)):
        look(row)
    while queue:
        promised, row = heapq.heappop(queue)
        if root[row] != row:
            continue
        best, partner = look(row)
        if -promised > best:  # the queue was too hopeful: the truth waits for its turn
            continue
        keep, gone = sorted((row, partner))
        _join_means(mean, weight, keep, gone)
        members[keep] += members[gone]
        members[gone] = []
        root[gone] = keep
        _join_foes(foes, keep, gone)
        close[keep] = np.concatenate([close[keep], close[gone]])
        close[gone] = close[gone][:0]
        look(keep)
    return [group for group in members if group]


def _roots(root: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the rows into which these were merged, each once, ascending."""
    while True:
        above = root[rows]
        if np.array_equal(above, rows):
            return np.unique(rows)
        rows = above
