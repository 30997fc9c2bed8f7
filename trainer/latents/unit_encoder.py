"""What a worker of the encoding job does: describe the encoders, and encode units of samples."""

import base64
import platform
from collections.abc import Callable
from dataclasses import dataclass

import torch

from schemas.latents import Latent, NullText
from trainer.data.batch import SkippedSample
from trainer.data.files import Folder
from trainer.data.latent_file import latent_file
from trainer.data.pictures import Unreadable
from trainer.data.reader import RowReader
from trainer.data.tensors import to_bytes, without_zero_tail
from trainer.encoders import Encoders, load_encoders
from trainer.latents.encoding_plan import EncodingRecipe, LatentUnit
from trainer.latents.sample_encoder import COLUMNS, COLUMNS_OF_SEVERAL, SampleEncoder


@dataclass(frozen=True)
class EncodedLatents:
    """A unit's file, and what it holds. No bytes when none of its samples could be read."""

    content: bytes
    rows: int
    splits: dict[str, int]  # samples
    skipped: tuple[SkippedSample, ...]


@dataclass(frozen=True)
class Described:
    """What only loaded encoders know."""

    fingerprint: dict[str, str]
    null_text: NullText


def choose_device() -> str:
    """Return the GPU that this process may use, or the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def describe(encoders: Encoders, number_type: str) -> Described:
    """Return the encoders' fingerprints, and the empty prompt that guidance needs."""
    null = encoders.encode_prompts([""])[0]
    content = to_bytes(without_zero_tail(null), number_type)
    text = NullText(base64.b64encode(content).decode(), list(null.shape))
    return Described(encoders.fingerprint, text)


def make_describer(recipe: EncodingRecipe) -> Callable[[str], Described]:
    """Return the function that loads the encoders and describes them."""
    return lambda _: describe(
        load_encoders(recipe.encoders, choose_device()), recipe.encoding.number_type
    )


class UnitEncoder:
    """Encodes units in one worker; the encoders are loaded at the first of them.

    So that what is wrong with their weights is an answer, not a worker that never starts.
    """

    def __init__(self, recipe: EncodingRecipe, fingerprint: dict[str, str]) -> None:
        self._recipe, self._fingerprint = recipe, fingerprint
        cache_bytes = recipe.data.cache_mib * 2**20
        columns = COLUMNS_OF_SEVERAL if recipe.data.characters > 1 else COLUMNS
        self._reader = RowReader(Folder(recipe.url), columns, cache_bytes)
        self._encoder: SampleEncoder | None = None

    def __call__(self, unit: LatentUnit) -> EncodedLatents:
        """Encode all windows of a unit's samples."""
        splits: dict[str, int] = {}
        skipped: list[SkippedSample] = []
        rows: list[Latent] = []
        for location in unit.locations:
            try:
                made = list(self._loaded().rows(self._reader.read(location), unit.bucket))
            except Unreadable as error:
                skipped.append(SkippedSample(location.sample_id, str(error)))
                continue
            splits[made[0].split] = splits.get(made[0].split, 0) + 1
            rows += made
        if not rows:
            return EncodedLatents(b"", 0, splits, tuple(skipped))
        depends_on = self._recipe.depends_on(unit.bucket, self._fingerprint)
        content, number = latent_file(rows, depends_on)
        return EncodedLatents(content, number, splits, tuple(skipped))

    def _loaded(self) -> SampleEncoder:
        if self._encoder is None:
            device, recipe = choose_device(), self._recipe
            encoders = load_encoders(recipe.encoders, device)
            self._check_same(encoders.fingerprint)
            self._encoder = SampleEncoder(
                encoders, recipe.data, recipe.encoding.windows, recipe.encoding.number_type, device
            )
        return self._encoder

    def _check_same(self, loaded: dict[str, str]) -> None:
        """Refuse encoders of this node that are not those which the latents are said to be of."""
        different = sorted(name for name in loaded if loaded[name] != self._fingerprint.get(name))
        if different:
            name = different[0]
            raise ValueError(
                f"{platform.node()} has another {name} encoder, {loaded[name]}, not "
                f"{self._fingerprint.get(name, 'none')}: give every node the same weights and "
                "the same kind of processor"
            )
