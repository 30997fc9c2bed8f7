"""Which frozen encoders a run uses, and where their weights are."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch

from schemas.settings import check_settings, setting
from trainer.encoders.interfaces import ImageEncoder, TextEncoder, VideoCodec

Dtype = Literal["float32", "bfloat16", "float16"]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_WORDS_TOKENS, _UMT5_TOKENS = 32, 512
CODEC_SHAPES = {"lapped": (16, 8), "dct": (16, 8), "wan": (16, 8), "wan2.2": (48, 16)}
_KEPT_TEXT_BYTES = 256 * 1024**2  # 32 prompts of umt5, every prompt of a small dataset in words


@dataclass(frozen=True)
class EncoderConfig:
    """The frozen encoders. The first choice of each kind needs no weights.

    Attributes:
        codec: pixels to latents and back; lapped (no weights), dct (the same on blocks that do
            not overlap, of version 0.1), wan (the autoencoder of Wan 2.1 and of 2.2 A14B) or
            wan2.2 (that of Wan 2.2 TI2V-5B: 48 channels, a latent for 16 px).
        text: prompts to tokens; words (hashed, no weights) or umt5.
        image: reference images to tokens; pooled (no weights) or clip.
        path: folder or hub id of a Wan repository in diffusers layout (vae/, text_encoder/,
            tokenizer/).
        image_path: folder or hub id of a CLIP image encoder, alone or in image_encoder/ as in Wan
            2.1 I2V; '' takes path.
        text_tokens: tokens of a prompt; 0 takes the encoder's own number, 32 for words and 512
            for umt5.
        text_dim: width of a token of words; umt5 has its own.
        image_grid: cells of a pooled image on each side.
        dtype: precision of the umt5 and clip weights.
        codec_dtype: precision of the wan codec's weights.
        tiling: let the wan codec work by tiles: less memory, slower, faint seams.
        local_files_only: never ask a hub; take what is on this machine.
    """

    codec: Literal["lapped", "dct", "wan", "wan2.2"] = "lapped"
    text: Literal["words", "umt5"] = "words"
    image: Literal["pooled", "clip"] = "pooled"
    path: str = ""
    image_path: str = ""
    text_tokens: int = setting(0, low=0, high=_UMT5_TOKENS)
    text_dim: int = setting(64, low=1, high=4096)
    image_grid: int = setting(4, low=1, high=32)
    dtype: Dtype = "bfloat16"
    codec_dtype: Dtype = "float32"
    tiling: bool = False
    local_files_only: bool = False

    def __post_init__(self) -> None:
        check_settings(self, "encoders")

    @property
    def channels(self) -> int:
        """Channels of the codec's latents."""
        return CODEC_SHAPES[self.codec][0]

    @property
    def stride(self) -> int:
        """Px that a latent covers on each side."""
        return CODEC_SHAPES[self.codec][1]


@dataclass
class Encoders:
    """The three frozen encoders of a run."""

    codec: VideoCodec
    text: TextEncoder
    image: ImageEncoder
    _texts: OrderedDict[str, torch.Tensor] = field(default_factory=OrderedDict, repr=False)

    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return text features (B, L, D), from memory where a prompt was encoded lately."""
        fresh = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]
        if fresh:
            self._texts.update(zip(fresh, self.text.encode(fresh).float(), strict=True))
        features = torch.stack([self._texts[prompt] for prompt in prompts])
        for prompt in prompts:
            self._texts.move_to_end(prompt)
        while len(self._texts) * features[0].nbytes > _KEPT_TEXT_BYTES:
            self._texts.popitem(last=False)
        return features

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """What the latents depend on, by encoder: choices, constants and hashes of the weights."""
        return {
            "codec": self.codec.fingerprint,
            "text": self.text.fingerprint,
            "image": self.image.fingerprint,
        }


def load_encoders(config: EncoderConfig, device: torch.device | str = "cpu") -> Encoders:
    """Load the encoders; what needs no weights needs nothing but torch."""
    name = str(device)
    return Encoders(load_codec(config, name), _text(config, name), _image(config, name))


def load_codec(config: EncoderConfig, device: torch.device | str = "cpu") -> VideoCodec:
    """Load the codec alone."""
    if config.codec == "dct":
        from trainer.encoders.dct import DctCodec

        return DctCodec(str(device))
    if config.codec == "lapped":
        from trainer.encoders.lapped import LappedCodec

        return LappedCodec(str(device))
    from trainer.encoders.folders import find_folder
    from trainer.encoders.wan import WanCodec

    folder = find_folder(config.path, ("vae", ""), "video autoencoder", config.local_files_only)
    shape, dtype = CODEC_SHAPES[config.codec], _DTYPES[config.codec_dtype]
    return WanCodec(folder, config.codec, shape, dtype, config.tiling, str(device))


def known_fingerprint(config: EncoderConfig) -> dict[str, str]:
    """Return the fingerprint of text and image encoder, as far as it needs no weights.

    That is the whole fingerprint of one that has none, and the kind of one that has.
    """
    known = {"text": config.text, "image": config.image}
    if config.text == "words":
        known["text"] = _text(config, "cpu").fingerprint
    if config.image == "pooled":
        known["image"] = _image(config, "cpu").fingerprint
    return known


def _text(config: EncoderConfig, device: str) -> TextEncoder:
    from trainer.encoders.text import HashedWords, Umt5Encoder

    if config.text == "words":
        return HashedWords(config.text_tokens or _WORDS_TOKENS, config.text_dim, device)
    from trainer.encoders.folders import find_folder

    local = config.local_files_only
    model = find_folder(config.path, ("text_encoder",), "text encoder", local)
    tokenizer = find_folder(config.path, ("tokenizer",), "tokenizer", local)
    tokens = config.text_tokens or _UMT5_TOKENS
    return Umt5Encoder(model, tokenizer, tokens, _DTYPES[config.dtype], device)


def _image(config: EncoderConfig, device: str) -> ImageEncoder:
    from trainer.encoders.image import ClipImageEncoder, PooledPixels

    if config.image == "pooled":
        return PooledPixels(config.image_grid, device)
    from trainer.encoders.folders import find_folder

    folder = find_folder(
        config.image_path or config.path,
        ("image_encoder", ""),
        "image encoder",
        config.local_files_only,
        "encoders.image_path",
    )
    return ClipImageEncoder(folder, _DTYPES[config.dtype], device)
