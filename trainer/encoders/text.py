"""Prompts become token features: by UMT5 as in Wan, or by hashed words without weights."""

import functools
import hashlib
import html
import importlib.util
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import torch

MAX_CHARACTERS = 2_000  # more than 512 tokens of ordinary text
_CONTROL = "Cc"
_WORD = re.compile(r"[^\W_]+")
_PLACE_SHARE = 0.25  # of a word's length; the order of words is a hint, the words are the content


def clean_prompt(text: str) -> str:
    """Return one line as Wan's own pipeline cleans it, without control characters, bounded."""
    text = text[: 4 * MAX_CHARACTERS].encode(errors="ignore").decode()  # no half surrogate pairs
    if importlib.util.find_spec("ftfy"):
        import ftfy  # pyright: ignore[reportMissingImports]

        text = ftfy.fix_text(text)
    text = html.unescape(html.unescape(text))
    kept = (sign for sign in text if sign.isspace() or unicodedata.category(sign) != _CONTROL)
    return " ".join("".join(kept).split())[:MAX_CHARACTERS]


class HashedWords:
    """Every word is a fixed pseudo-random unit vector; nothing is learned and nothing loaded."""

    def __init__(self, num_tokens: int = 32, dim: int = 64, device: str = "cpu") -> None:
        self.num_tokens, self.dim, self._device = num_tokens, dim, device
        self.fingerprint = f"words-1-{num_tokens}-{dim}"

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return (B, num_tokens, dim); '' gives zeros, words past num_tokens are dropped."""
        features = torch.zeros(len(prompts), self.num_tokens, self.dim)
        for row, prompt in zip(features, prompts, strict=True):
            words = _WORD.findall(clean_prompt(prompt).lower())[: self.num_tokens]
            for place, word in enumerate(words):
                row[place] = _vector(f"word {word}", self.dim)
                row[place] += _PLACE_SHARE * _vector(f"place {place}", self.dim)
        return features.to(self._device)

    def token_spans(self, prompt: str) -> list[tuple[int, int]]:
        """Return (start, end) of the words in the cleaned prompt."""
        return [match.span() for match in _WORD.finditer(clean_prompt(prompt))][: self.num_tokens]


@functools.lru_cache(maxsize=20_000)
def _vector(key: str, dim: int) -> torch.Tensor:
    """Return a unit vector that depends on `key` alone, the same on every machine."""
    blocks = [
        hashlib.blake2b(f"{index} {key}".encode(), digest_size=64).digest()
        for index in range(-(-dim // 32))
    ]
    numbers = torch.frombuffer(bytearray(b"".join(blocks)), dtype=torch.int16)[:dim]
    return torch.nn.functional.normalize(numbers.double() + 0.5, dim=0).float()


class Umt5Encoder:
    """UMT5 as in Wan 2.1: 512 tokens, features past a prompt's end are zero."""

    def __init__(
        self,
        model_folder: Path,
        tokenizer_folder: Path,
        num_tokens: int = 512,
        dtype: torch.dtype = torch.bfloat16,
        device: str = "cpu",
    ) -> None:
        from transformers import UMT5EncoderModel

        from trainer.encoders.folders import digest_of, load_tokenizer, load_weights

        self._tokenizer = load_tokenizer(tokenizer_folder)
        self._model = load_weights(UMT5EncoderModel.from_pretrained, model_folder, dtype=dtype)
        self.weights: torch.nn.Module = self._model.to(device)
        self.num_tokens, self.dim = num_tokens, self._model.config.d_model
        self._device = device
        words = digest_of(tokenizer_folder, ("tokenizer.json", "*.model"))
        cleaning = "ftfy" if importlib.util.find_spec("ftfy") else "html"
        self.fingerprint = f"umt5-{digest_of(model_folder)}-{words}-{num_tokens}-{cleaning}-{dtype}"

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return (B, num_tokens, dim) float32; '' is the end-of-text token alone."""
        tokens = self._tokenizer(
            [clean_prompt(prompt) for prompt in prompts],
            padding="max_length",
            max_length=self.num_tokens,
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._device)
        mask = tokens.attention_mask
        features = self._model(tokens.input_ids, attention_mask=mask).last_hidden_state
        return torch.where(mask[..., None] > 0, features.float(), 0.0)

    def compute_on(self, device: str) -> None:
        """Send prompts to another device; the weights are moved by whoever asks for it."""
        self._device = device

    def token_spans(self, prompt: str) -> list[tuple[int, int]]:
        """Return (start, end) of the tokens in the cleaned prompt; (0, 0) of the one that ends it.

        Raises ValueError when the tokenizer does not know them.
        """
        if not self._tokenizer.is_fast:
            raise ValueError(
                "which tokens name a character cannot be told without tokenizer.json: put it "
                "beside the tokenizer, or set model.marks=false"
            )
        tokens = self._tokenizer(
            clean_prompt(prompt),
            max_length=self.num_tokens,
            truncation=True,
            return_offsets_mapping=True,
        )
        return [(int(start), int(end)) for start, end in tokens["offset_mapping"]]
