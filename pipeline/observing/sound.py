"""Measure the sound of a clip, and put it into its MP4: the last thing that is done to a clip."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.engines.interfaces import SoundScorer
from pipeline.execution.stage import ClipRow
from pipeline.media.sound import RATE, with_sound
from schemas.tables import Scorer

# ITU-R BS.1770-4, tables 1 and 2, at 48 kHz: a head's effect, then what is heard of low tones.
_SHELF = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (1.0, -1.69065929318241, 0.73248077421585),
)
_HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
_BLOCK, _HOP = RATE * 4 // 10, RATE // 10
_ABSOLUTE, _RELATIVE = -70.0, -10.0  # gates, LUFS and LU
_SILENT_DBFS = -50.0  # of a tenth of a second: below it a quiet room is heard, and no event
_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class AddSound:
    """Measure what is heard, ask who scores it, and store it with the pictures.

    Reads  sound
    Adds   clip: loudness, silence, speech where a scorer says it; the sound in the MP4
    """

    scorers: Sequence[SoundScorer] = ()
    name = "sound"

    def process(self, row: ClipRow) -> ClipRow:
        samples = row.sound
        if samples is None:
            return row
        mp4 = with_sound(row.mp4, samples)
        heard = {scorer.info.task.removesuffix("_scoring"): scorer for scorer in self.scorers}
        by = [Scorer(name, s.info.id, s.info.weights_digest) for name, s in heard.items()]
        clip = replace(
            row.clip,
            loudness=loudness(samples),
            silence=silence(samples),
            size_bytes=len(mp4),
            sha256=hashlib.sha256(mp4).hexdigest(),
            scorers=[*row.clip.scorers, *by],
            **{name: scorer.hear(samples, RATE) for name, scorer in heard.items()},
        )
        return replace(row, clip=clip, mp4=mp4, sound=None)


def loudness(samples: np.ndarray) -> float:
    """Return the integrated loudness in LUFS; -70 for what is too quiet or too short to tell.

    samples: (N, 2) int16 at 48 kHz. Source: ITU-R BS.1770-4.
    """
    from scipy.signal import lfilter  # slow to import

    weighted = lfilter(*_HIGH_PASS, lfilter(*_SHELF, samples / _FULL_SCALE, axis=0), axis=0)
    starts = range(0, len(weighted) - _BLOCK + 1, _HOP)
    power = np.array([np.square(weighted[at : at + _BLOCK]).mean(axis=0).sum() for at in starts])
    loud = power[_lufs(power) > _ABSOLUTE]
    if not len(loud):
        return _ABSOLUTE
    gate = _lufs(loud.mean()) + _RELATIVE
    return float(_lufs(loud[_lufs(loud) > gate].mean()))


def _lufs(power: np.ndarray | float) -> np.ndarray:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-12))


def silence(samples: np.ndarray) -> float:
    """Return the share of tenths of a second, 0 to 1, in which next to nothing is heard."""
    count = math.ceil(len(samples) / _HOP)
    parts = np.array_split(samples / _FULL_SCALE, count) if count else []
    levels = [10 * math.log10(max(np.square(part).mean(), 1e-12)) for part in parts]
    return sum(level < _SILENT_DBFS for level in levels) / count if count else 1.0
