"""Change a reference so that nothing but the person can be copied: light, place, ground, grain.

A recipe is drawn from ids alone and is stored with the reference; applying it again gives the
same pixels. Colours are handled as linear light where light is added, as sRGB elsewhere.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pipeline.media.images import decode_image, encode_jpeg
from pipeline.pairing.moves import Move, possible_move
from pipeline.pictures.cutout import composite, cut_out
from pipeline.pictures.relight import NEUTRAL_K, relight
from schemas.ids import unit_interval
from schemas.settings import check_settings, setting

DECIMALS = 4  # of every drawn number, so that its JSON is the number itself
SIDE = 1 / 256  # one unit of blur: pixels per short side, so that size does not matter
FACE_COVERED = (
    0.45  # of a face's box that a mask of the person covers, also of a profile's loose one
)
BACKGROUNDS = ("keep", "colour", "gradient", "texture")


@dataclass(frozen=True)
class AugmentConfig:
    """How far references are changed. Ranges are symmetric about no change unless said.

    Ours, well inside what others use (BindWeave: rotation +-45 degrees, log-scale +-1.5): a
    reference must stay a picture that a user might offer.

    Attributes:
        rotation_degrees: largest rotation.
        shrink_octaves: log2 of the smallest scale; 0.35 is 0.78 times.
        grow_octaves: log2 of the largest scale; 0.1 is 1.07 times, more cuts people off.
        shift: largest move, as a share of the side.
        perspective: range over which a corner moves, as a share of the side.
        flip: probability of mirroring. It mirrors text, partings, scars and asymmetric clothes too.
        exposure_ev: largest change of exposure, in stops.
        temperature_mired: largest change of the light's colour; 50 is 4900 K to 9600 K.
        light_ev: largest difference between the lit and the far side, in stops.
        background: probability that the background is replaced; that of the clip's own pictures
            always is, unless this is 0.
        blur: largest Gaussian sigma, in 1/256 of the short side.
        noise: largest standard deviation of added noise; 1 is white.
        jpeg_quality: lowest JPEG quality; the highest drawn is 95.
    """

    rotation_degrees: float = setting(12.0, low=0, high=180, unit="degrees")
    shrink_octaves: float = setting(0.35, low=0, high=4)
    grow_octaves: float = setting(0.1, low=0, high=4)
    shift: float = setting(0.06, low=0, high=1)
    perspective: float = setting(0.05, low=0, high=0.5)
    flip: float = setting(0.0, low=0, high=1)
    exposure_ev: float = setting(0.5, low=0, high=8, unit="stops")
    temperature_mired: float = setting(50.0, low=0, high=150, unit="mired")
    light_ev: float = setting(1.4, low=0, high=8, unit="stops")
    background: float = setting(0.9, low=0, high=1)
    blur: float = setting(0.6, low=0, high=64)
    noise: float = setting(0.012, low=0, high=1)
    jpeg_quality: int = setting(70, low=1, high=95)

    def __post_init__(self) -> None:
        check_settings(self, "pair.augment")


@dataclass(frozen=True)
class AugmentRecipe:
    """Every parameter of one change; the default changes nothing."""

    rotation_degrees: float = 0.0  # counter-clockwise
    scale: float = 1.0
    shift_x: float = 0.0  # share of the width
    shift_y: float = 0.0
    perspective: tuple[float, ...] = (0.0,) * 8  # x, y of the four corners, share of the side
    flip: bool = False
    exposure_ev: float = 0.0
    temperature_k: float = NEUTRAL_K  # colour of the light; lower is warmer
    light_degrees: float = 0.0  # where it comes from: 0 right, 90 above
    light_ev: float = 0.0
    background: str = "keep"
    colours: tuple[int, ...] = (0, 0, 0, 0, 0, 0)  # two RGB colours of the new background
    seed: int = 0  # of texture and noise
    blur: float = 0.0
    noise: float = 0.0
    jpeg_quality: int = 0  # 0: not compressed again here

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            raise ValueError(f"background must be one of {BACKGROUNDS}, got {self.background!r}")


def draw_recipe(
    sample_id: str, reference_id: str, config: AugmentConfig | None = None, has_mask: bool = True
) -> AugmentRecipe:
    """Draw a recipe that depends on nothing but its arguments.

    Without a usable mask (`has_mask` false) the background is kept.
    """
    config = config or AugmentConfig()

    def draw(name: str) -> float:
        return unit_interval("augment", sample_id, reference_id, name)

    def around(name: str, reach: float) -> float:
        return round((2 * draw(name) - 1) * reach, DECIMALS)

    replaced = has_mask and draw("background") < config.background
    ground = BACKGROUNDS[1 + int(3 * draw("ground"))] if replaced else "keep"
    reach = config.shrink_octaves + config.grow_octaves
    mired = 1e6 / NEUTRAL_K + around("temperature", config.temperature_mired)
    return AugmentRecipe(
        rotation_degrees=around("rotation", config.rotation_degrees),
        scale=round(2 ** (draw("scale") * reach - config.shrink_octaves), DECIMALS),
        shift_x=around("shift_x", config.shift),
        shift_y=around("shift_y", config.shift),
        perspective=tuple(around(f"corner{i}", config.perspective / 2) for i in range(8)),
        flip=draw("flip") < config.flip,
        exposure_ev=around("exposure", config.exposure_ev),
        temperature_k=round(1e6 / mired, 1),
        light_degrees=round(360 * draw("light"), 1),
        light_ev=round(config.light_ev * (0.4 + 0.6 * draw("light_ev")), DECIMALS),
        background=ground,
        colours=_two_colours([draw(f"colour{i}") for i in range(4)]),
        seed=int(draw("seed") * 2**31),
        blur=round(config.blur * draw("blur"), DECIMALS),
        noise=round(config.noise * draw("noise"), DECIMALS),
        jpeg_quality=round(config.jpeg_quality + (95 - config.jpeg_quality) * draw("jpeg")),
    )


def _two_colours(draws: list[float]) -> tuple[int, ...]:
    """Return two muted colours of one hue family, as a photographer's backdrop has."""
    import colorsys

    hue, saturation, first, second = draws
    near = (hue + 0.08) % 1
    pair = (
        colorsys.hsv_to_rgb(hue, 0.35 * saturation, 0.25 + 0.65 * first),
        colorsys.hsv_to_rgb(near, 0.35 * saturation, 0.25 + 0.65 * second),
    )
    return tuple(round(255 * value) for colour in pair for value in colour)


def recipe_to_json(recipe: AugmentRecipe) -> str:
    """Return the recipe as one line with sorted keys."""
    return json.dumps(asdict(recipe), sort_keys=True, separators=(",", ":"))


def recipe_from_json(text: str) -> AugmentRecipe:
    """Return the recipe that `recipe_to_json` wrote; '' is the one that changes nothing."""
    values: dict[str, Any] = json.loads(text) if text else {}
    for name in {"perspective", "colours"} & values.keys():
        values[name] = tuple(values[name])
    return AugmentRecipe(**values)


def fit_recipe(recipe: AugmentRecipe, mask: np.ndarray, face: Sequence[float]) -> AugmentRecipe:
    """Return the recipe as far as this picture allows; `face` is xyxy, or empty.

    Where the mask missed the face it would cut it off, so the background is kept. A move goes only
    so far that nothing is uncovered: nothing of a person who is cut off by a side of the picture,
    and nothing of a background that is kept.
    """
    if recipe.background != "keep" and _misses(mask, face):
        recipe = replace(recipe, background="keep")
    shown = mask if recipe.background != "keep" else np.full_like(mask, 255)
    box = tuple(face)
    if recipe.flip:
        shown, width = shown[:, ::-1], mask.shape[1]
        box = (width - box[2], box[1], width - box[0], box[3]) if box else ()
    move = possible_move(move_of(recipe), shown, box)
    return replace(recipe, **asdict(move))


def _misses(mask: np.ndarray, face: Sequence[float]) -> bool:
    if not len(face):
        return False
    left, top, right, bottom = (max(0, round(value)) for value in face)
    inside = mask[top:bottom, left:right]
    return bool(inside.size) and float((inside > 127).mean()) < FACE_COVERED


def move_of(recipe: AugmentRecipe) -> Move:
    """Return what a recipe does to places."""
    return Move(
        recipe.rotation_degrees,
        recipe.scale,
        recipe.shift_x,
        recipe.shift_y,
        tuple(recipe.perspective),
    )


def apply_recipe(
    image: np.ndarray, mask: np.ndarray, recipe: AugmentRecipe
) -> tuple[np.ndarray, np.ndarray]:
    """Change an RGB image (H, W, 3) and its mask (H, W), both uint8; sizes stay.

    Order: cut the person out, relight, move, put the new ground behind, blur, noise, JPEG. The
    mask moves with the image, stays 0 or 255, and ends where the image ended: what a recipe that
    was not fitted uncovers is background.
    """
    if recipe == AugmentRecipe():
        return image.copy(), mask.copy()
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image is {image.shape[:2]}, mask {mask.shape}: they must have one size")
    replaced = recipe.background != "keep"
    person, alpha = cut_out(image, mask) if replaced else (image.astype(np.float32) / 255, None)
    person = relight(
        person,
        mask,
        recipe.exposure_ev,
        recipe.temperature_k,
        recipe.light_ev,
        recipe.light_degrees,
    )
    warp = move_of(recipe).matrix(mask.shape[1], mask.shape[0])
    if recipe.flip:
        person, mask = person[:, ::-1], mask[:, ::-1]
        alpha = None if alpha is None else alpha[:, ::-1]
    moved_mask = _moved(mask, warp, "mask")
    if alpha is not None:
        ground = _ground(image.shape[:2], recipe)
        picture = composite(_moved(person, warp), _moved(alpha, warp, "alpha"), ground)
    else:
        picture = _moved(person, warp)
    return _degrade(picture, recipe), moved_mask


def _moved(picture: np.ndarray, warp: np.ndarray, kind: str = "colour") -> np.ndarray:
    """Warp. Outside the picture there is nobody: mask and alpha are 0 there."""
    import cv2

    size = (picture.shape[1], picture.shape[0])
    nearest = cv2.INTER_NEAREST if kind == "mask" else cv2.INTER_LINEAR
    border = cv2.BORDER_REPLICATE if kind == "colour" else cv2.BORDER_CONSTANT
    return cv2.warpPerspective(
        np.ascontiguousarray(picture), warp, size, flags=nearest, borderMode=border
    )


def _ground(shape: tuple[int, ...], recipe: AugmentRecipe) -> np.ndarray:
    """Paint the new background (H, W, 3), 0 to 1: plain, a gradient, or soft cloudy texture."""
    import cv2

    first = np.array(recipe.colours[:3], dtype=np.float32) / 255
    second = np.array(recipe.colours[3:], dtype=np.float32) / 255
    height, width = shape
    if recipe.background == "colour":
        return np.broadcast_to(first, (height, width, 3)).copy()
    if recipe.background == "gradient":
        part = np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, axis=1)
    else:
        random = np.random.default_rng(recipe.seed)
        part = np.zeros((height, width), dtype=np.float32)
        for cells in (3, 7):
            coarse = random.random((cells, cells), dtype=np.float32)
            part += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / cells
        part = (part - part.min()) / max(float(np.ptp(part)), 1e-6)
    return first + (second - first) * part[..., None]


def _degrade(picture: np.ndarray, recipe: AugmentRecipe) -> np.ndarray:
    """Blur, add noise and compress, lightly; returns uint8."""
    import cv2

    if recipe.blur:
        sigma = recipe.blur * SIDE * min(picture.shape[:2])
        picture = cv2.GaussianBlur(picture, (0, 0), max(sigma, 0.1))
    if recipe.noise:
        random = np.random.default_rng(recipe.seed + 1)
        picture = picture + recipe.noise * random.standard_normal(picture.shape, dtype=np.float32)
    result = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    if not recipe.jpeg_quality:
        return result
    return decode_image(encode_jpeg(result, recipe.jpeg_quality))
