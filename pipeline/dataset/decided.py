"""What people decided about who is who, taken together, and what that makes of groups of tracks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise

from schemas.corrections import DIFFERENT, IDENTITY, Correction

Pair = tuple[str, str]
_EACH = 100  # tracks of each of two different people that are kept apart; the others follow


@dataclass(frozen=True)
class Decided:
    """Which tracks show one person, and which people are two. Build it by `decide`.

    Attributes:
        people: tracks of one person each, as far as somebody has decided.
        apart: pairs of indices of `people` that are two people.
        confirmed: tracks of which somebody decided who they are, not only who they are not.
    """

    people: tuple[tuple[str, ...], ...] = ()
    apart: frozenset[tuple[int, int]] = frozenset()
    confirmed: frozenset[str] = frozenset()
    _place: Mapping[str, int] = field(default_factory=dict)  # of a track in people

    def __bool__(self) -> bool:
        return bool(self.people)

    def person(self, track_id: str) -> int:
        """Return the index of a track's person, -1 where nobody decided."""
        return self._place.get(track_id, -1)

    def same(self, first: str, second: str) -> bool:
        """Whether somebody decided that two tracks show one person."""
        return first in self._place and self.person(first) == self.person(second)

    def differ(self, first: Iterable[str], second: Iterable[str]) -> bool:
        """Whether somebody decided that a track of the first and one of the second are two."""
        mine = {self.person(track_id) for track_id in first} - {-1}
        theirs = {self.person(track_id) for track_id in second} - {-1}
        return any((min(pair), max(pair)) in self.apart
                   for pair in ((a, b) for a in mine for b in theirs))  # fmt: skip

    def constraints(self, tracks: Iterable[str]) -> tuple[set[Pair], set[Pair]]:
        """Return pairs that show one person, and pairs that show two; they imply all others."""
        if not self.people:
            return set(), set()
        present = set(tracks)
        here = [[id for id in person if id in present] for person in self.people]
        together = {pair for person in here for pair in pairwise(person)}
        apart = {
            (min(here[a][0], here[b][0]), max(here[a][0], here[b][0]))
            for a, b in self.apart
            if here[a] and here[b]
        }
        return together, apart

    def regroup(
        self, groups: Iterable[Sequence[str]], impossible: Iterable[Pair] = ()
    ) -> list[list[str]]:
        """Return groups of tracks as they were decided; undecided tracks stay with their group.

        `impossible` pairs cannot be one person (they share a frame): no decision joins them. Where
        a group is parted, its undecided tracks stay with the larger part.
        """
        if not self.people:
            return [list(group) for group in groups]
        foes: dict[str, set[str]] = {}
        for first, second in impossible:
            foes.setdefault(first, set()).add(second)
            foes.setdefault(second, set()).add(first)
        parts = [part for group in groups for part in self._parted(group)]
        return _Parts(self, parts, foes).joined()

    def _parted(self, group: Sequence[str]) -> list[set[str]]:
        """Part a group where it holds people who were told apart."""
        members: dict[int, list[str]] = {}
        for track_id in group:
            if track_id in self._place:
                members.setdefault(self._place[track_id], []).append(track_id)
        order = sorted(members, key=lambda person: (-len(members[person]), min(members[person])))
        rooms: list[list[int]] = []
        for person in order:
            room = next((room for room in rooms if self._fits(person, room)), None)
            if room is None:
                rooms.append([person])
            else:
                room.append(person)
        if len(rooms) < 2:
            return [set(group)]
        parts = [{id for person in room for id in members[person]} for room in rooms]
        parts[0] |= set(group).difference(*parts)
        return parts

    def _fits(self, person: int, room: Iterable[int]) -> bool:
        return not any((min(person, other), max(person, other)) in self.apart for other in room)


class _Parts:
    """Parts of groups, while what shows one person is put together."""

    def __init__(
        self, decided: Decided, parts: Iterable[set[str]], foes: Mapping[str, set[str]]
    ) -> None:
        self._decided, self._foes = decided, foes
        self._parts = dict(enumerate(parts))
        self._where = {id: number for number, part in self._parts.items() for id in part}

    def joined(self) -> list[list[str]]:
        for person in self._decided.people:
            numbers = {self._where[id] for id in person if id in self._where}
            home, *others = sorted(numbers, key=self._rank) or [-1]
            for other in others:
                self._join(home, other, [id for id in person if self._where.get(id) == other])
        return sorted(sorted(part) for part in self._parts.values() if part)

    def _rank(self, number: int) -> tuple[int, str]:
        return -len(self._parts[number]), min(self._parts[number])

    def _join(self, home: int, other: int, own: Sequence[str]) -> None:
        """Join two parts, or if that cannot be, move the person's own tracks alone."""
        moving = self._parts[other]
        if self._clash(home, moving):
            moving = set(own)
            if self._clash(home, moving):
                return
        self._parts[home] |= moving
        self._parts[other] = self._parts[other] - moving
        self._where.update(dict.fromkeys(moving, home))

    def _clash(self, home: int, moving: set[str]) -> bool:
        there = self._parts[home]
        shared = any(self._foes.get(id, set()) & there for id in moving if id in self._foes)
        return shared or self._decided.differ(moving, there)


class _Sets:
    """Disjoint sets of tracks, some of which must stay apart."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._foes: dict[str, set[str]] = {}  # by root

    def root(self, track_id: str) -> str:
        self._parent.setdefault(track_id, track_id)
        while self._parent[track_id] != track_id:
            self._parent[track_id] = self._parent[self._parent[track_id]]
            track_id = self._parent[track_id]
        return track_id

    def join(self, first: str, second: str) -> bool:
        """Join two sets unless they must stay apart; return whether they are one now."""
        keep, gone = sorted((self.root(first), self.root(second)))
        if keep == gone:
            return True
        if gone in self._foes.get(keep, ()):
            return False
        self._parent[gone] = keep
        for foe in self._foes.pop(gone, set()):
            self._foes[foe].discard(gone)
            self._foes[foe].add(keep)
            self._foes.setdefault(keep, set()).add(foe)
        return True

    def part(self, first: str, second: str) -> bool:
        """Keep two sets apart unless they are one; return whether they are apart now."""
        one, two = self.root(first), self.root(second)
        if one == two:
            return False
        self._foes.setdefault(one, set()).add(two)
        self._foes.setdefault(two, set()).add(one)
        return True

    def decided(self, confirmed: Iterable[str]) -> Decided:
        members: dict[str, list[str]] = {}
        for track_id in sorted(self._parent):
            members.setdefault(self.root(track_id), []).append(track_id)
        place = {root: number for number, root in enumerate(members)}
        apart = {
            (min(place[root], place[foe]), max(place[root], place[foe]))
            for root, foes in self._foes.items()
            for foe in foes
        }
        of_track = {id: place[root] for root, ids in members.items() for id in ids}
        people = tuple(map(tuple, members.values()))
        return Decided(people, frozenset(apart), frozenset(confirmed), of_track)


def decide(corrections: Iterable[Correction]) -> Decided:
    """Take all corrections of identity together; where two contradict, the later one holds."""
    sets, confirmed = _Sets(), set[str]()
    for correction in reversed([each for each in corrections if each.kind in IDENTITY]):
        if correction.kind == DIFFERENT:  # of two people, each may still be several
            heads = [list(tracks[:_EACH]) for tracks in correction.people]
        else:
            heads = [_join_all(tracks, sets) for tracks in correction.people]
            confirmed.update(correction.tracks)
        for one, other in combinations(heads, 2):
            for first in one:
                for second in other:
                    sets.part(first, second)
    return sets.decided(confirmed)


def _join_all(tracks: Sequence[str], sets: _Sets) -> list[str]:
    """Join tracks as far as later decisions allow; return one track of each set that is left."""
    heads: list[str] = []
    for track_id in tracks:
        if not any(sets.join(head, track_id) for head in heads):
            heads.append(track_id)
    return heads
