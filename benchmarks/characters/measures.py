"""What is measured of a generated video of a character whose every pixel is known.

Colours are means over a region of the real clip's layout, as numbers from 0 to 1. The prompt says
where the figure is and how it moves, so a model that follows it puts the region there; one that
does not is wrong in all regions, and so is every row alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.characters.cast import LIGHTS, PALETTES, Identity, Shot
from benchmarks.characters.draw import GROUND, LABELS

LEAST_PIXELS = 12  # of a region, over all frames; smaller ones are not judged
_FAR_ENOUGH = 0.06  # two colours that are nearer cannot tell which of them was copied
Measures = dict[str, float]


@dataclass(frozen=True)
class Seen:
    """A video and where its regions are."""

    frames: np.ndarray  # (F, H, W, 3) uint8
    regions: np.ndarray  # (F, H, W) labels


def colour(seen: Seen, label: int, frames: slice = slice(None)) -> np.ndarray | None:
    """Return the mean colour of a region over some frames, 0 to 1; None if too small."""
    inside = seen.regions[frames] == label
    if inside.sum() < LEAST_PIXELS:
        return None
    return seen.frames[frames][inside].mean(axis=0) / 255


def attributes(made: Seen, real: Seen, who: Identity, shot: Shot) -> Measures:
    """Return, per region, how far its colour is off, and whether it is the right one.

    error: mean absolute difference to the real clip's colour. correct: 1 when, of all colours that
    this kind of thing comes in, seen in the light of `shot`, the character's own is the nearest.
    """
    found: Measures = {}
    for region in who.regions():
        seen, true = colour(made, LABELS[region]), colour(real, LABELS[region])
        if seen is None or true is None:
            continue
        found[f"error_{region}"] = float(np.abs(seen - true).mean())
        right = nearest(seen, palette_in(region, who, shot, true)) == who.name_of(region)
        found[f"correct_{region}"] = float(right)
    for kind in ("error", "correct"):
        values = [value for name, value in found.items() if name.startswith(f"{kind}_")]
        if values:
            found[kind] = float(np.mean(values))
    return found


def palette_in(region: str, who: Identity, shot: Shot, true: np.ndarray) -> dict[str, np.ndarray]:
    """Return what every colour of a region would look like in this light.

    Lit, they differ from the character's own lit colour by as much as the palette says; the own
    one is the real clip's, so that pattern, codec and shade count for all alike.
    """
    gains = np.array(LIGHTS[shot.light])
    palette = PALETTES[region]
    own = np.array(palette[who.name_of(region)])
    weight = _PLAIN_SHARE[who.top_pattern] if region == "top" else 1.0
    return {
        name: np.clip(true + weight * gains * (np.array(value) - own) / 255, 0, 1)
        for name, value in palette.items()
    }


# of a top's area that has its own colour and not the pattern's
_PLAIN_SHARE = {"plain": 1.0, "stripes": 0.7, "dots": 0.85}


def nearest(seen: np.ndarray, palette: Mapping[str, np.ndarray]) -> str:
    return min(palette, key=lambda name: float(np.abs(palette[name] - seen).sum()))


def drift(made: Seen, real: Seen, who: Identity) -> float | None:
    """Return by how much colours move from the first third to the last, beyond the real clip's."""
    moved = []
    for region in who.regions():
        steps = [_step(one, LABELS[region]) for one in (made, real)]
        if steps[0] is not None and steps[1] is not None:
            moved.append(float(np.abs(steps[0] - steps[1]).mean()))
    return float(np.mean(moved)) if moved else None


def _step(seen: Seen, label: int) -> np.ndarray | None:
    third = max(1, len(seen.frames) // 3)
    early = colour(seen, label, slice(None, third))
    late = colour(seen, label, slice(-third, None))
    return None if early is None or late is None else late - early


def copied_light(made: Seen, real: Seen, reference: Seen, who: Identity) -> float | None:
    """Return where colours lie between the real clip's light (0) and the reference's (1).

    Regions whose colour hardly differs between the two lights tell nothing and are left out.
    """
    places = []
    for region in who.regions():
        seen, true, other = (colour(one, LABELS[region]) for one in (made, real, reference))
        if seen is None or true is None or other is None:
            continue
        way = other - true
        if np.abs(way).mean() >= _FAR_ENOUGH:
            places.append(float((seen - true) @ way / (way @ way)))
    return float(np.clip(np.mean(places), -1, 2)) if places else None


def ground_of(seen: Seen) -> np.ndarray:
    """Return the mean colours of what is behind the figure, above and below; (6,), 0 to 1."""
    behind = seen.regions == GROUND
    height = seen.regions.shape[1]
    parts = []
    for rows in (slice(0, height // 3), slice(height - height // 4, height)):
        inside = behind[:, rows]
        pixels = seen.frames[:, rows][inside]
        parts.append(pixels.mean(axis=0) / 255 if len(pixels) else np.full(3, 0.5))
    return np.concatenate(parts)


def rank_of_own(seen: np.ndarray, own: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """Return the share of others that are farther from what is seen than the own one.

    0.5 is chance; 1 says that nothing else is as near.
    """
    if not len(others):
        return float("nan")
    distances = [float(np.abs(seen - other).mean()) for other in others]
    mine = float(np.abs(seen - own).mean())
    return float(np.mean([(mine < other) + 0.5 * (mine == other) for other in distances]))


def motion(frames: np.ndarray) -> float:
    """Return the mean change of a pixel from frame to frame, in grey levels of 255."""
    return float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean())
