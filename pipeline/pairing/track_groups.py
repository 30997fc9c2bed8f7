"""Put tracks that look alike into groups: inside each video first, then across videos.

Inside, a track is its row among the tracks and a group the row of its first one. Names are looked
up only by who asks for them.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.dataset.disk_arrays import stacked
from pipeline.dataset.row_sets import encoded, groups, values
from pipeline.engines.interfaces import SimilarityWindows
from pipeline.pairing.linkage import link
from pipeline.pairing.overlaps import Constraints
from pipeline.pairing.vectors import IdentityVectors
from schemas.ids import content_id
from schemas.tables import Track

_LEAST_LOOKS = 3  # of a character that may be found in another video: two dim faces in an audience
# had a cosine of 0.65 to a girl of another film, where the window is 0.64


@dataclass(frozen=True)
class TrackGroups:
    """Tracks that may be one person: the smallest id of a group stands for it."""

    ids: np.ndarray  # (N,) of tracks
    firsts: np.ndarray  # (N,) the smallest id of each one's group

    @classmethod
    def of(cls, members: Iterable[Sequence[str]]) -> "TrackGroups":
        """Return groups that are given as lists of ids."""
        lists = list(members)
        firsts = encoded(min(group) for group in lists for _ in group)
        return cls(encoded(id for group in lists for id in group), firsts)

    @classmethod
    def together(cls, parts: "Sequence[TrackGroups]") -> "TrackGroups":
        """Return the groups of parts that have no track in common."""
        ids, firsts = ([getattr(part, name) for part in parts] for name in ("ids", "firsts"))
        return cls(np.concatenate(ids), np.concatenate(firsts))

    def members(self) -> list[list[str]]:
        """Return the ids of every group."""
        return [[id.decode() for id in self.ids[at].tolist()] for _, at in groups(self.firsts)]

    def characters(self) -> np.ndarray:
        """Return, (N,), the character of every track, which is named after its group."""
        firsts, group = np.unique(self.firsts, return_inverse=True)
        return encoded(content_id("character", first.decode()) for first in firsts)[group]


def group_tracks(
    tracks: Sequence[Track],
    vectors: IdentityVectors,
    bound: Constraints,
    windows: SimilarityWindows,
) -> TrackGroups:
    """Group tracks that are sorted by id and have vectors, as far as time and place let them."""
    ids = values(tracks, "track_id")
    apart, together = _rows_of(bound.apart, ids), _rows_of(bound.together, ids)
    videos = np.unique(values(tracks, "video_id"), return_inverse=True)[1]
    group = _inside_videos(ids, videos, vectors, apart, together, windows.same_video)
    group = _across_videos(ids, group, vectors, apart, windows.cross_video)
    return TrackGroups(ids, ids[group])


def _rows_of(pairs: Iterable[tuple[str, str]], ids: np.ndarray) -> np.ndarray:
    """Return (M, 2) places in sorted ids; pairs that are not all there are left out."""
    names = encoded(id for pair in pairs for id in pair).reshape(-1, 2)
    names = names[np.isin(names, ids).all(axis=1)]
    return np.searchsorted(ids, names)


def _inside_videos(
    ids: np.ndarray,
    videos: np.ndarray,
    vectors: IdentityVectors,
    apart: np.ndarray,
    together: np.ndarray,
    window: float,
) -> np.ndarray:
    """Return, (N,), the first row of the group of each, of which every video has its own."""
    group, number = np.arange(len(ids)), videos.max(initial=-1) + 1
    bound = (_of_videos(pairs, videos, number) for pairs in (apart, together))
    for rows, *pairs in zip(_places_of(videos, number), *bound, strict=True):
        cannot, must = (np.searchsorted(rows, each).tolist() for each in pairs)
        group[rows] = rows[link(vectors.tracks.of(ids[rows]), window, cannot, must)]
    return group


def _across_videos(
    ids: np.ndarray,
    group: np.ndarray,
    vectors: IdentityVectors,
    apart: np.ndarray,
    window: float,
) -> np.ndarray:
    """Return the same, of groups of all videos that are linked by the directions of their means."""
    firsts, number = np.unique(group, return_inverse=True)
    often = np.bincount(number, vectors.images_of(ids)) >= _LEAST_LOOKS
    if not often.any():
        return group
    place = np.where(often, np.cumsum(often) - 1, -1)[number]  # of a track's group among those
    known = _places_of(place + 1, int(often.sum()) + 1)
    next(known)  # the tracks of those that are seen too seldom
    directions = (_direction(vectors.tracks.of(ids[rows])) for rows in known)
    centroids = stacked(directions, int(often.sum()), vectors.tracks.size)
    pairs = place[apart]
    pairs = pairs[(pairs >= 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])]
    linked = firsts[often][link(centroids, window, cannot=pairs.tolist())]
    return np.where(place >= 0, linked[place], group)


def _places_of(labels: np.ndarray, number: int) -> Iterator[np.ndarray]:
    """Yield, for every label below a number, the places where it is, ascending."""
    order = np.argsort(labels, kind="stable")
    borders = np.searchsorted(labels[order], np.arange(number + 1)).tolist()
    return (order[first:last] for first, last in itertools.pairwise(borders))


def _of_videos(pairs: np.ndarray, videos: np.ndarray, number: int) -> Iterator[np.ndarray]:
    """Yield, for every video, the pairs inside it; those of two videos are left out."""
    first, second = videos[pairs].T
    inside = np.flatnonzero(first == second)
    return (pairs[inside[places]] for places in _places_of(first[inside], number))


def _direction(rows: np.ndarray) -> np.ndarray:
    mean = np.mean(rows, axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-6)
