"""What encoding a dataset consists of: units that any worker can make, each one file of latents."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.columns import schema_of
from schemas.ids import content_id
from schemas.latents import LATENTS_VERSION, OF_SEVERAL, Latent, LatentIndex, NullText, NumberType
from schemas.locations import shown
from schemas.settings import check_settings, setting
from trainer.data.batch import Bucket
from trainer.data.data_config import DataConfig, bucket_name, check_sides
from trainer.data.index import RowLocation
from trainer.data.sample_source import SampleSource
from trainer.data.tensors import item_bytes
from trainer.encoders import EncoderConfig

# of the published encoders; those without weights say it themselves
_UMT5_WIDTH, _CLIP_TOKENS, _CLIP_WIDTH = 4096, 257, 1280
_TOKENS_PER_WORD = 1.4  # of UMT5, in English


@dataclass(frozen=True)
class LatentsConfig:
    """How samples become latents.

    Attributes:
        number_type: type of the stored numbers.
        windows: stretches of every clip that are encoded, evenly spread; training draws one.
        unit_samples: most samples of a unit; an interruption costs each worker one unit.
        unit_mib: largest size of a unit's file, about, in MiB.
    """

    number_type: NumberType = "bfloat16"
    windows: int = setting(1, low=1, high=1000)
    unit_samples: int = setting(64, low=1, high=10**6)
    unit_mib: int = setting(256, low=1, high=2**16, unit="MiB")

    def __post_init__(self) -> None:
        check_settings(self, "encoding")


@dataclass(frozen=True)
class LatentUnit:
    """Samples of one file that become one file of latents of one bucket."""

    unit_id: str
    bucket: Bucket
    locations: tuple[RowLocation, ...]
    size_bytes: int  # of its latents, about


@dataclass(frozen=True)
class EncodingRecipe:
    """What every worker knows: which dataset, and how its samples are encoded."""

    url: str
    encoders: EncoderConfig
    data: DataConfig
    encoding: LatentsConfig

    def settings(self) -> dict[str, Any]:
        """Return what latents depend on beside the encoders, as named in a run's settings."""
        named = {
            "data.fps": self.data.fps,
            "data.reference_background": self.data.reference_background,
            "encoding.number_type": self.encoding.number_type,
            "encoding.windows": self.encoding.windows,
        }
        several = {"data.characters": self.data.characters} if self.data.characters > 1 else {}
        return named | several

    def depends_on(self, bucket: Bucket, fingerprint: dict[str, str]) -> dict[str, Any]:
        """Return what the metadata of a file says."""
        return {
            "latents_version": LATENTS_VERSION,
            "fingerprint": fingerprint,
            "settings": self.settings(),
            "bucket": bucket_name(bucket),
            "columns": [
                name
                for name in schema_of(Latent).names
                if self.data.characters > 1 or name not in OF_SEVERAL
            ],
        }


class EncodingPlan:
    """What the encoding of a dataset has to do, before any encoder is loaded."""

    def __init__(self, recipe: EncodingRecipe) -> None:
        """Open the dataset. Raises ValueError when no sample fits a bucket."""
        self.recipe, data = recipe, recipe.data
        for bucket in data.sizes:
            check_sides(bucket.height, bucket.width, recipe.encoders.stride, "data.buckets")
        self.source = SampleSource(recipe.url, data)
        if not any(len(rows) for rows in self.assigned().values()):
            seen = self.source.assign(data.train_split).seen
            raise ValueError(
                f"no sample of {shown(recipe.url)} fits a bucket of data.buckets "
                f"({', '.join(data.buckets)}); clips seen: {seen}. Choose buckets nearer to the "
                "clips, or allow more (data.max_upscale, data.max_crop, data.fps)"
            )

    def assigned(self) -> dict[Bucket, np.ndarray]:
        """Return the samples of every bucket, of all splits, in the order of the dataset."""
        of_splits = [self.source.assign(split).buckets for split in sorted(self.source.splits)]
        return {
            bucket: np.sort(np.concatenate([rows[bucket] for rows in of_splits]))
            for bucket in sorted(self.recipe.data.sizes)
        }

    def left_out(self) -> dict[str, int]:
        """Return how many samples fit no bucket, by reason."""
        total: dict[str, int] = {}
        for split in self.source.splits:
            for reason, number in self.source.assign(split).left_out.items():
                total[reason] = total.get(reason, 0) + number
        return total

    def units(self, fingerprint: dict[str, str]) -> list[LatentUnit]:
        """Cut the work into units; an unchanged file of samples gives the same units again."""
        sha256 = {file.path: file.sha256 for file in self.source.snapshot.manifest.files}
        units = []
        for bucket, rows in self.assigned().items():
            size = self._sample_bytes(bucket)
            most = max(
                1,
                min(
                    self.recipe.encoding.unit_samples, self.recipe.encoding.unit_mib * 2**20 // size
                ),
            )
            for locations in self._by_file(rows, most):
                places = [(location.group, location.row) for location in locations]
                parts = (
                    self.recipe.depends_on(bucket, fingerprint),
                    sha256[locations[0].path],
                    places,
                )
                units.append(
                    LatentUnit(content_id(*parts), bucket, locations, size * len(locations))
                )
        return units

    def _sample_bytes(self, bucket: Bucket) -> int:
        recipe = self.recipe
        return sample_bytes(bucket, recipe.encoders, recipe.encoding, recipe.data.characters)

    def _by_file(self, rows: np.ndarray, most: int) -> Iterator[tuple[RowLocation, ...]]:
        held: list[RowLocation] = []
        for row in rows:
            location = self.source.index.location(int(row))
            if held and (len(held) == most or held[-1].path != location.path):
                yield tuple(held)
                held = []
            held.append(location)
        if held:
            yield tuple(held)

    def index(self, fingerprint: dict[str, str], null_text: NullText) -> LatentIndex:
        """Return the index, without the files that are still to be made."""
        return LatentIndex(
            fingerprint=fingerprint,
            settings=self.recipe.settings(),
            manifest_path=self.source.snapshot.path,
            manifest_sha256=self.source.snapshot.sha256,
            buckets=[bucket_name(bucket) for bucket in self.recipe.data.sizes],
            splits={},
            null_text=null_text,
            files=[],
            number_type=self.recipe.encoding.number_type,
        )

    def describe(self) -> str:
        """Return the plan for a person: samples, buckets, encoders, bytes."""
        recipe, lines, total = self.recipe, [], 0
        encoders, encoding = recipe.encoders, recipe.encoding
        for bucket, rows in self.assigned().items():
            if not len(rows):
                continue
            size = self._sample_bytes(bucket)
            total += size * len(rows)
            samples = f"{len(rows)} samples of about {_amount(size)}"
            lines.append(f"  {bucket_name(bucket)}: {samples}, {_amount(size * len(rows))}")
        left_out = ", ".join(f"{number} {why}" for why, number in self.left_out().items())
        return "\n".join(
            [
                f"encoders: codec {encoders.codec}, text {encoders.text}, image {encoders.image}",
                f"{encoding.number_type}, windows of each clip: {encoding.windows}, "
                f"frames a second: {recipe.data.fps or 'as in the clip'}, "
                f"characters of a sample: {recipe.data.characters}",
                *lines,
                f"left out: {left_out or 'none'}",
                f"about {_amount(total)} in {shown(recipe.url)}/latents/",
            ]
        )


def _amount(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def sample_bytes(
    bucket: Bucket, encoders: EncoderConfig, encoding: LatentsConfig, characters: int = 1
) -> int:
    """Estimate the bytes of a sample's latents: a reference each, a caption of 40 words."""
    cells = bucket.height // encoders.stride * (bucket.width // encoders.stride)
    frames = (bucket.frames - 1) // 4 + 1
    if encoders.text == "umt5":
        text = round(40 * _TOKENS_PER_WORD) * _UMT5_WIDTH
    else:
        text = min(40, encoders.text_tokens or 32) * encoders.text_dim
    image = _CLIP_TOKENS * _CLIP_WIDTH if encoders.image == "clip" else encoders.image_grid**2 * 32
    window = encoders.channels * frames * cells
    window += frames * cells  # the subject's share of each cell
    references = characters * (encoders.channels * cells + image)
    numbers = encoding.windows * (window + text + references)
    return numbers * item_bytes(encoding.number_type)
