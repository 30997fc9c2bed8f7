"""Find out who is hardly known by a face: inside one video, by time and place, and what is worn."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from pipeline.dataset.row_sets import grouped, together
from pipeline.engines.identity.spaces import Turned, Worn
from pipeline.pairing.overlaps import Constraints
from schemas.tables import Clip, Track


@dataclass(frozen=True, order=True)
class Alike:
    """A track and another one that is seen near it, and how alike their clothes or faces are."""

    likeness: float
    track_id: str
    other_id: str


@dataclass(frozen=True)
class Joined:
    """Groups of tracks that may be one person each, and pairs that a person should look at."""

    groups: list[list[str]]
    doubts: list[Alike]


def join_faceless(
    groups: Iterable[Sequence[str]],
    tracks: Sequence[Track],
    clips: Mapping[str, Clip],
    rows: Mapping[str, np.ndarray],
    faces: Set[str],
    bound: Constraints,
    worn: Worn,
    near_s: float,
    turned: Turned | None = None,
) -> Joined:
    """Join groups without a face to others of their video.

    `rows` are identity vectors by track, `faces` the tracks that a face decides. Where time and
    place prove one person (`bound`), that decides. Else a group without a face may be somebody
    whose face is known, who wears the same within `near_s`. Nobody else may be more like it then,
    and somebody else whom it could be must be there and be less like it by a margin: what others
    wear as well tells nobody. Or its faces, though turned away, are clearly most like the face of
    somebody whose clothes may be the same.
    """
    people = _People(groups, bound, faces)
    for pair in sorted(bound.together):
        people.join(*pair)
    sure, doubts = [], []
    near, faced = [], []
    for seen in _near(tracks, clips, near_s):
        if not people.has_face(seen[0]):
            near.append(seen)
        elif turned is not None:
            faced += _like_faces(seen, people, rows, turned)
    if turned is not None:
        _join_faces(faced, people, rows, turned, worn)
    dressed = list(_alike(near, rows, worn))
    if turned is not None:
        dressed_so = {(each.track_id, each.other_id): each for each in dressed}
        for best in _by_face(_ranked(_alike(near, rows, turned), people), people, turned):
            clothes = dressed_so.get((best.track_id, best.other_id))
            if clothes is not None and clothes.likeness >= worn.floor:
                sure.append(clothes)
    for ranked in _ranked(dressed, people):
        best, *others = ranked
        if best.likeness < worn.least or people.are_two(best.track_id, best.other_id):
            continue
        rivals = [each for each in others if not people.are_two(each.track_id, each.other_id)]
        known = people.has_face(best.other_id)
        clear = known and rivals and best.likeness >= rivals[0].likeness + worn.margin
        (sure if clear else doubts).append(best)
    for best in sorted(sure, key=lambda each: (-each.likeness, each)):
        if not people.join(best.track_id, best.other_id):
            doubts.append(best)
    return Joined(people.groups(), [each for each in doubts if not people.are_one(each)])


def _like_faces(
    seen: tuple[str, Sequence[str]],
    people: "_People",
    rows: Mapping[str, np.ndarray],
    turned: Turned,
) -> list[Alike]:
    """Return whose known face is so like a track's that it is the same, or may be taken for it."""
    track_id, others = seen
    known = [each for each in others if people.has_face(each)]
    alike = _alike([(track_id, known)] if known else [], rows, turned)
    return [each for each in alike if each.likeness >= turned.least - turned.margin]


def _join_faces(
    pairs: Iterable[Alike],
    people: "_People",
    rows: Mapping[str, np.ndarray],
    turned: Turned,
    worn: Worn,
) -> None:
    """Join groups with a face whose faces are clearly most like each other, in like clothes."""
    best = {
        people.group_of(each.track_id): each
        for each in _by_face(_ranked(pairs, people), people, turned)
    }
    mutual = []
    for name, pair in sorted(best.items()):
        back = best.get(people.group_of(pair.other_id))
        if back is not None and people.group_of(back.other_id) == name:
            mutual.append(pair)
    for pair in mutual:
        clothes = worn.likeness(rows[pair.track_id], rows[pair.other_id][None])
        if clothes[0] >= worn.floor:
            people.join(pair.track_id, pair.other_id, faces_agree=True)


def _by_face(
    ranked: Iterable[Sequence[Alike]], people: "_People", turned: Turned
) -> Iterator[Alike]:
    """Yield for each group whose known face it is most like, where that is clear."""
    for best, *others in ranked:
        clear = not others or best.likeness >= others[0].likeness + turned.margin
        if clear and best.likeness >= turned.least and people.has_face(best.other_id):
            yield best


class _People:
    """Groups of tracks that grow together, but for those that time and place tell apart."""

    def __init__(
        self, groups: Iterable[Sequence[str]], bound: Constraints, faces: Set[str]
    ) -> None:
        self._faces = faces
        self._group_of: dict[str, set[str]] = {}
        for group in groups:
            members = set(group)
            self._group_of.update((track_id, members) for track_id in group)
        self._foes: dict[str, set[str]] = {}
        for first, second in bound.apart:
            self._foes.setdefault(first, set()).add(second)
            self._foes.setdefault(second, set()).add(first)

    def group_of(self, track_id: str) -> str:
        """Return the name of a track's group: its smallest member."""
        return min(self._group_of[track_id])

    def has_face(self, track_id: str) -> bool:
        return not self._faces.isdisjoint(self._group_of[track_id])

    def are_one(self, pair: Alike) -> bool:
        return pair.other_id in self._group_of[pair.track_id]

    def are_two(self, first: str, second: str) -> bool:
        """Whether two groups cannot be one person, or both have a face, which decided."""
        return self.are_apart(first, second) or (self.has_face(first) and self.has_face(second))

    def are_apart(self, first: str, second: str) -> bool:
        """Whether time and place tell two groups apart."""
        mine, theirs = self._group_of[first], self._group_of[second]
        return any(not theirs.isdisjoint(self._foes.get(each, ())) for each in mine)

    def join(self, first: str, second: str, faces_agree: bool = False) -> bool:
        """Make one group of two, if they may be one person."""
        if first not in self._group_of or second not in self._group_of:
            return False
        mine, theirs = self._group_of[first], self._group_of[second]
        if mine is theirs:
            return True
        if self.are_apart(first, second) if faces_agree else self.are_two(first, second):
            return False
        mine |= theirs
        self._group_of.update((track_id, mine) for track_id in theirs)
        return True

    def groups(self) -> list[list[str]]:
        distinct = {id(group): group for group in self._group_of.values()}
        return sorted(sorted(group) for group in distinct.values())


def _ranked(pairs: Iterable[Alike], people: _People) -> list[list[Alike]]:
    """Return, for every group, the best pair with each other group, best first."""
    best: dict[str, dict[str, Alike]] = {}
    for pair in pairs:
        if people.are_one(pair):
            continue
        others = best.setdefault(people.group_of(pair.track_id), {})
        other = people.group_of(pair.other_id)
        others[other] = max(others.get(other, pair), pair)
    return [sorted(others.values(), reverse=True) for _, others in sorted(best.items())]


def _near(
    tracks: Sequence[Track], clips: Mapping[str, Clip], near_s: float
) -> Iterator[tuple[str, list[str]]]:
    """Yield every track with those of its video that are seen near it."""
    for _, seen in grouped(tracks, "video_id"):
        filmed = together(clips, (track.clip_id for track in seen))
        members = sorted(_seen(track, filmed[track.clip_id]) for track in seen)
        starts = [begins_s for begins_s, _, _ in members]
        for begins_s, ends_s, track_id in members:
            before = members[: bisect_right(starts, ends_s + near_s)]
            near = [id for _, end_s, id in before if end_s >= begins_s - near_s and id != track_id]
            if near:
                yield track_id, near


def _alike(
    near: Iterable[tuple[str, Sequence[str]]],
    rows: Mapping[str, np.ndarray],
    seen: Worn | Turned,
) -> Iterator[Alike]:
    """Compare tracks with those near them, by clothes or by faces that are turned away."""
    for track_id, others in near:
        cosines = seen.likeness(rows[track_id], np.stack([rows[each] for each in others]))
        for other_id, cosine in zip(others, np.round(cosines, 6).tolist(), strict=True):
            if np.isfinite(cosine):
                yield Alike(cosine, track_id, other_id)


def _seen(track: Track, clip: Clip) -> tuple[float, float, str]:
    """Return from when to when somebody is seen, in seconds of the video, and the track."""
    begins_s = clip.start_s + track.first_frame / clip.fps
    return begins_s, begins_s + len(track.boxes) / clip.fps, track.track_id
