"""Random numbers from integer arithmetic alone: the same on every machine and version of numpy."""

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def hashes(seed: int, count: int) -> np.ndarray:
    """Return the first `count` outputs of SplitMix64, uint64 (count,); no two are equal.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    with np.errstate(over="ignore"):
        state = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN + np.uint64(seed % 2**64)
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
        return state ^ (state >> np.uint64(31))


def permutation(seed: int, count: int) -> np.ndarray:
    """Return 0 to count - 1 in an order that depends on the seed, uint32 (count,)."""
    return np.argsort(hashes(seed, count), kind="stable").astype(np.uint32)


def uniforms(seed: int, count: int) -> np.ndarray:
    """Return numbers in [0, 1), float64 (count,)."""
    return (hashes(seed, count) >> np.uint64(11)) * 2.0**-53
