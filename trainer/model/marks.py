"""Marks: whose reference a token of the video should read, where there are several characters.

A learned vector of each character is added to the keys of its references, and another to the
queries of the video's tokens, by the share in which each is of that character. The share is what
lies inside the character's box, or, where no box is given, what the token reads in the prompt: of
all attention that it pays to words which speak of somebody, that to those which speak of this one.
Who is first changes from step to step in training, so a mark means nobody in particular.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from trainer.model.seen import Seen

_BONUS = 5.0  # what a mark adds to the logit of an own reference at first
_LEAST = 1e-4  # attention to anybody's words under which a token is nobody's


class Marks(NamedTuple):
    """What is known of B videos with P characters."""

    rows: tuple[bool, ...]  # videos whose characters are marked
    mentions: torch.Tensor | None = None  # (B, P, L) 1 at tokens of the prompt that speak of it
    boxes: torch.Tensor | None = None  # (B, P, F, H, W) share of a latent cell inside its box


class Whose(NamedTuple):
    """Whose the tokens of a stream are."""

    shares: torch.Tensor | None = None  # (B, 1 or n, P), if it is known
    mentions: torch.Tensor | None = None  # (B, P, L): it is read in the prompt in other rows
    open_rows: torch.Tensor | None = None  # (B, 1, 1) 1 where it is read


NOBODY = Whose()


class BlockMarks(nn.Module):
    """The vectors of a block, for each head."""

    def __init__(self, number: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.number, self.heads = number, heads
        self.query = nn.Parameter(torch.empty(number, heads, head_dim))
        self.key = nn.Parameter(torch.empty(number, heads, head_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Let own references be read more than others from the beginning."""
        nn.init.normal_(self.key)
        with torch.no_grad():
            scale = _BONUS * self.key.shape[-1] ** 0.5
            self.query.copy_(scale * self.key / self.key.square().sum(-1, keepdim=True))

    def forward(self, part: str, shares: torch.Tensor | None) -> torch.Tensor:
        """Return what to add to queries or keys: (B, 1 or n, heads, head_dim).

        Nobody's tokens get 0 times a vector: all are in every graph, so that processes which
        spread them stay together.
        """
        vectors = self.query if part == "query" else self.key
        if shares is None:
            return (vectors.sum(0) * 0)[None, None]
        return torch.einsum("bnp,phd->bnhd", shares.to(vectors.dtype), vectors[: shares.shape[2]])


def whom(query: torch.Tensor, key: torch.Tensor, whose: Whose) -> torch.Tensor | None:
    """Return whose tokens are, by what they read: (B, n, P).

    query, key: heads (B, n or L, heads, head_dim) of tokens and of the prompt.
    """
    if whose.mentions is None:
        return whose.shares
    characters, width = whose.mentions.shape[1], query.shape[3]
    spoken = whose.mentions.transpose(1, 2)[:, None].to(query.dtype)  # (B, 1, L, P)
    # As wide as keys: else no fused kernel takes it, and all n x L scores are kept.
    spoken = F.pad(spoken, (0, width - characters)).expand(-1, query.shape[2], -1, -1)
    read = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.to(query.dtype).transpose(1, 2), spoken
    )
    read = read[..., :characters].mean(1)
    read = read / read.sum(-1, keepdim=True).clamp(min=_LEAST)
    if whose.shares is None or whose.open_rows is None:
        return read
    return whose.shares + read * whose.open_rows.to(read.dtype)


class Marking(NamedTuple):
    """The marks of a batch, as its streams get them."""

    marks: Marks
    seen: torch.Tensor  # (B, P) 1 for characters who are marked

    @classmethod
    def of(cls, marks: Marks, seen: Seen | None, characters: int, most: int) -> "Marking":
        """Mark characters whose references a row sees. Raises ValueError for more than `most`."""
        if characters > most:
            raise ValueError(
                f"a model of {most} marks cannot mark {characters} characters: pass marks=None, or "
                "train one with a higher data.characters"
            )
        rows: Sequence[tuple[bool, ...]] = [(True,) * characters] * len(marks.rows)
        flags = [
            [marked and is_seen for is_seen in row]
            for marked, row in zip(
                marks.rows, rows if seen is None else seen.characters, strict=True
            )
        ]
        known = marks.mentions if marks.mentions is not None else marks.boxes
        device = None if known is None else known.device
        return cls(marks, torch.tensor(flags, device=device).float())

    def of_character(self, number: int) -> Whose:
        """Return whose tokens are that show one character alone."""
        only = F.one_hot(torch.tensor(number), self.seen.shape[1]).to(self.seen)
        return Whose((self.seen * only)[:, None])

    def of_video(self, patch: tuple[int, int, int]) -> Whose:
        """Return whose all tokens of the video are."""
        shares = open_rows = mentions = None
        if self.marks.boxes is not None:
            inside = F.avg_pool3d(self.marks.boxes.float(), patch).flatten(2)  # (B, P, N)
            shares = (inside * self.seen[..., None]).transpose(1, 2)
            open_rows = (shares.flatten(1).amax(1) == 0).view(-1, 1, 1)
        if self.marks.mentions is not None:
            mentions = self.marks.mentions * self.seen[..., None]
        return Whose(shares, mentions, open_rows)
