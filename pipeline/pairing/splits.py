"""Put whole connected groups into train, validation or test, so that nothing straddles."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from pipeline.dataset.row_sets import encoded, values, where
from pipeline.pairing.duplicates import DuplicatesConfig, find_duplicates
from pipeline.pairing.linkage import Union
from schemas.ids import unit_interval
from schemas.reasons import Split
from schemas.settings import check_settings, setting
from schemas.tables import Clip


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
) -> dict[str, str]:
    """Return the group of every id in `links`; a group is named by its smallest id.

    Each link lists ids that must stay together (a sample's clip, character, video and the videos
    of its references). Clips that look alike stay together too.
    """
    links = [tuple(ids) for ids in links]
    names = sorted({name for ids in links for name in ids})
    place = {name: index for index, name in enumerate(names)}
    sets = Union(len(names))
    for ids in links:
        for name in ids[1:]:
            sets.join(place[ids[0]], place[name])
    used = where(clips, np.isin(values(clips, "clip_id"), encoded(names)))
    for copy, (original, _) in find_duplicates(used, copies).items():
        sets.join(place[copy], place[original])
    return {name: names[sets.find(index)] for name, index in place.items()}
