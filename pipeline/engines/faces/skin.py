"""Where a picture has the colour of skin: a cheap question asked before the dear one."""

import cv2
import numpy as np

from pipeline.engines.interfaces import Picture

# Cr and Cb of skin of every tone under roughly white light: Chai and Ngan (1999) give
# Cr 133-173, Cb 77-127; widened a little for lamps and sunsets.
_CR, _CB = (133, 180), (72, 130)
_GREY_CHROMA = 6.0  # mean distance from grey below which a picture counts as black and white


def is_grey(picture: Picture) -> bool:
    """Say whether the picture has no colour worth asking (black and white film)."""
    small = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)
    chroma = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.float32) - 128
    return float(np.abs(chroma).mean()) < _GREY_CHROMA


def skin_mask(picture: Picture) -> np.ndarray:
    """Return (H, W) uint8, 1 where the colour may be skin."""
    converted = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
    return cv2.inRange(converted, (16, _CR[0], _CB[0]), (255, _CR[1], _CB[1])) // 255


def skin_share(mask: np.ndarray, box: np.ndarray, inner: float = 0.6) -> float:
    """Return the share of skin in the middle of a box (`inner` of each side)."""
    centre = (box[:2] + box[2:]) / 2
    half = (box[2:] - box[:2]) * inner / 2
    x0, y0 = np.maximum(np.round(centre - half), 0).astype(int)
    x1, y1 = np.round(centre + half).astype(int)
    part = mask[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    return float(part.mean()) if part.size else 0.0


def may_hold_face(mask: np.ndarray, smallest_px: int, share: float) -> np.ndarray:
    """Return (H, W) uint8, 1 around every place whose skin could fill a face's middle.

    Generous: each patch of skin is widened by its own size, so that whole faces stay uncut.
    """
    side = max(3, round(smallest_px * 0.6))
    density = cv2.boxFilter(mask.astype(np.float32), -1, (side, side))
    seeds = (density >= share).astype(np.uint8)
    number, _, stats, _ = cv2.connectedComponentsWithStats(seeds)
    region = np.zeros_like(mask)
    for left, top, width, height, _ in stats[1:number]:
        margin = smallest_px + round(0.5 * min(width, height))
        y0, x0 = max(top - margin, 0), max(left - margin, 0)
        region[y0 : top + height + margin, x0 : left + width + margin] = 1
    return region
