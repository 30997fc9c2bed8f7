"""One block: two streams of tokens, video and reference, through the same weights."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from diffusers.models.transformers.transformer_wan import WanTransformerBlock

from trainer.model.attention import (
    EmphasizeAttention,
    SilentLinear,
    attend,
    attend_both,
    output,
    project,
    split_heads,
)
from trainer.model.rope import Rotation


class Stream(NamedTuple):
    """Tokens on their way through the blocks, and what goes with them."""

    tokens: torch.Tensor  # (B, N, D)
    time: torch.Tensor  # (B, D), from the stream's own timestep
    modulation: torch.Tensor  # (B, 6, D), from time
    rotation: Rotation
    text: torch.Tensor | None  # (B, L, D), what it reads besides the image tokens


class Projected(NamedTuple):
    """A stream's tokens at the entrance of self-attention, and their heads."""

    normed: torch.Tensor  # (B, N, D)
    query: torch.Tensor  # (B, N, heads, head_dim), rotated, as is key
    key: torch.Tensor
    value: torch.Tensor


class ReferenceKV(NamedTuple):
    """Keys and values of the reference in one block: all that a cache must hold."""

    key: torch.Tensor  # (B, N_r, heads, head_dim), rotated
    value: torch.Tensor
    emphasis_key: torch.Tensor | None
    emphasis_value: torch.Tensor | None
    rotation: Rotation


class ConditionMask(NamedTuple):
    """Which rows of a batch see which condition; None is all of them."""

    rows: Sequence[bool] | None = None  # that see the reference, known on the host
    reference: torch.Tensor | None = None  # (B, 1, 1), the same as 0 and 1
    image: torch.Tensor | None = None  # (B, 1, 1, 1)


NOTHING_DROPPED = ConditionMask()


class ContextAnyoneBlock(WanTransformerBlock):
    """A Wan block whose video stream also reads a reference stream.

    Asymmetric: the reference sees only itself, the video sees both. No noisy feature of the video
    flows back, so what the reference becomes does not depend on the video at all.
    """

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        heads: int,
        qk_norm: str | None,
        cross_attn_norm: bool,
        eps: float,
        added_kv_proj_dim: int | None,
        emphasize: bool,
        emphasize_rope: str,
        information_flow: str,
    ) -> None:
        super().__init__(
            dim, ffn_dim, heads, qk_norm or "", cross_attn_norm, eps, added_kv_proj_dim
        )
        self.emphasize = EmphasizeAttention(dim, heads, eps) if emphasize else None
        self.rotate_emphasis = emphasize_rope == "gap"
        self.symmetric = information_flow == "symmetric"
        if added_kv_proj_dim is not None:
            self.attn2.add_v_proj = SilentLinear(added_kv_proj_dim, dim)
        if self.emphasize is not None:
            self.emphasize.copy_from(self.attn1)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        video: Stream | None,
        reference: Stream | None,
        image: torch.Tensor | None = None,
        reference_kv: ReferenceKV | None = None,
        mask: ConditionMask = NOTHING_DROPPED,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, ReferenceKV | None]:
        """Return the tokens of both streams, and what the video reads of the reference.

        Args:
            video: the noisy video; None to let the reference pass alone.
            reference: the reference; None with reference_kv, or for plain text-to-video.
            image: image tokens (B, T, D).
            reference_kv: what an earlier pass of the same reference returned.
            mask: rows that see the reference and the image tokens.
        """
        video_tokens = reference_tokens = None
        image_kv = self._project_image(image)
        projected_video = self._project(video) if video is not None else None
        if reference is not None:
            projected = self._project(reference)
            reference_kv = self._keys_and_values(projected, reference.rotation)
            reference_tokens = self._add_attended(
                reference, self._reference_heads(projected, projected_video, mask)
            )
            del projected  # dead before the feed-forward: a quarter of sampling's memory
            reference_tokens = self._finish(reference, reference_tokens, image_kv, mask)
        if video is not None and projected_video is not None:
            video_tokens = self._add_attended(
                video, self._video_heads(projected_video, reference_kv, mask)
            )
            if reference_kv is not None and self.emphasize is not None:
                video_tokens = video_tokens + self._emphasis(
                    self.emphasize, projected_video.normed, video, reference_kv, mask
                )
            del projected_video
            video_tokens = self._finish(video, video_tokens, image_kv, mask)
        return video_tokens, reference_tokens, reference_kv

    def _project(self, stream: Stream) -> Projected:
        shift, scale, *_ = self._modulation(stream.modulation)
        normed = (self.norm1(stream.tokens.float()) * (1 + scale) + shift).type_as(stream.tokens)
        return Projected(normed, *project(self.attn1, normed, stream.rotation))

    def _keys_and_values(self, reference: Projected, rotation: Rotation) -> ReferenceKV:
        emphasis = (None, None)
        if self.emphasize is not None:
            emphasis = self.emphasize.keys_of(reference.normed)
        return ReferenceKV(reference.key, reference.value, *emphasis, rotation)

    def _reference_heads(
        self, reference: Projected, video: Projected | None, mask: ConditionMask
    ) -> torch.Tensor:
        own = (reference.key, reference.value)
        if video is None or not self.symmetric:
            return attend(reference.query, *own, self.attn1)
        return attend_both(reference.query, own, (video.key, video.value), self.attn1, mask.rows)

    def _video_heads(
        self, video: Projected, reference_kv: ReferenceKV | None, mask: ConditionMask
    ) -> torch.Tensor:
        own = (video.key, video.value)
        if reference_kv is None:
            return attend(video.query, *own, self.attn1)
        return attend_both(
            video.query, own, (reference_kv.key, reference_kv.value), self.attn1, mask.rows
        )

    def _add_attended(self, stream: Stream, heads: torch.Tensor) -> torch.Tensor:
        gate = self._modulation(stream.modulation)[2]
        attended = output(self.attn1, heads, stream.tokens.dtype)
        return (stream.tokens.float() + attended * gate).type_as(stream.tokens)

    def _emphasis(
        self,
        emphasize: EmphasizeAttention,
        normed: torch.Tensor,
        video: Stream,
        reference_kv: ReferenceKV,
        mask: ConditionMask,
    ) -> torch.Tensor:
        assert reference_kv.emphasis_key is not None, "a block with emphasis keeps its keys"
        assert reference_kv.emphasis_value is not None, "a block with emphasis keeps its values"
        rotations = (video.rotation, reference_kv.rotation) if self.rotate_emphasis else None
        emphasis = emphasize(
            normed, reference_kv.emphasis_key, reference_kv.emphasis_value, self.attn1, rotations
        )
        if mask.reference is not None:
            emphasis = emphasis * mask.reference.to(emphasis.dtype)
        return emphasis.type_as(video.tokens)

    def _finish(
        self,
        stream: Stream,
        tokens: torch.Tensor,
        image_kv: tuple[torch.Tensor, torch.Tensor] | None,
        mask: ConditionMask,
    ) -> torch.Tensor:
        """Cross-attention and feed-forward."""
        tokens = tokens + self._cross_attend(tokens, stream.text, image_kv, mask.image)
        *_, shift, scale, gate = self._modulation(stream.modulation)
        normed = (self.norm3(tokens.float()) * (1 + scale) + shift).type_as(tokens)
        return (tokens.float() + self.ffn(normed).float() * gate).type_as(tokens)

    def _project_image(
        self, image: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        if image is None:
            return None
        attention = self.attn2
        assert attention.add_k_proj is not None, "the model checked for its image branch"
        assert attention.add_v_proj is not None, "the model checked for its image branch"
        key = split_heads(attention.norm_added_k(attention.add_k_proj(image)), attention.heads)
        return key, split_heads(attention.add_v_proj(image), attention.heads)

    def _cross_attend(
        self,
        tokens: torch.Tensor,
        text: torch.Tensor | None,
        image_kv: tuple[torch.Tensor, torch.Tensor] | None,
        keep_image: torch.Tensor | None,
    ) -> torch.Tensor:
        """Read the text, and apart from it the image tokens, as Wan's image-to-video model does."""
        attention = self.attn2
        normed = self.norm2(tokens.float()).type_as(tokens)
        query = split_heads(attention.norm_q(attention.to_q(normed)), attention.heads)
        read = []
        if text is not None:
            key = split_heads(attention.norm_k(attention.to_k(text)), attention.heads)
            value = split_heads(attention.to_v(text), attention.heads)
            read.append(attend(query, key, value, attention))
        if image_kv is not None:
            from_image = attend(query, *image_kv, attention)
            if keep_image is not None:
                from_image = from_image * keep_image.to(from_image.dtype)
            read.append(from_image)
        heads = sum(read[1:], read[0]) if read else torch.zeros_like(query)
        return output(attention, heads, tokens.dtype)

    def _modulation(self, modulation: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.scale_shift_table + modulation.float()).chunk(6, dim=1)
