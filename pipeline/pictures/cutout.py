"""Cut a person out of a picture without taking the old background along."""

import numpy as np

INSET = 0.012  # of the short side: how far inside the mask a colour is surely the person's
FEATHER = 0.004  # of the short side: Gaussian sigma of the soft edge
SMOOTH = 0.006  # of the short side: jags of the outline below this size go
HOLE = 0.01  # of the mask's area: a smaller hole is a fault of the mask, not a gap between limbs
BORDER = 0.015  # of a side: a mask that ends this near to the picture's edge was cut off by it


def cut_out(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (colours, alpha) of the person: float32 (H, W, 3) and (H, W), 0 to 1.

    Pixels nearer to the outline than INSET may already be mixed with the old background. They,
    and all pixels outside, take the colour of the nearest sure pixel, so that no old background
    is left under the soft edge. The edge itself lies half of INSET inside the mask's outline.
    """
    import cv2

    short = min(mask.shape)
    person = without_holes(mask)
    depth = _depth(person)
    inset = min(max(INSET * short, 1.5), 0.5 * float(depth.max()))
    colours = _spread(image.astype(np.float32) / 255, depth > inset)
    reaching = _to_the_edge(person)
    round_ = cv2.GaussianBlur(reaching.astype(np.float32), (0, 0), max(SMOOTH * short, 0.6)) > 0.5
    depth = _depth(reaching & round_)
    alpha = cv2.GaussianBlur(
        (depth > 0.5 * inset).astype(np.float32), (0, 0), max(FEATHER * short, 0.6)
    )
    return colours, alpha * (depth > 0)


def without_holes(mask: np.ndarray) -> np.ndarray:
    """Return the mask as 0 and 1 with its small holes filled."""
    import cv2

    person = (mask > 127).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - person, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA]
    small = areas < HOLE * int(person.sum())
    small[0] = False  # the person itself
    height, width = mask.shape
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right, bottom = left + stats[:, cv2.CC_STAT_WIDTH], top + stats[:, cv2.CC_STAT_HEIGHT]
    enclosed = (left > 0) & (top > 0) & (right < width) & (bottom < height)
    fill = np.arange(count)[small & enclosed]
    person[np.isin(labels, fill)] = 1
    return person


def _depth(person: np.ndarray) -> np.ndarray:
    """Return the distance of every pixel to the outline; the picture's edge is no outline."""
    import cv2

    padded = np.pad(person, 1, mode="edge")
    return cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]


def _to_the_edge(person: np.ndarray) -> np.ndarray:
    """Lengthen a mask that stops just short of a side of the picture."""
    reaching = person.copy()
    for turned in (reaching, reaching[::-1], reaching.T, reaching.T[::-1]):
        rows = max(1, round(BORDER * len(turned)))
        turned[:rows] |= turned[rows]
    return reaching


def _spread(colours: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Fill unsure pixels with the nearest sure colour, smoothed along the outline."""
    import cv2

    if not sure.any() or sure.all():
        return colours
    unsure = (~sure).astype(np.uint8)
    _, found = cv2.distanceTransformWithLabels(
        unsure, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = np.asarray(found, dtype=np.int64)  # pixels with one nearest sure pixel share a label
    table = np.zeros((labels.max() + 1, 3), dtype=np.float32)
    table[labels[sure]] = colours[sure]
    filled = table[labels]
    smooth = cv2.GaussianBlur(filled, (0, 0), max(FEATHER * min(sure.shape), 0.6))
    return np.where(sure[..., None], colours, smooth)


def composite(colours: np.ndarray, alpha: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Lay the person over the new background, in linear light; all values 0 to 1."""
    soft = np.clip(alpha, 0, 1)[..., None]
    linear = soft * np.power(colours, 2.2) + (1 - soft) * np.power(ground, 2.2)
    return np.power(linear, 1 / 2.2)
