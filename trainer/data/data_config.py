"""What a run reads from its dataset, and how."""

import re
from dataclasses import dataclass, field
from typing import Literal

from schemas.settings import check_settings, setting
from trainer.data.augment import ReferenceAugmentConfig
from trainer.data.batch import Bucket

MAX_SIDE, MAX_FRAMES = 4096, 1025  # px; of a clip
PATCH = 2  # latents that a token covers on each side
_BUCKET = re.compile(r"(\d+)x(\d+)x(\d+)")


@dataclass(frozen=True)
class DataConfig:
    """What a run reads from its dataset, and how.

    Attributes:
        source: samples: pixels, encoded during training; latents: encoded before, by a job.
        buckets: sizes of clips as HEIGHTxWIDTHxFRAMES; sides are multiples of 16 (of
            32 with the codec wan2.2), frames 4k + 1.
        references: references of a character that a step uses, drawn anew at every step.
        characters: characters of a sample that are trained together, the largest; 1 is the main one
            alone. Samples with several come of pair.samples=multi_character.
        fps: frames a second taken from a clip; 0 takes every frame.
        random_start: start at a random frame of the clip instead of its first.
        augment: how references are augmented at every step.
        reference_background: keep what is behind the character in a reference, or make it grey.
        max_upscale: a clip may be enlarged by this factor to fill its bucket.
        max_crop: share of a clip's picture that its bucket's aspect may cut off.
        min_samples: fewest samples of a bucket with which a run starts; one that fits no sample at
            all is left out.
        train_split: the split that is trained on.
        validation_split: the split that is held out for validation.
        max_skipped: unreadable samples that are replaced; one more stops the run.
        verify: compare the SHA-256 of every file before the start, which reads all of them.
        num_workers: decoding processes of each training process; 0 decodes in that process itself.
        prefetch: micro-batches that each decoding process prepares ahead.
        timeout_s: longest wait for a micro-batch, in s, before the run stops.
        cache_mib: memory of each decoding process for rows read but not yet used, in MiB.
    """

    source: Literal["samples", "latents"] = "samples"
    buckets: tuple[str, ...] = setting(("480x832x81",), least=1)
    references: int = setting(1, low=1, high=64)
    characters: int = setting(1, low=1, high=8)
    fps: float = setting(0.0, low=0, high=240, unit="frames a second")
    random_start: bool = True
    augment: ReferenceAugmentConfig = field(default_factory=ReferenceAugmentConfig)
    reference_background: Literal["keep", "grey"] = "keep"
    max_upscale: float = setting(1.5, low=0.1, high=100)
    max_crop: float = setting(0.5, low=0, high=1)
    min_samples: int = setting(1, low=1, high=10**9)
    train_split: str = setting("train", least=1)
    validation_split: str = setting("validation", least=1)
    max_skipped: int = setting(10, low=0, high=10**9)
    verify: bool = False
    num_workers: int = setting(2, low=0, high=1024)
    prefetch: int = setting(2, low=1, high=1024)
    timeout_s: float = setting(600.0, above=0, high=7 * 86_400, unit="s")
    cache_mib: int = setting(128, low=0, high=10**6, unit="MiB")

    def __post_init__(self) -> None:
        object.__setattr__(self, "buckets", tuple(self.buckets))
        check_settings(self, "data")
        if len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"data.buckets must name each size once, got {list(self.buckets)}")

    @property
    def sizes(self) -> tuple[Bucket, ...]:
        """The buckets."""
        return tuple(parse_bucket(text) for text in self.buckets)


def parse_bucket(text: str) -> Bucket:
    """Read a bucket from HEIGHTxWIDTHxFRAMES."""
    matched = _BUCKET.fullmatch(str(text))
    if not matched:
        raise ValueError(
            f"data.buckets must be HEIGHTxWIDTHxFRAMES such as 480x832x81, got {text!r}"
        )
    height, width, frames = (int(number) for number in matched.groups())
    if not all(16 <= side <= MAX_SIDE and side % 16 == 0 for side in (height, width)):
        raise ValueError(
            f"sides in data.buckets must be multiples of 16 from 16 to {MAX_SIDE}, got {text!r}"
        )
    if frames % 4 != 1 or frames > MAX_FRAMES:
        nearest = min(max(1, round((frames - 1) / 4) * 4 + 1), MAX_FRAMES)
        raise ValueError(
            f"frames in data.buckets must be 4k + 1 from 1 to {MAX_FRAMES}, got {text!r}; "
            f"{nearest} is the nearest"
        )
    return Bucket(height, width, frames)


def check_sides(height: int, width: int, stride: int, what: str) -> None:
    """Raise ValueError unless both sides are made of whole tokens of a codec with this stride."""
    multiple = PATCH * stride
    for name, side in (("height", height), ("width", width)):
        if side % multiple:
            nearest = max(round(side / multiple), 1) * multiple
            raise ValueError(
                f"{what}: {name} must be a multiple of {multiple} with this codec, got {side}; "
                f"the nearest is {nearest}"
            )


def bucket_name(bucket: Bucket) -> str:
    """Return HEIGHTxWIDTHxFRAMES."""
    return f"{bucket.height}x{bucket.width}x{bucket.frames}"
