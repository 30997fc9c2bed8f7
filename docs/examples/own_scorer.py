"""A scorer of your own: it fills the column `aesthetic` with how colourful a picture is."""

from collections.abc import Sequence

import numpy as np

from pipeline.engines.interfaces import EngineInfo, Picture


class Colourful:
    """Score from 0 to 10. The task names the column: aesthetic, nsfw, watermark or text."""

    info = EngineInfo("colourful/1", "aesthetic_scoring", "Apache-2.0", commercial=True)

    def score(self, pictures: Sequence[Picture]) -> np.ndarray:
        spread = [float(picture.std(axis=2).mean()) for picture in pictures]
        return np.clip(np.array(spread, np.float32) / 6, 0, 10)
