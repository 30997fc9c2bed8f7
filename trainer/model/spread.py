"""The tokens of a sample on several processes, each of which computes a share of them.

Norms, projections, cross-attention and feed-forward take a token by itself, so a process has its
own tokens with all heads. Self-attention takes a head by itself: before it, processes exchange
tokens for heads, and after it back. Source: DeepSpeed-Ulysses (arXiv 2309.14509).

Everything here is made of one exchange, whose gradient is the exchange back. So the gradient of the
mean loss of all processes is what a single one has, whatever each of them computes.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed import _functional_collectives as collectives
from torch.nn.functional import pad


@dataclass(frozen=True)
class TokenSpread:
    """Process r of S has tokens [r * n, (r + 1) * n) of N with n = ceil(N / S), zeros at the end.

    Attributes:
        degree: S, processes that share a sample.
        rank: r, of this one among them.
        group: the processes; None for one alone, to which nothing is done.
    """

    degree: int = 1
    rank: int = 0
    group: dist.ProcessGroup | None = None

    @classmethod
    def among(cls, group: dist.ProcessGroup) -> "TokenSpread":
        """Return how tokens are spread over these processes; each of them calls it."""
        return cls(dist.get_world_size(group), dist.get_rank(group), group)

    def share(self, whole: torch.Tensor) -> torch.Tensor:
        """Return this process's tokens (B, n, …) of all (B, N, …)."""
        if self.degree == 1:
            return whole
        length = self._length(whole.shape[1])
        own = whole[:, self.rank * length : (self.rank + 1) * length]
        return _filled(own, length)

    def joined(self, own: torch.Tensor, number: int) -> torch.Tensor:
        """Return all N tokens (B, N, …) on every process; `own` is (B, n, …)."""
        if self.degree == 1:
            return own
        parts = self._exchange(own.expand(self.degree, *own.shape))
        return parts.movedim(0, 1).flatten(1, 2)[:, :number]

    def tokens_for_heads(self, heads: torch.Tensor, number: int) -> torch.Tensor:
        """Give own tokens with all heads (B, n, heads, d), take all N with a share of the heads.

        number: N.
        """
        if self.degree == 1:
            return heads
        parts = heads.unflatten(2, (self.degree, -1)).movedim(2, 0)  # (S, B, n, heads/S, d)
        return self._exchange(parts).movedim(0, 1).flatten(1, 2)[:, :number]

    def heads_for_tokens(self, heads: torch.Tensor) -> torch.Tensor:
        """Give all tokens with a share of the heads, take own tokens with all heads."""
        if self.degree == 1:
            return heads
        length = self._length(heads.shape[1])
        whole = _filled(heads, self.degree * length)
        parts = whole.unflatten(1, (self.degree, length)).movedim(1, 0)  # (S, B, n, heads/S, d)
        return self._exchange(parts).movedim(0, 2).flatten(2, 3)

    def _length(self, number: int) -> int:
        return -(-number // self.degree)

    def _exchange(self, parts: torch.Tensor) -> torch.Tensor:
        """Send part r of (S, …) to process r; return what came, in the order of the senders."""
        assert self.group is not None, "several processes are a group"
        received = collectives.all_to_all_single_autograd(
            parts.contiguous(), None, None, self.group
        )
        return collectives.wait_tensor(received)


ALONE = TokenSpread()


def _filled(tokens: torch.Tensor, length: int) -> torch.Tensor:
    """Add zeros after (B, n, …) until there are `length` tokens."""
    missing = length - tokens.shape[1]
    return pad(tokens, [0, 0] * (tokens.ndim - 2) + [0, missing]) if missing else tokens
