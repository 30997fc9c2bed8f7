"""Pictures of a character that a user gives, made as those of training."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

from trainer.data.augment import NEUTRAL, ReferenceChange, place_reference
from trainer.sampling.model_folder import VideoSize

Picture = Image.Image | str | Path  # a path is opened
Reference = Picture | Sequence[Picture]  # one picture, or several of one character
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
    _refuse_invisible(picture, str(path))
    return picture


def _refuse_invisible(picture: Image.Image, name: str) -> None:
    if picture.has_transparency_data and not np.asarray(picture.convert("RGBA"))[..., 3].any():
        raise ValueError(f"{name} is transparent everywhere; a reference must show somebody")


def stack_references(
    reference: Reference | Sequence[Sequence[Picture]], batch: int, size: VideoSize
) -> np.ndarray:
    """Return the pictures of every video, whole on grey: (B, R, H, W, 3) uint8."""
    if isinstance(reference, Picture):
        reference = [reference]
    if not len(reference):
        raise ValueError("reference is an empty list; give at least one picture, or None")
    rows: list[Any] = [reference] * batch
    if not isinstance(reference[0], Picture):
        rows = list(reference)
        if len(rows) != batch:
            raise ValueError(f"{batch} prompts came with the references of {len(rows)}")
    elif batch > 1 and len(reference) > 1:
        raise ValueError(
            f"{len(reference)} pictures for {batch} prompts may be one each, or all for every "
            "prompt: give one list a prompt, [[picture], [picture]] or [pictures] * number"
        )
    counts = sorted({len(row) for row in rows})
    if len(counts) > 1 or counts[0] < 1:
        raise ValueError(
            f"every prompt of a batch needs the same number of references, at least 1; got "
            f"{counts}; make the videos one after another"
        )
    pictures = {id(picture): picture for row in rows for picture in row}  # shared ones fitted once
    fitted = {key: fit_reference(p, size.height, size.width) for key, p in pictures.items()}
    return np.stack([np.stack([fitted[id(picture)] for picture in row]) for row in rows])


def fit_reference(picture: Picture, height: int, width: int) -> np.ndarray:
    """Set a picture whole on grey, as training does: (height, width, 3) uint8 RGB.

    It is turned as its EXIF says and brought to sRGB; what is transparent becomes the same grey.
    Raises ValueError if all of it is.
    """
    image = picture if isinstance(picture, Image.Image) else open_picture(Path(picture))
    _refuse_invisible(image, "the reference")
    image = in_srgb(ImageOps.exif_transpose(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (NEUTRAL, NEUTRAL, NEUTRAL, 255))
        image = Image.alpha_composite(ground, image)
    pixels = np.asarray(image.convert("RGB"))
    everything = np.full(pixels.shape[:2], 255, np.uint8)
    return place_reference(pixels, everything, (height, width), ReferenceChange())


def in_srgb(image: Image.Image) -> Image.Image:
    """Return a picture in 8 bits of sRGB, with its transparency; read by its profile, if any."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        return _in_8_bits(image)
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        opaque = image.convert("RGB") if alpha else image
        converted = ImageCms.profileToProfile(opaque, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError(
            f"the colour profile of a reference cannot be used ({error}); save it as sRGB"
        ) from error
    assert converted is not None, "a copy was asked for"
    if alpha:
        converted.putalpha(alpha)
    return converted


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Return a picture of 16 bits, or of numbers up to 65535, in 8; shades up to 255 stay."""
    levels = np.asarray(image).astype(np.float64)
    if image.mode.startswith("I;16") or levels.max(initial=0) > 255:
        levels = levels / 257
    return Image.fromarray(np.clip(np.round(levels), 0, 255).astype(np.uint8), "L")
