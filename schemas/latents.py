"""What `latents/` of a dataset holds: samples as the frozen encoders encoded them.

`latents/index.json` is written last and names every file; without it there are no latents. Tensors
are stored row-major, little-endian, in the number type that the index names, with their shape
beside them. What the latents depend on is in the index, and in every file's schema metadata.
"""

import json
from base64 import b64decode
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from schemas.columns import column, rows_column
from schemas.manifest import DataFile
from schemas.tables import BOX

LATENTS_VERSION = 2
LATENTS_INDEX = "latents/index.json"
DEPENDS_ON = b"contextanyone.latents"  # key of a file's schema metadata, JSON
NumberType = Literal["bfloat16", "float16", "float32"]

_TEXT, _BYTES, _INT, _DOUBLE = pa.string(), pa.binary(), pa.int32(), pa.float64()
_SHAPE = pa.list_(_INT)


@dataclass(frozen=True)
class LatentReference:
    """A reference of a sample, encoded alone."""

    reference_id: str = column(_TEXT, "the image")
    clip_id: str = column(_TEXT, "clip that it was taken from")
    video_id: str = column(_TEXT, "video that it was taken from")
    latent: bytes = column(_BYTES, "normalised latents of the letterboxed image")
    latent_shape: list[int] = column(_SHAPE, "channels, height, width")
    tokens: bytes = column(_BYTES, "image tokens")
    tokens_shape: list[int] = column(_SHAPE, "tokens, width")


@dataclass(frozen=True)
class LatentMember:
    """A further character of a sample with several."""

    track_id: str = column(_TEXT, "the character's track in the clip")
    character_id: str = column(_TEXT, "the identity")
    name: str = column(_TEXT, "what the caption calls it")
    text: bytes = column(_BYTES, "tokens of the name alone; zeros at the end left out")
    text_shape: list[int] = column(_SHAPE, "tokens, width; zeros at the end included")
    references: list[LatentReference] = rows_column(LatentReference, "best first")
    mentions: list[int] = column(_SHAPE, "tokens of the caption that speak of it", default=())
    boxes: list[list[float]] = column(
        pa.list_(BOX), "where it is in the bucket, one a frame; 0 of none", unit="px", default=()
    )


@dataclass(frozen=True)
class Latent:
    """One window of one sample's clip. Several rows of a sample are several windows."""

    sample_id: str = column(_TEXT, "the sample")
    clip_id: str = column(_TEXT, "the clip")
    video_id: str = column(_TEXT, "the source video")
    track_id: str = column(_TEXT, "the character's track in the clip")
    character_id: str = column(_TEXT, "the identity")
    split: str = column(_TEXT, "train | validation | test")
    height: int = column(_INT, "of the bucket", unit="px")
    width: int = column(_INT, "of the bucket", unit="px")
    frames: int = column(_INT, "of the bucket")
    start_frame: int = column(_INT, "frame of the clip with which the window begins")
    fps: float = column(_DOUBLE, "rate at which frames were taken", unit="1/s")
    caption: str = column(_TEXT, "what the clip shows")
    fingerprint: str = column(_TEXT, "of the encoders, as in the index")
    video: bytes = column(_BYTES, "normalised latents of the clip")
    video_shape: list[int] = column(_SHAPE, "channels, frames, height, width")
    text: bytes = column(_BYTES, "tokens of the caption; zeros at the end left out")
    text_shape: list[int] = column(_SHAPE, "tokens, width; zeros at the end included")
    subject: bytes = column(_BYTES, "share of a cell inside the character, or empty")
    subject_shape: list[int] = column(_SHAPE, "1, frames, height, width, or empty")
    references: list[LatentReference] = rows_column(LatentReference, "best first")
    name: str = column(_TEXT, "what the caption calls the character, '' alone", default="")
    name_text: bytes = column(_BYTES, "tokens of that name alone, or empty", default=b"")
    name_text_shape: list[int] = column(_SHAPE, "tokens, width, or empty", default=())
    others: list[LatentMember] = rows_column(
        LatentMember, "further characters; empty where the sample is of one", default=()
    )
    mentions: list[int] = column(
        _SHAPE, "tokens of the caption that speak of the character; empty alone", default=()
    )
    boxes: list[list[float]] = column(
        pa.list_(BOX), "where it is in the bucket, one a frame; empty alone", unit="px", default=()
    )


# Columns that latents of one character did without, and still may.
OF_SEVERAL = ("name", "name_text", "name_text_shape", "others", "mentions", "boxes")


@dataclass(frozen=True)
class NullText:
    """The encoded empty prompt, for guidance."""

    base64: str  # numbers as in the rows; zeros at the end left out
    shape: list[int]  # tokens, width; zeros at the end included

    @property
    def content(self) -> bytes:
        return b64decode(self.base64, validate=True)


@dataclass(frozen=True)
class LatentIndex:
    """What was encoded, by what, from which version of the dataset."""

    fingerprint: dict[str, str]  # encoder -> what its latents depend on
    settings: dict[str, Any]  # what else they depend on, as named in a run's settings
    manifest_path: str  # of the dataset's version
    manifest_sha256: str
    buckets: list[str]  # HEIGHTxWIDTHxFRAMES
    splits: dict[str, int]  # samples per split
    null_text: NullText
    files: list[DataFile]
    number_type: str = "bfloat16"
    latents_version: int = LATENTS_VERSION

    def to_json(self) -> bytes:
        """Return the file's bytes, the same for equal indices."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> "LatentIndex":
        """Read an index. Raises ValueError when its version is not ours."""
        raw: dict[str, Any] = json.loads(content)
        found = raw.get("latents_version")
        if found != LATENTS_VERSION:
            raise ValueError(
                f"latents_version of {LATENTS_INDEX} is {found}, this code reads "
                f"{LATENTS_VERSION}; encode the dataset again"
            )
        raw["files"] = [DataFile(**file) for file in raw["files"]]
        raw["null_text"] = NullText(**raw["null_text"])
        return cls(**raw)
