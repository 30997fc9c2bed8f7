"""Score how much of a picture is lettering, without weights."""

from collections.abc import Sequence

import numpy as np

from pipeline.engines.interfaces import EngineInfo, EngineNeeds, Picture
from pipeline.pictures.lettering import small_grey, text_mask


class TextScorer:
    """The share of a picture that looks like lines of text, whether they stay or not.

    The column `text_area`, which every clip has, counts what stays through the clip only.
    """

    needs = EngineNeeds(memory_mib=9)

    info = EngineInfo("opencv-text/1", "text_scoring", "Apache-2.0", commercial=True)

    def score(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Return (N,) float32, 0 to 1."""
        return np.array([text_mask(small_grey(each)).mean() for each in pictures], np.float32)
