"""What a run reads from its dataset, and how."""

import re
from dataclasses import dataclass, field
from typing import Literal

from trainer.data.augment import ReferenceAugmentConfig
from trainer.data.batch import Bucket

_BUCKET = re.compile(r"(\d+)x(\d+)x(\d+)")


@dataclass(frozen=True)
class DataConfig:
    """What a run reads from its dataset, and how.

    Attributes:
        source: samples: pixels, encoded during training; latents: encoded before, by a job.
        buckets: sizes of clips as HEIGHTxWIDTHxFRAMES; sides are multiples of 16, frames 4k + 1.
        references: references of a sample that a step uses, drawn anew at every step.
        fps: frames a second that are taken from a clip, 0 takes all of them.
        random_start: draw where in the clip the frames begin; otherwise at its first frame.
        augment: how references are changed at every step.
        reference_background: keep what is behind the character in a reference, or make it grey.
        max_upscale: a clip may be enlarged by this factor to fill its bucket.
        max_crop: share of a clip's picture that its bucket's aspect may cut off.
        min_samples: fewer in a bucket than this stop the run before it starts.
        train_split: what is learnt from.
        validation_split: what is held out.
        max_skipped: unreadable samples that are replaced; one more stops the run.
        verify: compare the SHA-256 of every file before the start, which reads all of them.
        num_workers: processes that decode, for each process that trains; 0 decodes in the latter.
        prefetch: micro-batches that each of them prepares ahead.
        timeout_s: the longest wait for a micro-batch before the run stops.
        cache_mib: memory of each of them for what was read and not used yet.
    """

    source: Literal["samples", "latents"] = "samples"
    buckets: tuple[str, ...] = ("480x832x81",)
    references: int = 1
    fps: float = 0.0
    random_start: bool = True
    augment: ReferenceAugmentConfig = field(default_factory=ReferenceAugmentConfig)
    reference_background: Literal["keep", "grey"] = "keep"
    max_upscale: float = 1.5
    max_crop: float = 0.5
    min_samples: int = 1
    train_split: str = "train"
    validation_split: str = "validation"
    max_skipped: int = 10
    verify: bool = False
    num_workers: int = 2
    prefetch: int = 2
    timeout_s: float = 600.0
    cache_mib: int = 128

    def __post_init__(self) -> None:
        object.__setattr__(self, "buckets", tuple(self.buckets))
        sizes = self.sizes
        if not sizes or len(set(sizes)) < len(sizes):
            raise ValueError(
                f"data.buckets must name at least one size, each once, got {self.buckets}"
            )
        at_least = {"references": 1, "min_samples": 1, "prefetch": 1, "cache_mib": 0}
        at_least |= {"max_skipped": 0, "num_workers": 0, "fps": 0, "max_upscale": 0.1}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ValueError(f"data.{name} must be >= {least}, got {getattr(self, name)}")
        if self.timeout_s <= 0:
            raise ValueError(f"data.timeout_s must be > 0, got {self.timeout_s:g}")
        if not 0 <= self.max_crop <= 1:
            raise ValueError(f"data.max_crop is a share, 0 to 1, got {self.max_crop:g}")
        for name, allowed in (
            ("source", ("samples", "latents")),
            ("reference_background", ("keep", "grey")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"data.{name} must be {' or '.join(allowed)}, got {getattr(self, name)!r}"
                )

    @property
    def sizes(self) -> tuple[Bucket, ...]:
        """The buckets."""
        return tuple(parse_bucket(text) for text in self.buckets)


def parse_bucket(text: str) -> Bucket:
    """Read a bucket from HEIGHTxWIDTHxFRAMES."""
    matched = _BUCKET.fullmatch(str(text))
    if not matched:
        raise ValueError(f"bucket must read HEIGHTxWIDTHxFRAMES such as 480x832x81, got {text!r}")
    height, width, frames = (int(number) for number in matched.groups())
    if height < 16 or width < 16 or height % 16 or width % 16:
        raise ValueError(f"sides of a bucket must be multiples of 16, got {text!r}")
    if frames % 4 != 1:
        near = max(1, round((frames - 1) / 4) * 4 + 1)
        raise ValueError(f"frames of a bucket must be 4k + 1, got {text!r}; {near} is the nearest")
    return Bucket(height, width, frames)


def bucket_name(bucket: Bucket) -> str:
    """Return HEIGHTxWIDTHxFRAMES."""
    return f"{bucket.height}x{bucket.width}x{bucket.frames}"
