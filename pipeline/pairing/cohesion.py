"""How well every track fits its character, and which characters a person should look at."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.dataset.decided import Decided
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


class Cohesion:
    """Mean cosines between tracks and characters.

    Up to EXACT characters every track is compared with every character, a block at a time; beyond,
    with those of its own video and with the nearest that `pipeline.pairing.neighbours` finds.
    """

    def __init__(
        self, tracks: Sequence[Track], vectors: IdentityVectors, exact: int = EXACT
    ) -> None:
        self._tracks = tracks
        self._exact = exact
        self._ids = sorted({track.character_id for track in tracks})
        place = {character_id: index for index, character_id in enumerate(self._ids)}
        self._own = np.array([place[track.character_id] for track in tracks], dtype=int)
        size = vectors.tracks[tracks[0].track_id].size if tracks else 0
        self._rows = np.array(
            [vectors.tracks[track.track_id] for track in tracks], dtype=np.float32
        ).reshape(len(tracks), size)
        self._sums = np.zeros((len(self._ids), size), dtype=np.float32)
        np.add.at(self._sums, self._own, self._rows)
        self._counts = np.bincount(self._own, minlength=len(self._ids)).astype(np.float32)

    def memberships(self, windows: SimilarityWindows) -> dict[str, Membership]:
        """Compare every track with its own character and with the next best one."""
        found = {}
        homes = self._homes()
        for index, rivals, means in self._compared(homes):
            track, own = self._tracks[index], self._own[index]
            others = self._counts[own] - 1
            total = float(self._rows[index] @ self._sums[own])
            inside = (total - 1) / float(others) if others else float("nan")
            window = np.full(len(rivals), windows.cross_video, dtype=np.float32)
            window[np.isin(rivals, homes[track.video_id])] = windows.same_video
            found[track.track_id] = self._membership(inside, rivals, means, window)
        return found

    def _compared(
        self, homes: Mapping[str, np.ndarray]
    ) -> Iterable[tuple[int, np.ndarray, np.ndarray]]:
        """Yield (track, other characters, mean cosines to them)."""
        if len(self._ids) <= self._exact:
            everybody = np.arange(len(self._ids))
            for rows in self._blocks(len(self._tracks)):
                means = (self._rows[rows] @ self._sums.T) / self._counts
                for index, line in enumerate(means, start=rows.start):
                    others = everybody != self._own[index]
                    yield index, everybody[others], line[others]
            return
        near = nearest(self._rows, self._sums / self._counts[:, None], _RIVALS)
        for index, (track, own) in enumerate(zip(self._tracks, self._own, strict=True)):
            rivals = np.union1d(near[index], homes[track.video_id])
            rivals = rivals[(rivals >= 0) & (rivals != own)]
            means = (self._sums[rivals] @ self._rows[index]) / self._counts[rivals]
            yield index, rivals, means

    def _blocks(self, number: int) -> Iterable[slice]:
        height = max(1, BLOCK_FLOATS // max(1, len(self._ids)))
        return (slice(top, top + height) for top in range(0, number, height))

    def _homes(self) -> dict[str, np.ndarray]:
        """Return the characters that appear in each video."""
        homes: dict[str, set[int]] = {}
        for track, own in zip(self._tracks, self._own, strict=True):
            homes.setdefault(track.video_id, set()).add(int(own))
        return {video_id: np.array(sorted(members)) for video_id, members in homes.items()}

    def _membership(
        self, inside: float, rivals: np.ndarray, means: np.ndarray, window: np.ndarray
    ) -> Membership:
        if not len(rivals):
            return Membership(inside, float("nan"))
        linked = means >= window
        second = int(np.argmax(np.where(linked, means, -np.inf) if linked.any() else means))
        name = self._ids[int(rivals[second])]
        return Membership(inside, float(means[second]), name, bool(linked.any()))

    def suspects(
        self,
        memberships: Mapping[str, Membership],
        windows: SimilarityWindows,
        band: float,
        decided: Decided,
    ) -> tuple[Suspect, ...]:
        """List at most one merge and one split suspect per character; none that was decided."""
        found = [*self._merge_suspects(memberships, windows.reference_floor, decided)]
        found += self._split_suspects(windows.cross_video - band, decided)
        return tuple(sorted(found, key=lambda row: (row.kind, row.character_id)))

    def _merge_suspects(
        self, memberships: Mapping[str, Membership], floor: float, decided: Decided
    ) -> Iterable[Suspect]:
        worst: dict[str, tuple[float, str]] = {}
        for track in self._tracks:
            own = memberships[track.track_id].own
            if own < floor and track.track_id not in decided.confirmed:
                entry = (own, track.track_id)
                worst[track.character_id] = min(worst.get(track.character_id, entry), entry)
        for character_id, (own, track_id) in worst.items():
            detail = "a member is further from the others than a reference may be"
            yield Suspect("merge", character_id, "", track_id, own, floor, detail)

    def _split_suspects(self, window: float, decided: Decided) -> Iterable[Suspect]:
        """Yield, for every character, the nearest one after it that may be the same person."""
        if len(self._ids) < 2:
            return
        lengths = np.maximum(np.linalg.norm(self._sums, axis=1, keepdims=True), 1e-6)
        directions = self._sums / lengths
        pairs = self._open(near_pairs(directions, window, self._exact), decided)
        cosines = cosines_of(directions, pairs)
        order = np.lexsort((pairs[:, 1], -cosines, pairs[:, 0]))
        _, best = np.unique(pairs[order, 0], return_index=True)
        detail = "two characters are nearly as alike as one"
        for first, second, cosine in zip(
            *pairs[order][best].T.tolist(), cosines[order][best].tolist(), strict=True
        ):
            names = self._ids[first], self._ids[second]
            yield Suspect("split", *names, "", cosine, window, detail)

    def _open(self, pairs: np.ndarray, decided: Decided) -> np.ndarray:
        """Leave out the pairs of characters whom somebody has told apart."""
        if not decided.apart:
            return pairs
        members: dict[int, list[str]] = {}
        for track, own in zip(self._tracks, self._own.tolist(), strict=True):
            if decided.person(track.track_id) >= 0:
                members.setdefault(own, []).append(track.track_id)
        empty: list[str] = []
        told = [
            decided.differ(members.get(first, empty), members.get(second, empty))
            for first, second in pairs.tolist()
        ]
        return pairs[~np.array(told, bool).reshape(len(pairs))]
