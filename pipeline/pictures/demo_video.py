"""Make two small sample videos from pictures that come with scikit-image.

One astronaut (NASA, public domain) is seen in several shots: before other grounds, in other light,
at other sizes, intercut with pictures without people. So the pipeline has hard cuts, a fade, and
a character to find again in another shot and in another video, without a download.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from pipeline.media.encode import ClipEncoder, EncodingConfig
from pipeline.pictures.cutout import cut_out
from pipeline.pictures.relight import relight
from schemas.files import make_folder

FPS = 24
ASPECT = 16 / 9
BT709 = 1  # FFmpeg's number of the colour matrix
ENCODING = EncodingConfig(crf=23)  # about 300 kB a second of 720p
SOURCE = "scikit-image sample pictures (NASA and others)"
LICENCE = "CC0-1.0"  # all pictures used are public domain or CC0
# The astronaut with her helmet in the 512 x 512 picture, traced by hand.
OUTLINE = (
    (24, 512), (22, 480), (18, 440), (18, 400), (24, 350), (28, 320), (34, 300), (46, 275),
    (58, 255), (78, 238), (98, 224), (112, 214), (116, 200), (113, 190), (118, 184), (125, 184),
    (131, 171), (143, 158), (158, 150), (173, 147), (184, 150), (183, 140), (181, 132), (174, 131),
    (171, 122), (162, 110), (156, 95), (154, 80), (156, 62), (165, 47), (180, 37), (192, 32),
    (205, 22), (220, 16), (235, 16), (252, 21), (272, 27), (288, 38), (296, 52), (301, 75),
    (301, 88), (297, 105), (290, 118), (284, 127), (278, 135), (268, 137), (265, 150), (260, 165),
    (257, 176), (270, 182), (285, 195), (297, 212), (304, 230), (305, 240), (318, 244), (330, 255),
    (340, 268), (348, 283), (354, 300), (358, 318), (362, 335), (364, 349), (375, 347), (400, 344),
    (425, 346), (450, 355), (470, 372), (485, 395), (493, 420), (497, 450), (503, 460), (509, 480),
    (511, 512),
)  # fmt: skip
FACE = (222, 112)  # its middle in that picture


@dataclass(frozen=True)
class DemoShot:
    """One shot of the demo. The person is left out where `size` is 0."""

    picture: str  # of skimage.data, blurred when a person stands before it
    seconds: float
    zoom: tuple[float, float] = (1.0, 1.1)  # of the picture, at the first and the last frame
    size: float = 0.0  # the person's height over the picture's
    path: tuple[float, float] = (0.5, 0.5)  # the face's place across, at the ends of the shot
    tilt: float = 0.0  # degrees by which the person leans
    light: tuple[float, float, float] = (0.0, 6500.0, 0.0)  # exposure, kelvin, side light degrees
    fade: bool = False  # ends in black


DEMO = {
    "launch_day.mp4": (
        DemoShot("rocket", 3.0, size=1.5, path=(0.40, 0.55), tilt=2.0),
        DemoShot("hubble_deep_field", 2.4, zoom=(1.0, 1.25)),
        DemoShot(
            "gravel", 3.0, size=1.25, path=(0.66, 0.38), tilt=-3.0, light=(0.1, 5600.0, 180.0)
        ),
        DemoShot("chelsea", 2.4, zoom=(1.2, 1.05), fade=True),
        DemoShot("grass", 3.0, size=1.75, path=(0.55, 0.42), tilt=3.0, light=(0.0, 7000.0, 0.0)),
    ),
    "coffee_break.mp4": (
        DemoShot("coffee", 2.4, zoom=(1.3, 1.1)),
        DemoShot("brick", 3.0, size=1.6, path=(0.38, 0.52), tilt=-2.0, light=(0.2, 5800.0, 0.0)),
        DemoShot("moon", 2.4, zoom=(1.1, 1.4), fade=True),
        DemoShot(
            "immunohistochemistry",
            3.0,
            size=1.4,
            path=(0.6, 0.46),
            tilt=4.0,
            light=(0.0, 6000.0, 180.0),
        ),
    ),
}


def write_demo_videos(folder: Path, height: int = 720) -> Path:
    """Write the sample videos and return the manifest that lists them (`videos.csv`).

    `height` is even; the width follows at 16:9. The same settings give the same bytes. Raises
    ImportError with what to install when scikit-image is absent.
    """
    if height < 64 or height % 2:
        raise ValueError(f"height must be even and at least 64, got {height}")
    pictures = {shot.picture: _picture(shot.picture) for shots in DEMO.values() for shot in shots}
    make_folder("the folder of videos", folder)
    width = 2 * round(height * ASPECT / 2)
    for name, shots in DEMO.items():
        encoder = ClipEncoder(width, height, FPS, ENCODING, BT709)
        for shot in shots:
            for frame in _frames(shot, pictures[shot.picture], (width, height)):
                encoder.write(_to_yuv(frame))
        (folder / name).write_bytes(encoder.close())
    manifest = folder / "videos.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["uri", "licence", "source"])
        table.writerows([name, LICENCE, SOURCE] for name in sorted(DEMO))
    return manifest


def write_demo_reference(path: Path) -> None:
    """Write a picture of the astronaut, as a user would give one."""
    picture = cv2.cvtColor(_picture("astronaut"), cv2.COLOR_RGB2BGR)
    make_folder("the parent of --reference", path.parent)
    if path.suffix.lower() not in (".jpg", ".jpeg", ".png") or not cv2.imwrite(str(path), picture):
        raise ValueError(f"--reference must be a file to write, .jpg or .png, got {path}")


def _picture(name: str) -> np.ndarray:
    """Return one of the pictures that lie inside the scikit-image package, as RGB."""
    try:
        from skimage import data
    except ImportError as error:
        raise ImportError(
            'the sample videos are made from scikit-image\'s pictures: pip install -e ".[demo]"'
        ) from error
    picture = getattr(data, name)()
    return picture if picture.ndim == 3 else np.dstack([picture] * 3)


def _to_yuv(frame: np.ndarray) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
    return picture.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=1)


def _frames(shot: DemoShot, picture: np.ndarray, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the shot's frames, RGB uint8 (height, width, 3)."""
    number = round(shot.seconds * FPS)
    person = _person(shot, size[1]) if shot.size else None
    ground = _ground(shot, picture, size[1])
    for index in range(number):
        part = index / (number - 1)
        frame = _zoomed(ground, shot.zoom[0] + (shot.zoom[1] - shot.zoom[0]) * part, size)
        if person is not None:
            frame = _placed(frame, *person, shot, part)
        if shot.fade:
            frame = cv2.convertScaleAbs(frame, alpha=min(1.0, (number - 1 - index) / FPS))
        yield frame


def _ground(shot: DemoShot, picture: np.ndarray, height: int) -> np.ndarray:
    if not shot.size:
        return picture
    sigma = 0.012 * min(picture.shape[:2])
    soft = cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32) / 255
    everywhere = np.full(picture.shape[:2], 255, np.uint8)
    exposure, kelvin, degrees = shot.light
    lit = relight(soft, everywhere, exposure - 0.3, kelvin, 0.6, degrees)
    return _to_bytes(lit)


def _zoomed(picture: np.ndarray, zoom: float, size: tuple[int, int]) -> np.ndarray:
    """Fill the frame with the middle of the picture, enlarged a little more by `zoom`."""
    scale = zoom * max(size[0] / picture.shape[1], size[1] / picture.shape[0])
    left = size[0] / 2 - scale * picture.shape[1] / 2
    top = size[1] / 2 - scale * picture.shape[0] / 2
    matrix = np.array([[scale, 0, left], [0, scale, top]])
    return cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REFLECT_101)


def _person(shot: DemoShot, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the astronaut cut out and lit: colours times alpha, and 255 - alpha, both RGB."""
    portrait = _picture("astronaut")
    scale = shot.size * height / portrait.shape[0]
    portrait = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    mask = np.zeros(portrait.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(np.array(OUTLINE) * scale).astype(np.int32)], 255)
    colours, alpha = cut_out(portrait, mask)
    exposure, kelvin, degrees = shot.light
    lit = relight(colours, mask, exposure, kelvin, 1.6, degrees)
    alpha = alpha[..., None].repeat(3, axis=2)
    return _to_bytes(lit * alpha), _to_bytes(1 - alpha)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.round(255 * values).astype(np.uint8)


def _placed(
    frame: np.ndarray, colours: np.ndarray, absent: np.ndarray, shot: DemoShot, part: float
) -> np.ndarray:
    """Lay the person over the frame; it crosses the frame and sways as it goes."""
    height, width = frame.shape[:2]
    scale = colours.shape[0] / 512
    lean = shot.tilt * np.sin(2 * np.pi * part) + shot.tilt / 2
    across = shot.path[0] + (shot.path[1] - shot.path[0]) * part
    face = (FACE[0] * scale, FACE[1] * scale)
    matrix = cv2.getRotationMatrix2D(face, lean, 1 + 0.03 * part)
    lowest = height - colours.shape[0]  # the bottom of the portrait at the bottom of the frame
    down = max(lowest, 0.34 * height - face[1]) if shot.size > 1 else lowest
    matrix[:, 2] += (across * width - face[0], down + 0.02 * height)
    size = (width, height)
    laid = cv2.warpAffine(colours, matrix, size)
    kept = cv2.warpAffine(absent, matrix, size, borderValue=(255, 255, 255))
    return cv2.add(cv2.multiply(frame, kept, scale=1 / 255), laid)
