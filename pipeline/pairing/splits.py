"""Put whole connected groups into train, validation or test, so that nothing straddles."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from pipeline.dataset.row_sets import OneOfFew, Places, encoded, values, where
from pipeline.pairing.duplicates import DuplicatesConfig, find_duplicates
from schemas.ids import unit_interval
from schemas.reasons import Split
from schemas.settings import check_settings, setting
from schemas.tables import Clip

_AT_ONCE = 4096  # links whose pairs are compared with each other


@dataclass(frozen=True)
class CopiesConfig(DuplicatesConfig):
    """Which clips of different videos count as one picture and stay together.

    Attributes:
        max_distance: 0 to 3 bits; null lets copies part.
    """

    section: ClassVar[str] = "pair.splits.copies"
    max_distance: int | None = setting(3, low=0, high=3, unit="bits")


@dataclass(frozen=True)
class SplitsConfig:
    """The shares of the groups, not of the samples.

    A group is everything that a character, a source video or a near-duplicate clip connects; it
    goes to one split as a whole, by a draw from its own id. The draw knows nothing of the other
    groups: adding videos moves no finished group unless they connect to it. With few groups a
    split may stay empty; with one group everything lands in one split, usually train.

    Attributes:
        train: share of the groups for training.
        validation: share for choosing between trainings.
        test: share for the final report.
        seed: another seed is another draw.
        copies: which clips of different videos count as one picture and stay together.
    """

    train: float = setting(0.98, low=0, high=1)
    validation: float = setting(0.01, low=0, high=1)
    test: float = setting(0.01, low=0, high=1)
    seed: int = setting(0, low=0, high=2**63 - 1)
    copies: CopiesConfig = field(default_factory=CopiesConfig)

    def __post_init__(self) -> None:
        check_settings(self, "pair.splits")
        shares = (self.train, self.validation, self.test)
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                "pair.splits.train, pair.splits.validation and pair.splits.test must add up to 1, "
                f"got {shares}"
            )

    def draw(self, group: str) -> Split:
        """Return the split of a group, from its id alone."""
        number = unit_interval("split", self.seed, group)
        if number < self.train:
            return Split.TRAIN
        return Split.VALIDATION if number < self.train + self.validation else Split.TEST


def split_groups(
    links: Iterable[Sequence[str]], clips: Sequence[Clip], copies: DuplicatesConfig
) -> Mapping[str, str]:
    """Return the group of every id in `links`; a group is named by its smallest id.

    Each link lists ids that must stay together (a sample's clip, character, video and the videos
    of its references). Clips that look alike stay together too.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, places = np.unique(_pairs(links), return_inverse=True)
    used = where(clips, np.isin(values(clips, "clip_id"), names))
    copied = find_duplicates(used, copies)
    place = Places(names)
    alike = [(place[copy], place[original]) for copy, (original, _) in copied.items()]
    first, second = np.concatenate([places.reshape(-1, 2), np.array(alike, int).reshape(-1, 2)]).T
    ones, size = np.ones(len(first), bool), len(names)
    graph = coo_array((ones, (first, second)), shape=(size, size))
    _, group = connected_components(graph, directed=False)
    smallest = names[np.unique(group, return_index=True)[1]]
    return OneOfFew(names, group, [name.decode() for name in smallest.tolist()])


def _pairs(links: Iterable[Sequence[str]]) -> np.ndarray:
    """Return, (2 N,), pairs of neighbours in every link; most repeat each other, and are left out.

    The last id is a pair with itself: a link may have one id alone.
    """
    remaining, parts = iter(links), [encoded([])]
    while some := list(itertools.islice(remaining, _AT_ONCE)):
        pairs = {pair for ids in some for pair in zip(ids, (*ids[1:], ids[-1]), strict=True)}
        parts.append(encoded(id for pair in pairs for id in pair))
    return np.concatenate(parts)
