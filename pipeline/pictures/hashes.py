"""Perceptual hashes of pictures, and how far two of them are apart."""

import cv2
import numpy as np

_HASH_WIDTH = 9  # 8 differences a row


def difference_hash(gray: np.ndarray) -> int:
    """Return the 64-bit difference hash: whether each of 8x8 cells is darker than the next."""
    cells = cv2.resize(gray, (_HASH_WIDTH, 8), interpolation=cv2.INTER_AREA)
    bits = cells[:, 1:] > cells[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hash_distance(one: str, other: str) -> int:
    """Return the Hamming distance of two perceptual hashes, in bits.

    For clips (three hashes each) it is the mean over first, middle and last frame, rounded down:
    0 to 64, where 10 and less is the same picture for nearly every pair.
    """
    if len(one) != len(other) or len(one) % 16:
        raise ValueError(f"hashes must be equally long, 16 hex digits a frame: {one!r}, {other!r}")
    return (int(one, 16) ^ int(other, 16)).bit_count() // max(1, len(one) // 16)
