"""Average-linkage clustering of unit vectors with cannot-links, bounded in memory.

The mean cosine between two clusters is the dot product of their mean vectors, so no N x N matrix
is ever held. Up to `exact` rows the answer is exact, in O(N^2 D) time. Beyond, only pairs that
`pipeline.pairing.neighbours` finds are candidates: what it misses is looked for again among the
clusters, whose mean directions are far less noisy than single rows, until nothing merges.

A cluster is named by its smallest row, so N labels say who is with whom. Memory: some numbers a
row and 32 bytes a near pair; vectors, their means and the index of neighbours lie on disk. See
docs/pairs.md for what was measured.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np

from pipeline.dataset.disk_arrays import mean_rows, unit_rows
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

    def labels(self) -> np.ndarray:
        """Return, (N,), the smallest member of every integer's set."""
        return np.fromiter(map(self.find, range(len(self._parent))), np.int64, len(self._parent))


@dataclass
class _Clusters:
    """What is to be merged: the means and sizes of clusters, and which must stay apart."""

    means: np.ndarray  # (N, D) float32, not of unit length; may be the caller's
    weights: np.ndarray  # (N,) float64
    apart: Mapping[int, Set[int]]  # of those that must stay apart from others

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True)
class _Near:
    """The neighbours of every row, one row's after another's."""

    seconds: np.ndarray
    starts: np.ndarray  # (N + 1,) where each row's begin

    @classmethod
    def of_pairs(cls, pairs: np.ndarray, size: int) -> "_Near":
        """Sort pairs (M, 2), which are read in both directions."""
        both = np.concatenate([pairs, pairs[:, ::-1]])
        both = both[np.lexsort((both[:, 1], both[:, 0]))]
        return cls(both[:, 1].copy(), np.searchsorted(both[:, 0], np.arange(size + 1)))

    def __getitem__(self, row: int) -> np.ndarray:
        """Return the neighbours of a row in ascending order."""
        return self.seconds[self.starts[row] : self.starts[row + 1]]


def link(
    vectors: np.ndarray,
    threshold: float,
    cannot: Iterable[tuple[int, int]] = (),
    must: Iterable[tuple[int, int]] = (),
    exact: int = EXACT,
) -> np.ndarray:
    """Cluster the rows of `vectors` (N, D); merge while the mean cosine is >= threshold.

    Returns (N,) int64, the smallest row of the cluster that each row is in. `cannot` pairs never
    share a cluster; `must` pairs always do unless a `cannot` forbids it. The result depends on the
    order of the rows only for ties: callers sort rows by id first.
    """
    forbidden = set(map(tuple, map(sorted, cannot)))
    firsts, cluster = np.unique(_joined(len(vectors), must, forbidden), return_inverse=True)
    if len(firsts) <= exact:
        return firsts[_merge_all(_clusters(vectors, cluster, forbidden), threshold)][cluster]
    for _ in range(ROUNDS):
        merged = _merge_near(_clusters(vectors, cluster, forbidden), threshold)
        labels = firsts[merged][cluster]
        if len(np.unique(merged)) == len(firsts):
            break
        firsts, cluster = np.unique(labels, return_inverse=True)
    return firsts[cluster]


def _clusters(
    vectors: np.ndarray, cluster: np.ndarray, forbidden: Iterable[tuple[int, ...]]
) -> _Clusters:
    """Return the clusters of which each row is one's; `cluster` (N,) counts them from 0."""
    sizes = np.bincount(cluster)
    means = np.asarray(vectors, np.float32)
    if len(means) > len(sizes):
        means = mean_rows(means, np.argsort(cluster, kind="stable"), sizes)
    apart: dict[int, set[int]] = {}
    for first, second in forbidden:
        one, other = int(cluster[first]), int(cluster[second])
        apart.setdefault(one, set()).add(other)
        apart.setdefault(other, set()).add(one)
    return _Clusters(means, sizes.astype(np.float64), apart)


def _merge_all(clusters: _Clusters, threshold: float) -> np.ndarray:
    """Merge clusters, comparing all; returns (N,) the first of those that each is merged with."""
    merged = np.arange(len(clusters))
    labels = components(clusters.means, threshold)
    for component in _several(labels):
        _agglomerate(component, clusters, threshold, merged)
    return merged


def _merge_near(clusters: _Clusters, threshold: float) -> np.ndarray:
    """Do the same among the near pairs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    means, size = clusters.means, len(clusters)
    pairs = near_pairs(unit_rows(means), threshold, exact=0)
    pairs = pairs[cosines_of(means, pairs) >= threshold]
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    near = _Near.of_pairs(pairs, size)
    merged = np.arange(size)
    for component in _several(labels):
        if len(component) <= DENSE:
            _agglomerate(component, clusters, threshold, merged)
        else:
            _agglomerate_sparsely(component, clusters, near, threshold, merged)
    return merged


def _several(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the members of every label that several have, ascending."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    borders = np.flatnonzero(np.diff(ordered, prepend=-1, append=-1))
    for place in np.flatnonzero(np.diff(borders) > 1).tolist():
        yield order[borders[place] : borders[place + 1]]


def _joined(
    size: int, must: Iterable[tuple[int, int]], forbidden: set[tuple[int, ...]]
) -> np.ndarray:
    """Join `must` pairs in order, skipping those that would join a forbidden pair.

    Returns (size,) the smallest member of every integer's set.
    """
    pairs = sorted(map(sorted, must))
    if not pairs:
        return np.arange(size)
    sets = Union(size)
    foes: dict[int, set[int]] = {}
    for first, second in forbidden:
        foes.setdefault(first, set()).add(second)
        foes.setdefault(second, set()).add(first)
    members = {item: [item] for pair in pairs for item in pair}
    for first, second in pairs:
        low, high = sorted((sets.find(first), sets.find(second)))
        if low == high:
            continue
        other = set(members[high])
        if any(foes.get(item, set()) & other for item in members[low]):
            continue
        sets.join(low, high)
        members[low] += members.pop(high)
    return sets.labels()


def components(means: np.ndarray, threshold: float) -> np.ndarray:
    """Split rows into groups between which no cosine reaches the threshold.

    Returns (N,) the smallest row of each one's group. A merge needs a mean cosine of at least the
    threshold, hence one pair at or above it: clusters never cross these groups.
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
    return sets.labels()


def _join_labels(sets: Union, labels: np.ndarray, top: int, left: int, height: int) -> None:
    seen: dict[int, int] = {}
    for node, label in enumerate(labels):
        item = top + node if node < height else left + node - height
        sets.join(seen.setdefault(int(label), item), item)


def _agglomerate(
    component: np.ndarray, clusters: _Clusters, threshold: float, merged: np.ndarray
) -> None:
    """Merge the closest allowed pair until none reaches the threshold; notes it in `merged`.

    Every row remembers its best partner; after a merge only rows whose partner was touched look
    again, which average linkage allows because a merge never brings two clusters closer.
    """
    mean, weight = clusters.means[component], clusters.weights[component]
    foes = _foes(component, clusters)
    root = np.arange(len(component))  # of a row: what it was merged into
    alive = np.ones(len(component), bool)
    best, partner = np.empty(len(component)), np.zeros(len(component), int)

    def look(row: int) -> None:
        cosines = np.round((mean @ mean[row]).astype(np.float64), DECIMALS)
        cosines[~alive] = -np.inf
        cosines[[row, *foes.get(row, ())]] = -np.inf
        partner[row] = int(np.argmax(cosines))
        best[row] = cosines[partner[row]]

    for row in range(len(component)):
        look(row)
    while best.max() >= threshold:
        first = int(np.argmax(best))
        keep, gone = sorted((first, int(partner[first])))
        _join_means(mean, weight, keep, gone)
        root[gone], alive[gone], best[gone] = keep, False, -np.inf
        _join_foes(foes, keep, gone)
        look(keep)
        for row in np.flatnonzero(alive & np.isin(partner, (keep, gone))):
            look(int(row))
    merged[component] = component[_roots(root, np.arange(len(root)))]


def _foes(component: np.ndarray, clusters: _Clusters) -> dict[int, set[int]]:
    """Return, by position in the component, who in it must stay apart from whom."""
    if not clusters.apart:
        return {}
    place = {index: row for row, index in enumerate(component.tolist())}
    found: dict[int, set[int]] = {}
    for index in clusters.apart.keys() & place.keys():
        foes = {place[foe] for foe in clusters.apart[index] if foe in place}
        if foes:
            found[place[index]] = foes
    return found


def _join_means(mean: np.ndarray, weight: np.ndarray, keep: int, gone: int) -> None:
    total = weight[keep] + weight[gone]
    mean[keep] = (mean[keep] * weight[keep] + mean[gone] * weight[gone]) / total
    weight[keep] = total


def _join_foes(foes: dict[int, set[int]], keep: int, gone: int) -> None:
    theirs = foes.get(gone, set())
    for foe in theirs:
        foes[foe].add(keep)
    if theirs:
        foes.setdefault(keep, set()).update(theirs)


def _agglomerate_sparsely(
    component: np.ndarray, clusters: _Clusters, near: _Near, threshold: float, merged: np.ndarray
) -> None:
    """Do the same among near pairs only: a row looks at its neighbours, not at everybody.

    A pair below the threshold stays below it for good, so a merged row keeps only neighbours at
    or above. What the queue says of a row is at least the truth; it is looked at again when met.
    """
    local = np.full(len(clusters), -1)
    local[component] = np.arange(len(component))
    mean, weight = clusters.means[component], clusters.weights[component]
    foes = _foes(component, clusters)
    close = [local[near[index]] for index in component.tolist()]
    root = np.arange(len(component))  # of a row: what it was merged into
    queue: list[tuple[float, int]] = []

    def look(row: int) -> tuple[float, int]:
        """Return the closest neighbour, and put it into the queue."""
        rows = np.unique(_roots(root, close[row]))
        rows = rows[rows != row]
        cosines = np.round((mean[rows] @ mean[row]).astype(np.float64), DECIMALS)
        close[row] = rows = rows[cosines >= threshold]
        cosines = cosines[cosines >= threshold]
        for foe in foes.get(row, ()):
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
        root[gone] = keep
        _join_foes(foes, keep, gone)
        close[keep] = np.concatenate([close[keep], close[gone]])
        close[gone] = close[gone][:0]
        look(keep)
    merged[component] = component[_roots(root, np.arange(len(root)))]


def _roots(root: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the row into which each of these was merged."""
    while True:
        above = root[rows]
        if np.array_equal(above, rows):
            return rows
        rows = above
