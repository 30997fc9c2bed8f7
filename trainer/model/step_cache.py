"""First-block cache: where the first block says what it said, the others are not asked again.

From one step of sampling to the next the first block's residual changes little; while that is so,
what the other blocks added last time is added again.
Source: ParaAttention's first-block cache; diffusers' FirstBlockCacheConfig names its threshold.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.models.cache_utils import CacheMixin


class StepCache:
    """What one branch of guidance keeps from step to step.

    threshold: share by which the first block's residual may change, in the mean.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.asked = self.skipped = 0  # steps
        self._tokens = torch.empty(0)  # of this step: before the first block, then behind it
        self._first: torch.Tensor | None = None  # the first block's residual when all was computed
        self._others: torch.Tensor | None = None  # what the others added to it then

    def begin(self, tokens: torch.Tensor) -> None:
        """Take the video's tokens (B, N, D) before the first block."""
        self._tokens = tokens

    def after_first(self, tokens: torch.Tensor) -> torch.Tensor | None:
        """Return the tokens behind the last block, or None when the other blocks must compute."""
        residual, self._tokens = tokens - self._tokens, tokens
        self.asked += 1
        if self._first is not None and self._others is not None:
            change = (residual - self._first).abs().mean() / self._first.abs().mean()
            if change.item() <= self.threshold:
                self.skipped += 1
                return tokens + self._others
        self._first = residual
        return None

    def after_last(self, tokens: torch.Tensor) -> None:
        """Keep what the blocks behind the first added."""
        self._others = tokens - self._tokens


class FirstBlockCaching(CacheMixin):
    """diffusers' way to switch the cache on, for who calls the model as its pipelines do."""

    _caches: dict[str, StepCache]
    _branch: str | None = None

    def enable_cache(self, config: Any) -> None:
        """Take a `FirstBlockCacheConfig`. Raises ValueError for every other kind of cache."""
        if self.is_cache_enabled:
            raise ValueError("Caching has already been enabled: call disable_cache() first")
        if not isinstance(config, FirstBlockCacheConfig):
            raise ValueError(
                f"this model caches by FirstBlockCacheConfig; the hooks of {type(config).__name__} "
                "would not be called"
            )
        self._cache_config, self._caches = config, {}

    def disable_cache(self) -> None:
        """Forget the cache."""
        self._cache_config, self._caches = None, {}

    @contextlib.contextmanager
    def cache_context(self, name: str, **_: Any) -> Iterator[None]:
        """Name the branch of guidance that is computed inside."""
        self._branch = name
        try:
            yield
        finally:
            self._branch = None

    def _reset_stateful_cache(self, recurse: bool = True) -> None:
        self._caches = {}

    def enabled_cache(self) -> StepCache | None:
        """Return that of the named branch, None where the cache is off."""
        if self._cache_config is None:
            return None
        if self._branch is None:
            raise ValueError("No context is set: call the model inside of cache_context(…)")
        threshold = self._cache_config.threshold
        return self._caches.setdefault(self._branch, StepCache(threshold))
