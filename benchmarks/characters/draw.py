"""Draw a frame of a film, and the map of what every pixel of it shows."""

from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.characters.cast import (
    ACCENTS,
    BOTTOMS,
    HAIRS,
    LIGHTS,
    SKINS,
    TOPS,
    Colour,
    Film,
    Identity,
    Shot,
)

SIDE = 128  # pixels of a frame, of its height where it is wide
FPS = 8
GROUND, SKIN, HAIR, TOP, BOTTOM, ACCESSORY, DETAIL = range(7)  # what a pixel shows
SECOND = 8  # what is added to the labels of the second person
LABELS = {"hair": HAIR, "top": TOP, "bottom": BOTTOM, "accessory": ACCESSORY}
_OVER = 2  # drawn larger by this factor and averaged, so that edges are smooth
_DARK: Colour = (44, 40, 44)
_LIGHT: Colour = (238, 236, 230)
_STEPS_PER_S = 1.6


@dataclass
class Canvas:
    """A picture and its labels, drawn together; points are in figure heights, y upwards."""

    picture: np.ndarray  # (H, W, 3) uint8
    labels: np.ndarray  # (H, W) uint8
    left: float  # pixel of x = 0
    base: float  # pixel of y = 0
    unit: float  # pixels of a figure's height

    def polygon(self, points: list[tuple[float, float]], colour: Colour, label: int) -> None:
        pixels = np.array([self._pixel(*point) for point in points], np.int32)
        cv2.fillPoly(self.picture, [pixels], colour)
        cv2.fillPoly(self.labels, [pixels], label)

    def limb(
        self, points: list[tuple[float, float]], width: float, colour: Colour, label: int
    ) -> None:
        pixels = np.array([self._pixel(*point) for point in points], np.int32)
        thick = max(1, round(width * self.unit))
        cv2.polylines(self.picture, [pixels], False, colour, thick)
        cv2.polylines(self.labels, [pixels], False, label, thick)

    def ellipse(
        self,
        middle: tuple[float, float],
        radii: tuple[float, float],
        colour: Colour,
        label: int,
        arc: tuple[float, float] = (0, 360),
    ) -> None:
        """`arc` in degrees from the right, clockwise; (180, 360) is the upper half."""
        axes = (max(1, round(radii[0] * self.unit)), max(1, round(radii[1] * self.unit)))
        where = self._pixel(*middle)
        cv2.ellipse(self.picture, where, axes, 0, *arc, colour, -1)
        cv2.ellipse(self.labels, where, axes, 0, *arc, label, -1)

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        return round(self.left + x * self.unit), round(self.base - y * self.unit)


def width_of(film: Film) -> int:
    """Return the width of a film's frames in pixels."""
    return SIDE * 3 // 2 if film.wide else SIDE


def draw_frame(film: Film, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frame, RGB uint8 (SIDE, width, 3), and its labels at twice that size.

    Labels of a second person are larger by SECOND.
    """
    shot, number = film.place(frame)
    part = number / max(shot.num_frames - 1, 1)
    height, width = SIDE * _OVER, width_of(film) * _OVER
    picture, zoom = _ground(shot, part, (height, width))
    labels = np.zeros((height, width), np.uint8)
    for place, (who, does) in enumerate(film.figures(frame)):
        x = does.start + (does.end - does.start) * part
        canvas = Canvas(
            picture=picture,
            labels=np.zeros((height, width), np.uint8),
            left=width * (0.5 + (x - 0.5) * zoom),
            base=height * (0.5 + (0.96 - 0.5) * zoom),
            unit=height * does.height * zoom * 0.94,
        )
        _figure(canvas, who, does, does.phase + number / FPS * _STEPS_PER_S)
        drawn = canvas.labels != GROUND
        labels[drawn] = canvas.labels[drawn] + SECOND * place
    lit = light_gains(shot, width) * picture
    small = cv2.resize(lit, (width_of(film), SIDE), interpolation=cv2.INTER_AREA)
    return np.clip(np.round(small), 0, 255).astype(np.uint8), labels


def light_gains(shot: Shot, width: int) -> np.ndarray:
    """Return what light makes of a colour, (1, width, 3) float32."""
    across = np.linspace(1, -1, width, dtype=np.float32)[None, :, None]
    return (1 + shot.side * across) * np.array(LIGHTS[shot.light], np.float32)


def _ground(shot: Shot, part: float, sides: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Return what is behind the figures as the camera sees it, and how far it is zoomed."""
    random = np.random.default_rng(shot.ground_seed)
    size, width = sides
    wide = 2 * width
    world = _world(shot.ground, random, size, wide)
    zoom = 2 ** (shot.travel * (part - 0.5)) if shot.camera == "zoom" else 1.0
    pan = shot.travel * (part - 0.5) * width if shot.camera == "pan" else 0.0
    shift = width / 2 - zoom * (wide / 2 + pan), size / 2 - zoom * size / 2
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    seen = cv2.warpAffine(world, matrix, (width, size), borderMode=cv2.BORDER_REFLECT_101)
    return seen, zoom


def _world(kind: str, random: np.random.Generator, size: int, wide: int) -> np.ndarray:
    sky, far, floor = (_muted(random) for _ in range(3))
    world = np.empty((size, wide, 3), np.uint8)
    world[:] = sky
    horizon = round(size * random.uniform(0.55, 0.75))
    for _ in range(10):
        x, width = int(random.integers(wide)), int(random.integers(size // 8, size // 3))
        top = horizon - int(random.integers(size // 8, size // 2))
        shade = tuple(int(value) for value in np.array(far) * random.uniform(0.75, 1.15))
        if kind == "hills":
            cv2.ellipse(world, (x, horizon), (width, horizon - top), 0, 180, 360, shade, -1)
        elif kind == "houses":
            cv2.rectangle(world, (x, top), (x + width // 2, horizon), shade, -1)
        elif kind == "trees":
            cv2.rectangle(world, (x - 3, top), (x + 3, horizon), (84, 70, 58), -1)
            cv2.circle(world, (x, top), width // 3, shade, -1)
        else:
            cv2.rectangle(world, (x, top), (x + width // 3, top + width // 4), shade, -1)
    world[horizon:] = floor
    for line in range(horizon, size, max(6, size // 16)):
        cv2.line(world, (0, line), (wide, line), tuple(int(0.9 * v) for v in floor), 2)
    return world


def _muted(random: np.random.Generator) -> Colour:
    """Return a colour that clothes do not have: little of it is colour."""
    grey = random.uniform(80, 200)
    red, green, blue = np.clip(grey + random.uniform(-28, 28, 3), 0, 255).astype(int)
    return int(red), int(green), int(blue)


def _figure(canvas: Canvas, who: Identity, shot: Shot, time: float) -> None:
    """Draw the person from the feet up."""
    swing = 0.09 * np.sin(2 * np.pi * time) if shot.action == "walks" else 0.0
    skin, top = SKINS[who.skin], TOPS[who.top]
    shoulder, waist = 0.135 * who.build, 0.11 * who.build
    if who.hair_style == "long":
        canvas.ellipse((0, 0.80), (0.135, 0.16), HAIRS[who.hair], HAIR)
    _legs(canvas, who, swing, waist)
    _arms(canvas, shot, swing, shoulder, time, skin, top)
    corners = [(-shoulder, 0.70), (shoulder, 0.70), (waist, 0.40), (-waist, 0.40)]
    canvas.polygon(corners, top, TOP)
    _pattern(canvas, who, waist)
    canvas.limb([(0, 0.69), (0, 0.76)], 0.07, skin, SKIN)
    _head(canvas, who, shot, skin)
    _accessory(canvas, who, shot, shoulder, waist)


def _legs(canvas: Canvas, who: Identity, swing: float, waist: float) -> None:
    skin, cloth = SKINS[who.skin], BOTTOMS[who.bottom]
    for side, move in ((-1, swing), (1, -swing)):
        hip, foot = (side * waist * 0.5, 0.40), (side * waist * 0.55 + move, 0.03)
        knee = tuple(np.add(hip, foot) / 2)
        bare = who.bottom_kind != "trousers"
        canvas.limb([hip, foot], 0.1, skin if bare else cloth, SKIN if bare else BOTTOM)
        if who.bottom_kind == "shorts":
            canvas.limb([hip, (float(knee[0]), float(knee[1]))], 0.12, cloth, BOTTOM)
        toe = foot[0] + 0.03 * (1 if move > 0 else -1 if move < 0 else 0)
        canvas.ellipse((toe, 0.02), (0.07, 0.03), _DARK, DETAIL)
    if who.bottom_kind == "skirt":
        hem = waist * 1.7
        canvas.polygon([(-waist, 0.42), (waist, 0.42), (hem, 0.2), (-hem, 0.2)], cloth, BOTTOM)
    else:
        canvas.polygon(
            [(-waist, 0.42), (waist, 0.42), (waist, 0.34), (-waist, 0.34)], cloth, BOTTOM
        )


def _arms(
    canvas: Canvas,
    shot: Shot,
    swing: float,
    shoulder: float,
    time: float,
    skin: Colour,
    top: Colour,
) -> None:
    for side in (-1, 1):
        start = (side * shoulder * 0.9, 0.67)
        if shot.action == "waves" and side == 1:
            lean = 0.07 * np.sin(2 * np.pi * time)
            elbow, hand = (side * (shoulder + 0.1), 0.72), (side * (shoulder + 0.11) + lean, 0.92)
        else:
            elbow = (side * (shoulder + 0.035) + side * swing * 0.4, 0.54)
            hand = (side * (shoulder + 0.03) + side * swing, 0.41)
        canvas.limb([start, elbow, hand], 0.07, top, TOP)
        canvas.ellipse(hand, (0.038, 0.038), skin, SKIN)


def _pattern(canvas: Canvas, who: Identity, waist: float) -> None:
    second = _DARK if who.top in ("white", "yellow") else _LIGHT
    if who.top_pattern == "stripes":
        for y in (0.45, 0.55, 0.65):
            canvas.limb([(-waist * 1.05, y), (waist * 1.05, y)], 0.03, second, TOP)
    elif who.top_pattern == "dots":
        for x in (-0.055, 0.055):
            for y in (0.47, 0.57, 0.66):
                canvas.ellipse((x * who.build, y), (0.022, 0.022), second, TOP)


def _head(canvas: Canvas, who: Identity, shot: Shot, skin: Colour) -> None:
    hair, turn = HAIRS[who.hair], 0.035 * shot.facing
    canvas.ellipse((0, 0.855), (0.105, 0.115), skin, SKIN)
    for x in (-0.042, 0.042):
        canvas.ellipse((x + turn, 0.85), (0.014, 0.014), _DARK, DETAIL)
    canvas.limb([(-0.025 + turn, 0.79), (0.025 + turn, 0.79)], 0.012, (150, 60, 60), DETAIL)
    canvas.ellipse((0, 0.875), (0.12, 0.115), hair, HAIR, (180, 360))
    if who.hair_style == "long":
        for side in (-1, 1):
            canvas.limb([(side * 0.108, 0.88), (side * 0.115, 0.72)], 0.045, hair, HAIR)
    elif who.accessory == "hat":
        return  # it covers whatever stands up
    elif who.hair_style == "bun":
        canvas.ellipse((0, 1.01), (0.055, 0.05), hair, HAIR)
    elif who.hair_style == "spiky":
        for x in (-0.09, -0.03, 0.03, 0.09):
            canvas.polygon([(x - 0.04, 0.93), (x + 0.04, 0.93), (x * 1.3, 1.05)], hair, HAIR)


def _accessory(canvas: Canvas, who: Identity, shot: Shot, shoulder: float, waist: float) -> None:
    colour, turn = ACCENTS[who.accent], 0.035 * shot.facing
    if who.accessory == "hat":
        canvas.polygon(
            [(-0.1, 0.93), (0.1, 0.93), (0.085, 1.05), (-0.085, 1.05)], colour, ACCESSORY
        )
        canvas.limb([(-0.15, 0.935), (0.15, 0.935)], 0.03, colour, ACCESSORY)
    elif who.accessory == "scarf":
        canvas.limb([(-0.09, 0.725), (0.09, 0.725)], 0.065, colour, ACCESSORY)
        canvas.limb([(0.05, 0.72), (0.06, 0.54)], 0.055, colour, ACCESSORY)
    elif who.accessory == "bag":
        canvas.limb([(-shoulder * 0.8, 0.69), (waist + 0.06, 0.42)], 0.025, colour, ACCESSORY)
        left, right = waist + 0.0, waist + 0.14
        canvas.polygon(
            [(left, 0.44), (right, 0.44), (right, 0.28), (left, 0.28)], colour, ACCESSORY
        )
    elif who.accessory == "glasses":
        for x in (-0.045, 0.045):
            canvas.ellipse((x + turn, 0.85), (0.034, 0.03), _DARK, DETAIL)
            canvas.ellipse((x + turn, 0.85), (0.022, 0.018), (200, 214, 224), DETAIL)
