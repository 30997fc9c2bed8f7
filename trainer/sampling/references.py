"""Pictures of a character that a user gives, made as those of training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from trainer.data.augment import NEUTRAL, ReferenceChange, place_reference
from trainer.sampling.model_folder import VideoSize

Reference = Image.Image | Sequence[Image.Image]  # one picture, or several of one character
FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 100_000_000  # a phone's pictures have up to 50 million


def open_picture(path: Path) -> Image.Image:
    """Open a picture of moderate size, or raise ValueError."""
    if not path.is_file():
        raise ValueError(f"no picture at {path}; a reference must be a file")
    try:
        picture = Image.open(path, formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(
                f"{path} is {picture.width}x{picture.height}, at most {MAX_PIXELS} pixels are "
                "allowed; make it smaller"
            )
        picture.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as a picture ({error}); allowed are {', '.join(FORMATS)}"
        ) from error
    return picture


def stack_references(
    reference: Reference | Sequence[Sequence[Image.Image]], batch: int, size: VideoSize
) -> np.ndarray:
    """Return the pictures of every video, whole on grey: (B, R, H, W, 3) uint8."""
    if isinstance(reference, Image.Image):
        reference = [reference]
    if not len(reference):
        raise ValueError("reference is an empty list; give at least one picture, or None")
    rows: list[Any] = [reference] * batch
    if not isinstance(reference[0], Image.Image):
        rows = list(reference)
        if len(rows) != batch:
            raise ValueError(f"{batch} prompts came with the references of {len(rows)}")
    counts = sorted({len(row) for row in rows})
    if len(counts) > 1 or counts[0] < 1:
        raise ValueError(
            f"every prompt of a batch needs the same number of references, at least 1; got "
            f"{counts}; make the videos one after another"
        )
    pictures = {id(picture): picture for row in rows for picture in row}  # shared ones fitted once
    fitted = {key: fit_reference(p, size.height, size.width) for key, p in pictures.items()}
    return np.stack([np.stack([fitted[id(picture)] for picture in row]) for row in rows])


def fit_reference(image: Image.Image, height: int, width: int) -> np.ndarray:
    """Set a picture whole on grey, as training does: (height, width, 3) uint8 RGB.

    It is turned as its EXIF says; what is transparent becomes the same grey.
    """
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (NEUTRAL, NEUTRAL, NEUTRAL, 255))
        image = Image.alpha_composite(ground, image)
    pixels = np.asarray(image.convert("RGB"))
    everything = np.full(pixels.shape[:2], 255, np.uint8)
    return place_reference(pixels, everything, (height, width), ReferenceChange())
