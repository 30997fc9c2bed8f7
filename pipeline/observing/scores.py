"""Give every clip numbers by engines that look at its stills, and judge them later."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.engines.interfaces import PictureScorer
from pipeline.execution.stage import ClipRow, Rejected
from pipeline.media.images import decode_image
from schemas.settings import check_settings, setting
from schemas.tables import Clip, Scorer
from schemas.thresholds import SCORES, first_refusal

_STILLS = 8  # looked at of each clip, evenly spread
# Column of `clips` -> how the stills make one number: one frame that is not safe is enough; of
# the others a clip is what most of it is.
OVER_STILLS = {"aesthetic": np.median, "nsfw": np.max, "watermark": np.median, "text": np.median}


@dataclass(frozen=True)
class ScoreClips:
    """Score the stills of a clip.

    Reads  stills
    Adds   clip: aesthetic, nsfw, watermark, text, of those that have a scorer; scorers
    """

    scorers: Sequence[PictureScorer]
    name = "scores"

    def __post_init__(self) -> None:
        names = [_column(scorer) for scorer in self.scorers]
        if not set(names) <= OVER_STILLS.keys() or len(set(names)) < len(names):
            raise ValueError(
                f"every scorer's task must be one of {', '.join(OVER_STILLS)} with _scoring, and "
                f"no two the same; got {', '.join(scorer.info.task for scorer in self.scorers)}"
            )

    def process(self, row: ClipRow) -> ClipRow:
        if not self.scorers or not row.stills:
            return row
        number = min(_STILLS, len(row.stills))
        places = np.linspace(0, len(row.stills) - 1, number).round().astype(int)
        pictures = [decode_image(row.stills[place].jpeg) for place in places]
        values, scorers = {}, []
        for scorer in self.scorers:
            name = _column(scorer)
            values[name] = float(OVER_STILLS[name](scorer.score(pictures)))
            scorers.append(Scorer(name, scorer.info.id, scorer.info.weights_digest))
        return replace(row, clip=replace(row.clip, scorers=scorers, **values))


def _column(scorer: PictureScorer) -> str:
    return scorer.info.task.removesuffix("_scoring")


@dataclass(frozen=True)
class ScoresConfig:
    """Which scored clips are worth training on. A clip without a score passes its threshold.

    Attributes:
        min_aesthetic: on LAION's scale, 1 to 10; Movie Gen (2410.13720) keeps clips from 4 on.
        max_nsfw: probability; data-juicer's default.
        max_watermark: probability; data-juicer's looser default is 0.8.
        max_text: share of the picture; as `pair.quality.max_text_area`.
    """

    min_aesthetic: float | None = setting(4.0, low=0, high=10)
    max_nsfw: float | None = setting(0.5, low=0, high=1)
    max_watermark: float | None = setting(0.5, low=0, high=1)
    max_text: float | None = setting(0.015, low=0, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "pair.scores")

    def check(self, clip: Clip) -> Rejected | None:
        """Return why the clip is refused, or None."""
        refusal = first_refusal(SCORES, self, vars(clip))
        if refusal is None:
            return None
        detail = f"{refusal.threshold.measure} {refusal}"
        return Rejected(refusal.threshold.reason, refusal.value, refusal.bound, detail)
