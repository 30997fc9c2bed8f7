"""How well every track fits its character, and which characters a person should look at."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.dataset.decided import Decided
from pipeline.dataset.disk_arrays import unit_rows
from pipeline.dataset.row_sets import Places, encoded, values
from pipeline.engines.interfaces import SimilarityWindows
from pipeline.pairing.neighbours import EXACT, cosines_of, near_pairs, nearest
from pipeline.pairing.vectors import IdentityVectors
from schemas.tables import Suspect, Track

BLOCK_FLOATS = 1 << 24  # cosines of tracks to characters held at once: 64 MiB of float32
_RIVALS = 8  # characters looked at beside those of the track's own video, beyond EXACT


@dataclass(frozen=True)
class Membership:
    """How surely a track belongs to its character; cosines, NaN where nothing compares."""

    own: float  # mean to the character's other tracks
    second: float  # mean to the next best character
    second_character_id: str = ""
    confusable: bool = False  # second is at or above the window that links characters

    @property
    def margin(self) -> float:
        return self.own - self.second


class Memberships(Mapping[str, Membership]):
    """By track, as columns."""

    def __init__(
        self,
        ids: np.ndarray,
        own: np.ndarray,
        second: np.ndarray,
        second_ids: np.ndarray,
        confusable: np.ndarray,
    ) -> None:
        """Take the fields of `Membership`, (N,) each, of tracks with these ids."""
        self.ids, self.own, self.second = ids, own, second
        self.second_ids, self.confusable = second_ids, confusable
        self._places = Places(ids)

    @classmethod
    def joined(cls, parts: "Sequence[Memberships]") -> "Memberships":
        names = ("ids", "own", "second", "second_ids", "confusable")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def __getitem__(self, track_id: str) -> Membership:
        place = self._places[track_id]
        return Membership(
            float(self.own[place]),
            float(self.second[place]),
            self.second_ids.item(place).decode(),
            bool(self.confusable[place]),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Cohesion:
    """Mean cosines between tracks and characters.

    Up to EXACT characters every track is compared with every character, a block at a time; beyond,
    with those of its own video and with the nearest that `pipeline.pairing.neighbours` finds.
    """

    def __init__(
        self, tracks: Sequence[Track], vectors: IdentityVectors, exact: int = EXACT
    ) -> None:
        self._exact = exact
        self._track_ids = values(tracks, "track_id")
        self._ids, self._own = np.unique(values(tracks, "character_id"), return_inverse=True)
        self._videos = np.unique(values(tracks, "video_id"), return_inverse=True)[1]
        self._rows = vectors.tracks.of(self._track_ids)
        self._sums = np.zeros((len(self._ids), self._rows.shape[1]), dtype=np.float32)
        np.add.at(self._sums, self._own, self._rows)
        self._counts = np.bincount(self._own, minlength=len(self._ids)).astype(np.float32)

    def memberships(self, windows: SimilarityWindows) -> Memberships:
        """Compare every track with its own character and with the next best one."""
        own, second = np.full((2, len(self._track_ids)), np.nan)
        rival = np.full(len(own), -1)
        confusable = np.zeros(len(own), bool)
        homes = self._homes()
        for index, rivals, means in self._compared(homes):
            own[index] = self._inside(index)
            if not len(rivals):
                continue
            window = np.full(len(rivals), windows.cross_video, dtype=np.float32)
            window[np.isin(rivals, homes[self._videos[index]])] = windows.same_video
            linked = means >= window
            best = int(np.argmax(np.where(linked, means, -np.inf) if linked.any() else means))
            second[index], rival[index] = self._mean_to(index, rivals[best]), rivals[best]
            confusable[index] = linked.any()
        names = np.concatenate([self._ids, encoded([""])])[rival]
        return Memberships(self._track_ids, own, second, names, confusable)

    def _inside(self, index: int) -> float:
        """Return the mean cosine of a track to the other tracks of its character."""
        own = self._own[index]
        others = self._counts[own] - 1
        total = float(self._rows[index] @ self._sums[own])
        return (total - 1) / float(others) if others else float("nan")

    def _mean_to(self, index: int, character: int) -> float:
        """Return a track's mean cosine to a character, which is written down.

        One product of two vectors: a product of matrices has other last bits on more threads.
        """
        return float(self._rows[index] @ self._sums[character]) / float(self._counts[character])

    def _compared(
        self, homes: Sequence[np.ndarray]
    ) -> Iterable[tuple[int, np.ndarray, np.ndarray]]:
        """Yield (track, other characters, mean cosines to them)."""
        if len(self._ids) <= self._exact:
            everybody = np.arange(len(self._ids))
            for rows in self._blocks(len(self._own)):
                means = self._rows[rows] @ self._sums.T
                means /= self._counts
                for index, line in enumerate(means, start=rows.start):
                    others = everybody != self._own[index]
                    yield index, everybody[others], line[others]
            return
        near = nearest(self._rows, self._sums / self._counts[:, None], _RIVALS)
        tracks = zip(near, self._videos, self._own, strict=True)
        for index, (found, video, own) in enumerate(tracks):
            rivals = np.union1d(found, homes[video])
            rivals = rivals[(rivals >= 0) & (rivals != own)]
            means = (self._sums[rivals] @ self._rows[index]) / self._counts[rivals]
            yield index, rivals, means

    def _blocks(self, number: int) -> Iterable[slice]:
        height = max(1, BLOCK_FLOATS // max(1, len(self._ids)))
        return (slice(top, top + height) for top in range(0, number, height))

    def _homes(self) -> list[np.ndarray]:
        """Return the characters that appear in each video."""
        order = np.lexsort([self._own, self._videos])
        ends = np.cumsum(np.bincount(self._videos))[:-1]
        return [np.unique(own) for own in np.split(self._own[order], ends)]

    def suspects(
        self,
        memberships: Memberships,
        windows: SimilarityWindows,
        band: float,
        decided: Decided,
    ) -> tuple[Suspect, ...]:
        """List at most one merge and one split suspect per character; none that was decided."""
        found = [*self._merge_suspects(memberships, windows.reference_floor, decided)]
        found += self._split_suspects(windows.cross_video - band, decided)
        return tuple(sorted(found, key=lambda row: (row.kind, row.character_id)))

    def _merge_suspects(
        self, memberships: Memberships, floor: float, decided: Decided
    ) -> Iterable[Suspect]:
        worst: dict[str, tuple[float, str]] = {}
        for index in np.flatnonzero(memberships.own < floor).tolist():
            own, track_id = float(memberships.own[index]), self._track_ids.item(index).decode()
            if track_id not in decided.confirmed:
                entry, character_id = (own, track_id), self._ids.item(self._own[index]).decode()
                worst[character_id] = min(worst.get(character_id, entry), entry)
        for character_id, (own, track_id) in worst.items():
            detail = "a member is further from the others than a reference may be"
            yield Suspect("merge", character_id, "", track_id, own, floor, detail)

    def _split_suspects(self, window: float, decided: Decided) -> Iterable[Suspect]:
        """Yield, for every character, the nearest one after it that may be the same person."""
        if len(self._ids) < 2:
            return
        directions = unit_rows(self._sums)
        pairs = self._open(near_pairs(directions, window, self._exact), decided)
        cosines = cosines_of(directions, pairs)
        order = np.lexsort((pairs[:, 1], -cosines, pairs[:, 0]))
        _, best = np.unique(pairs[order, 0], return_index=True)
        detail = "two characters are nearly as alike as one"
        for first, second, cosine in zip(
            *pairs[order][best].T.tolist(), cosines[order][best].tolist(), strict=True
        ):
            names = self._ids.item(first).decode(), self._ids.item(second).decode()
            yield Suspect("split", *names, "", cosine, window, detail)

    def _open(self, pairs: np.ndarray, decided: Decided) -> np.ndarray:
        """Leave out the pairs of characters whom somebody has told apart."""
        if not decided.apart:
            return pairs
        members: dict[int, list[str]] = {}
        for id, own in zip(self._track_ids.tolist(), self._own.tolist(), strict=True):
            if decided.person(id.decode()) >= 0:
                members.setdefault(own, []).append(id.decode())
        empty: list[str] = []
        told = [
            decided.differ(members.get(first, empty), members.get(second, empty))
            for first, second in pairs.tolist()
        ]
        return pairs[~np.array(told, bool).reshape(len(pairs))]
